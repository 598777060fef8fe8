"""Making images: what can be decided without fetching, building or booting anything."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from qemu_lab.images import apt_sources, cache, debian, kernels, probe, recipe
from qemu_lab.images.apt_sources import Source
from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.kernels import Kernel

MIRROR = "http://mirror.example/debian/"
TARGETS = f"""\
{MIRROR}|bookworm|bookworm|main|Debian|amd64
{MIRROR}|bookworm-updates|bookworm-updates|main|Debian|amd64
http://security.example/|bookworm-security|bookworm-security|main|Debian|amd64
http://security.example/|bookworm-security|bookworm-security|contrib|Debian|amd64
{MIRROR}|bookworm-backports|bookworm-backports|main|Debian Backports|amd64
http://other.example/|nodistro|nodistro|main|. nodistro|amd64
"""
MADISON = """\
   openssl | 3.0.22-1~deb12u2 | http://security.example bookworm-security/main amd64 Packages
   openssl | 3.0.20-1~deb12u2 | http://mirror.example/debian bookworm/main amd64 Packages
   openssl | 3.0.17-1~deb12u2 | http://mirror.example/debian bookworm-updates/main amd64 Packages
    tzdata | 2026b-0+deb12u1 | http://mirror.example/debian bookworm/main amd64 Packages
   foreign | 9 | http://other.example nodistro/main amd64 Packages
"""


# ------------------------------------------------------------------ apt's sources


def test_v1_comes_from_the_point_release_and_v2_from_what_followed_it() -> None:
    suites = apt_sources.parse_suites(TARGETS, "bookworm")
    assert suites.point_release == Source(MIRROR, "bookworm")
    followed = {source.release for source in suites.updates}
    assert followed == {"bookworm-security", "bookworm-updates"}
    assert suites.point_release.line == f"deb {MIRROR} bookworm main"


@pytest.mark.parametrize("missing", ["bookworm", "both that follow"])
def test_missing_suites_are_named_with_the_next_step(missing: str) -> None:
    lines = TARGETS.splitlines()
    kept = lines[1:] if missing == "bookworm" else lines[:1]
    with pytest.raises(ImageBuildError, match=r"bookworm-security: add them to .*apt-get update"):
        apt_sources.parse_suites("\n".join(kept), "bookworm")


def test_newest_version_counts_only_in_the_suites_asked_for() -> None:
    main = Source(MIRROR, "bookworm")
    security = Source("http://security.example/", "bookworm-security")
    only_main = apt_sources.newest_versions(MADISON, [main])
    assert only_main == {"openssl": "3.0.20-1~deb12u2", "tzdata": "2026b-0+deb12u1"}
    both = apt_sources.newest_versions(MADISON, [main, security])
    assert both["openssl"] == "3.0.22-1~deb12u2"


def test_changes_between_package_lists_name_what_came_went_and_moved() -> None:
    old = apt_sources.parse_package_list("a 1\nb 1\nc 1\n")
    new = apt_sources.parse_package_list("a 1\nb 2\nd 1\n")
    assert apt_sources.changed(old, new) == ["b: 1 -> 2", "c: 1 -> none", "d: none -> 1"]
    assert apt_sources.changed(old, old) == []


# ------------------------------------------------------------------------ kernels


def test_kernel_package_is_found_in_the_dependency_of_the_package_that_means_the_newest() -> None:
    control = "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n"
    assert kernels.dependency_of(control) == "linux-image-6.1.0-56-amd64"
    assert kernels.dependency_of("Package: x\nDepends: kmod, linux-base\n") is None


def _kernel_tree(root: Path, release: str = "6.1.0-1-cloud-amd64") -> Path:
    (root / "boot").mkdir(parents=True, exist_ok=True)
    (root / f"boot/vmlinuz-{release}").write_bytes(b"kernel")
    (root / f"lib/modules/{release}").mkdir(parents=True)
    return root


def test_a_kernel_that_somebody_put_there_is_taken_as_it_is(tmp_path: Path) -> None:
    _kernel_tree(tmp_path / "cloud")
    kernel = kernels.fetch("cloud", tmp_path)
    assert kernel.release == "6.1.0-1-cloud-amd64"
    assert kernel.vmlinuz.read_bytes() == b"kernel"
    assert kernel.package == "linux-image-6.1.0-1-cloud-amd64"


def test_no_kernel_is_none_and_two_are_an_error(tmp_path: Path) -> None:
    assert kernels.find("cloud", tmp_path) is None
    tree = _kernel_tree(tmp_path / "cloud")
    _kernel_tree(tree, "6.1.0-2-cloud-amd64")
    with pytest.raises(ImageBuildError, match="holds 2 kernels instead of one"):
        kernels.find("cloud", tmp_path)


def test_a_kernel_without_its_modules_is_an_error(tmp_path: Path) -> None:
    tree = _kernel_tree(tmp_path / "cloud")
    (tree / "lib/modules/6.1.0-1-cloud-amd64").rmdir()
    with pytest.raises(ImageBuildError, match=r"no modules of 6\.1\.0-1"):
        kernels.find("cloud", tmp_path)


# -------------------------------------------------------------------------- cache


def test_a_product_is_fresh_only_for_the_key_that_it_was_made_with(tmp_path: Path) -> None:
    product = tmp_path / "image"
    source = tmp_path / "source"
    source.write_text("1")
    key = cache.key_of(["recipe", source])
    assert not cache.is_fresh(product, key)
    product.write_text("made")
    cache.mark(product, key)
    assert cache.is_fresh(product, key)
    source.write_text("2")
    assert not cache.is_fresh(product, cache.key_of(["recipe", source]))
    product.unlink()
    assert not cache.is_fresh(product, key)


def test_key_changes_with_content_name_mode_and_place_of_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    seen = {cache.key_of([folder])}
    (folder / "a").chmod(0o755)
    seen.add(cache.key_of([folder]))
    (folder / "a").rename(folder / "b")
    seen.add(cache.key_of([folder]))
    (folder / "b").write_text("2")
    seen.add(cache.key_of([folder]))
    assert len(seen) == 4
    assert cache.key_of(["ab", "c"]) != cache.key_of(["a", "bc"])


# ------------------------------------------------------------------------- recipe


def test_volatile_files_stay_out_and_real_ones_do_not() -> None:
    out = ["var/log/dpkg.log", "var/cache/apt/x", "etc/shadow-", "tmp/x", "dev/null", "run/x"]
    assert all(recipe.is_volatile(name) for name in out)
    kept = ["etc/shadow", "var/lib/dpkg/status", "var/log", "dev", "tmp", "usr/lib/x/tmp/y"]
    assert not any(recipe.is_volatile(name.rstrip("/")) for name in kept)


def test_version_replaces_an_older_one_in_os_release() -> None:
    (change,) = recipe.version_files("2", b'ID=debian\nIMAGE_VERSION=1\nVERSION_ID="12"\n')
    assert change.path == "usr/lib/os-release"
    assert change.content.count(b"IMAGE_VERSION=") == 1
    assert b"IMAGE_VERSION=2\n" in change.content
    assert b"ID=debian\n" in change.content


def test_every_bad_image_differs_from_v2_in_its_own_way() -> None:
    bad = recipe.bad_files()
    assert sorted(bad) == ["bad-hang", "bad-panic", "bad-reboot", "bad-silent"]
    contents = {change.content for changes in bad.values() for change in changes}
    assert len(contents) == 4
    assert {f"debian-{name}" for name in bad} < set(debian.names())


def test_scripts_of_the_images_parse() -> None:
    scripts = [*recipe.FILES.glob("init-*"), recipe.FILES / "finish.sh", *probe.FILES.iterdir()]
    assert len(scripts) >= 7
    for script in scripts:
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, check=False)
        assert done.returncode == 0, (script, done.stderr)


def _tar(names: list[str]) -> bytes:
    changes = [recipe.Change(name, f"old {name}\n".encode()) for name in names]
    return recipe.tar_of(changes, 0)


def test_image_archive_gets_its_changes_and_loses_what_is_volatile(tmp_path: Path) -> None:
    lab = tmp_path / "lab.tar"
    lab.write_bytes(_tar(["usr/lib/os-release", "usr/sbin/init", "var/log/x", "etc/shadow"]))
    stream = io.BytesIO()
    changes = [recipe.Change("usr/sbin/init", b"bad\n", executable=True)]
    debian._copy_changed(lab, stream, "3", changes, 1000)
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        members = {member.name: member for member in archive}
        assert sorted(members) == ["./etc/shadow", "./usr/lib/os-release", "./usr/sbin/init"]
        init = archive.extractfile("./usr/sbin/init")
        assert init is not None
        assert init.read() == b"bad\n"
        assert members["./usr/sbin/init"].mode == 0o755
        assert members["./usr/sbin/init"].mtime == 1000
        assert members["./usr/sbin/init"].uid == 0


# -------------------------------------------------------------------------- probe


def test_probe_images_are_named_by_what_sets_them_apart(tmp_path: Path) -> None:
    cloud, generic = Kernel("cloud", "1-cloud", tmp_path), Kernel("generic", "1", tmp_path)
    assert probe.Variant(1, "good", cloud).name == "probe-1"
    assert probe.Variant(2, "panic", cloud).name == "probe-2-panic"
    assert probe.Variant(2, "hang", generic).name == "probe-2-hang-generic"


def test_payloads_of_two_versions_have_no_block_in_common() -> None:
    one, two = probe.payload(1, 64 * 4096), probe.payload(2, 64 * 4096)
    blocks = [{data[i : i + 4096] for i in range(0, len(data), 4096)} for data in (one, two)]
    assert not blocks[0] & blocks[1]
    assert one == probe.payload(1, 64 * 4096)


def test_probe_takes_along_what_bootsvc_imports_late(tmp_path: Path) -> None:
    package = tmp_path / "bootsvc"
    (package / "image").mkdir(parents=True)
    (package / "__init__.py").write_text("import json\n")
    (package / "late.py").write_text("def f():\n    from http import client\n")
    (package / "image/__init__.py").write_text("import elftools\nimport wave\n")
    entries = probe._entries(package)
    assert {"bootsvc", "bootsvc.late", "json", "http"} <= set(entries)
    assert not {"bootsvc.image", "elftools", "wave"} & set(entries)
