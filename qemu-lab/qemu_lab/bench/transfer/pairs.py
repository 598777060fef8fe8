"""Real pairs of 1 GiB images: v1 of Debian's release pocket alone, v2 with its updates.

========= ==================================================================================
``A1``    ext4, made anew from v1's tree: ``mkfs.ext4 -d`` with fixed UUID, hash seed and time
``A2``    the same from v2's tree
``B2``    A1 patched in place: debugfs replaces the files of a few upgraded packages
``C2``    A1 mounted and brought to v2's tree in place, file by file, as a package manager does
``S1 S2`` squashfs (zstd) of the two trees
========= ==================================================================================
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qemu_lab.images import cache
from qemu_lab.images.apt_sources import (
    Source,
    changed,
    codename_of_this_machine,
    suites_of_this_machine,
)
from qemu_lab.images.debian import installed_packages
from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.tools import BUILD, mebibytes, run, step

FOLDER = BUILD / "pairs"
IMAGE_SIZE = 2**30
EPOCH = 1_700_000_000
"""Time of everything that is made here, seconds since 1970."""

PACKAGES = (
    "ca-certificates",
    "cron",
    "curl",
    "dbus",
    "e2fsprogs",
    "ifupdown",
    "iproute2",
    "isc-dhcp-client",
    "less",
    "linux-image-cloud-amd64",
    "logrotate",
    "netbase",
    "openssh-server",
    "openssl",
    "procps",
    "python3-minimal",
    "rsyslog",
    "sudo",
    "systemd-sysv",
    "systemd-timesyncd",
    "tzdata",
    "udev",
    "vim-tiny",
)
PATCHED = ("libssl3", "openssl", "libexpat1", "liblzma5")
"""Packages whose new files B2 has; those of them that the updates do not change are left alone."""

_FIXED = "5eed0b00-7000-4000-8000-000000000001"
_RECIPE = "pairs 1"


@dataclass(frozen=True)
class Pair:
    """An image that a machine has, and the one that it is to get.

    Attributes:
        name: A, B, C (ext4: made anew, patched in place, upgraded in place) or S (squashfs).
        what: the same in words.
        old: file of the image that is there.
        new: file of the image wanted.
    """

    name: str
    what: str
    old: Path
    new: Path


PAIRS = (
    Pair("A", "ext4, made anew", FOLDER / "A1.img", FOLDER / "A2.img"),
    Pair("B", "ext4, patched in place", FOLDER / "A1.img", FOLDER / "B2.img"),
    Pair("C", "ext4, upgraded in place", FOLDER / "A1.img", FOLDER / "C2.img"),
    Pair("S", "squashfs, zstd", FOLDER / "S1.img", FOLDER / "S2.img"),
)
CHANGES = FOLDER / "v1-to-v2.packages"
"""One line for each package that differs between the two trees."""


def build() -> None:
    """Make every image that is not there, from the packages that apt offered at the first time.

    The pairs stay as they are when apt has newer packages: figures of two days then compare.
    ``rm -r build/pairs`` begins anew.

    Raises:
        ImageBuildError: not root, or a program failed.
    """
    if os.geteuid() != 0:
        raise ImageBuildError("the pairs need root: they are mounted, and their files have owners")
    FOLDER.mkdir(parents=True, exist_ok=True)
    suites = suites_of_this_machine(codename_of_this_machine())
    both = {"v1": (suites.point_release,), "v2": (suites.point_release, *suites.updates)}
    key = cache.key_of([_RECIPE, *PACKAGES, *PATCHED, suites.codename])
    for version, sources in both.items():
        _once(_tar(version), key, partial(_debootstrap, suites.codename, sources))
    _record_changes()
    for version, images in _IMAGES.items():
        stale = {
            name: make
            for name, make in images.items()
            if not cache.is_fresh(FOLDER / f"{name}.img", key)
        }
        if stale:
            with _unpacked(version) as tree:
                for name, make in stale.items():
                    _once(FOLDER / f"{name}.img", key, partial(make, tree))


def _once(product: Path, key: str, make: Callable[[Path], None]) -> None:
    if cache.is_fresh(product, key):
        return
    with step(product.name) as result:
        arriving = product.with_suffix(".new")
        arriving.unlink(missing_ok=True)
        make(arriving)
        arriving.replace(product)
        cache.mark(product, key)
        result.note = mebibytes(product)


def _tar(version: str) -> Path:
    return FOLDER / f"{version}.tar"


def _debootstrap(codename: str, sources: tuple[Source, ...], target: Path) -> None:
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar"]
    command += ["--aptopt=APT::Install-Recommends false", f"--include={','.join(PACKAGES)}"]
    command += [codename, str(target), *(source.line for source in sources)]
    environment = {"SOURCE_DATE_EPOCH": str(EPOCH), "DEBIAN_FRONTEND": "noninteractive"}
    run(command, log=target.with_suffix(".log"), env=environment)


def _record_changes() -> None:
    old, new = (installed_packages(_tar(version)) for version in ("v1", "v2"))
    lines = changed(old, new)
    if not lines:
        raise ImageBuildError("v2 would be the same as v1: apt's updates have nothing newer")
    CHANGES.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@contextmanager
def _unpacked(version: str) -> Iterator[Path]:
    tree = FOLDER / f"tree-{version}"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    command = ["tar", "--extract", "--preserve-permissions", "--numeric-owner"]
    command += ["--xattrs", "--xattrs-include=*", f"--file={_tar(version)}", f"--directory={tree}"]
    try:
        run(command)
        yield tree
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _make_ext4(tree: Path, target: Path) -> None:
    with target.open("wb") as file:
        file.truncate(IMAGE_SIZE)
    command = ["mkfs.ext4", "-q", "-F", "-U", _FIXED, "-E", f"hash_seed={_FIXED}"]
    command += ["-d", str(tree), str(target)]
    run(command, env={"E2FSPROGS_FAKE_TIME": str(EPOCH)})


def _make_squashfs(tree: Path, target: Path) -> None:
    command = ["mksquashfs", str(tree), str(target), "-comp", "zstd", "-noappend", "-quiet"]
    run([*command, "-no-progress", "-mkfs-time", str(EPOCH), "-processors", "2"])


def _patch(tree: Path, target: Path) -> None:
    """B2: each regular file of the patched packages is removed and written anew."""
    _copy(FOLDER / "A1.img", target)
    differing = {line.partition(":")[0] for line in CHANGES.read_text("utf-8").splitlines()}
    script: list[str] = []
    for package in PATCHED:
        if package in differing:
            for path in _regular_files(tree, package):
                mode = (tree / path).stat().st_mode
                script += [f"rm /{path}", f"write {tree / path} /{path}"]
                script += [f"set_inode_field /{path} mode 0{mode:o}"]
    script += ["rm /var/lib/dpkg/status", f"write {tree}/var/lib/dpkg/status /var/lib/dpkg/status"]
    commands = target.with_suffix(".debugfs")
    commands.write_text("".join(f"{line}\n" for line in script), encoding="utf-8")
    run(["debugfs", "-w", "-f", str(commands), str(target)])
    commands.unlink()
    if subprocess.run(["e2fsck", "-fn", target], capture_output=True, check=False).returncode:
        raise ImageBuildError(f"{target.name}: e2fsck finds faults after the patch")


def _regular_files(tree: Path, package: str) -> list[str]:
    """Paths below / of the files of a package, directories and links left out.

    Links of merged directories (/lib) are followed: debugfs does not follow them on its way.
    """
    (listing, *_) = sorted((tree / "var/lib/dpkg/info").glob(f"{package}*.list"))
    found: list[str] = []
    for line in listing.read_text(encoding="utf-8").splitlines():
        path = tree / line.lstrip("/")
        if path.is_file() and not path.is_symlink():
            found.append(str((path.parent.resolve() / path.name).relative_to(tree.resolve())))
    return found


def _upgrade(tree: Path, target: Path) -> None:
    """C2: every file that differs is written beside the old one and takes its name."""
    _copy(FOLDER / "A1.img", target)
    mounted = FOLDER / "mounted"
    mounted.mkdir(exist_ok=True)
    run(["mount", "-o", "loop", str(target), str(mounted)])
    try:
        options = ["--archive", "--hard-links", "--acls", "--xattrs", "--numeric-ids"]
        run(["rsync", *options, "--delete", "--exclude=/lost+found", f"{tree}/", f"{mounted}/"])
    finally:
        run(["umount", str(mounted)])
        mounted.rmdir()


def _copy(source: Path, target: Path) -> None:
    run(["cp", "--sparse=always", str(source), str(target)])


_IMAGES: dict[str, dict[str, Callable[[Path, Path], None]]] = {
    "v1": {"A1": _make_ext4, "S1": _make_squashfs},
    "v2": {"A2": _make_ext4, "B2": _patch, "C2": _upgrade, "S2": _make_squashfs},
}
"""Version -> the images that are made from its tree, in this order, and how."""
