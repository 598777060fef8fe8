"""A whole small build: the same bytes twice, what is inside, what stops it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.disk import create
from bootsvc.settings import INSTALLER_DIR, NO_SHELL_PATH
from initramfs import build as build_module
from initramfs import compress
from initramfs.__main__ import main
from initramfs.build import (
    CA_FILE,
    NETWORK_MODULES,
    NO_SHELL,
    BuildReport,
    BuildRequest,
    build,
)
from initramfs.contents import HERE, ModuleChoice, Profile
from initramfs.errors import ContentsError, PythonError
from initramfs.modules import KernelTree
from tests.initramfs.test_modules import assembled_module

ENTRY = "LAZY_IMPORTS = ('json',)\nimport struct\n\ndef main():\n    return 3\n"


def small_request(folder: Path) -> BuildRequest:
    """The smallest build: an entry that needs nearly nothing, no kernel modules."""
    package = folder / "project/bootsvc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text(ENTRY)
    config = folder / "settings.toml"
    config.write_text("tries = 3\n")
    key = folder / "site.pub"
    key.write_text("00" * 32)
    return BuildRequest(
        output=folder / "out.cpio",
        entry="bootsvc.small",
        project=folder / "project",
        compression="none",
        config=config,
        keys=(key,),
    )


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    """A small build that a test may change."""
    return small_request(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    """A small build, made once and only looked at."""
    return build(small_request(tmp_path_factory.mktemp("built")))


def paths(report: BuildReport) -> set[str]:
    return {item.path for item in report.items}


def test_two_builds_have_the_same_bytes(
    built: BuildReport, request_: BuildRequest, tmp_path: Path
) -> None:
    one = built.output.read_bytes()
    build(request_)  # in another folder
    assert request_.output.read_bytes() == one
    assert built.size == built.raw_size == len(one)
    assert not list(tmp_path.glob("*.partial"))
    # Neither this machine's folders nor its users are in the archive.
    assert str(built.output.parent).encode() not in one
    assert str(tmp_path).encode() not in one
    for folder in (HERE, HERE.parent / "bootsvc"):
        assert str(folder).encode() not in one


def test_settings_that_are_no_toml_stop_the_build_and_are_named(request_: BuildRequest) -> None:
    assert request_.config is not None
    request_.config.write_text("tries = = 3\n")
    with pytest.raises(ContentsError, match=r"settings\.toml"):
        build(request_)


@pytest.mark.parametrize("text", ["trys = 3", "tries = 0", 'console_password = "plain"', "[a]"])
def test_settings_that_the_updater_would_refuse_stop_the_build(
    request_: BuildRequest, text: str
) -> None:
    assert request_.config is not None
    request_.config.write_text(text)
    with pytest.raises(ContentsError, match=r"settings\.toml"):
        build(request_)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tries = 3", None),
        ('console_password = ""\nconsole_shell = true', None),
        ('console_password = "nobody"', b"the console is locked with a password\n"),
        ("console_shell = false", b"the setting console_shell is off\n"),
    ],
)
def test_a_locked_console_leaves_word_for_init(
    request_: BuildRequest, text: str, reason: bytes | None
) -> None:
    assert request_.config is not None
    request_.config.write_text(text)
    report = build(request_)
    assert (NO_SHELL in paths(report)) == (reason is not None)
    assert reason is None or reason in request_.output.read_bytes()


def test_all_that_the_start_needs_is_inside(built: BuildReport) -> None:
    wanted = {
        "/init",
        "/dev/console",
        "/dev/urandom",
        "/usr/bin/python3",
        "/usr/bin/busybox",
        "/usr/sbin/modprobe",
        "/usr/lib/bootsvc/updater.pyc",
        "/usr/lib/bootsvc/record.sh",
        "/usr/lib/bootsvc/overlay.sh",
        "/usr/lib/python3/dist-packages/bootsvc/small.pyc",
        "/etc/bootsvc/bootsvc.json",
        "/etc/bootsvc/keys/site.pub",
    }
    assert wanted <= paths(built)
    assert any(path.endswith("/json/__init__.pyc") for path in paths(built))
    assert not [path for path in paths(built) if path.endswith(".py")]
    assert all(item.reason for item in built.items)


def test_the_table_accounts_for_every_byte(
    request_: BuildRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        str(request_.output), "--compress", "none", "--entry", request_.entry,
        "--project", str(request_.project), "--json",
    ]  # fmt: skip
    assert main(arguments) == 0
    table = json.loads(capsys.readouterr().out)
    total = sum(item["size"] for item in table["items"])
    assert total == sum(group["size"] for group in table["groups"].values())
    # Headers, names and padding are all that the archive has beside.
    assert total < table["raw_size"] < total + 200 * (len(table["items"]) + 40)
    assert "no --key" in " ".join(table["notes"])


def test_an_import_outside_the_allowed_set_stops_the_build_by_name(
    request_: BuildRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    (request_.project / "stranger.py").write_text("")
    (request_.project / "bootsvc/small.py").write_text("import stranger\n" + ENTRY)
    with pytest.raises(PythonError, match="module stranger"):
        build(request_)
    arguments = [
        str(request_.output),
        "--entry",
        request_.entry,
        "--project",
        str(request_.project),
    ]
    assert main(arguments) == 1
    assert "module stranger" in capsys.readouterr().err
    assert not request_.output.exists()


def test_a_private_key_never_goes_in(request_: BuildRequest, tmp_path: Path) -> None:
    private = tmp_path / "site.key"
    private.write_text("secret")
    request = BuildRequest(**{**vars(request_), "keys": (private,)})
    with pytest.raises(ContentsError, match=r"site\.key is no public key"):
        build(request)


def test_a_missing_applet_is_named(request_: BuildRequest, tmp_path: Path) -> None:
    fake = tmp_path / "busybox"
    fake.write_text("#!/bin/sh\necho sh; echo cat\n")
    fake.chmod(0o755)
    request = BuildRequest(**{**vars(request_), "busybox": fake})
    with pytest.raises(ContentsError, match=r"has no applet .*mount"):
        build(request)


def test_a_kernel_that_is_not_there_is_named(
    request_: BuildRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(request_.output), "--kernel-root", str(tmp_path / "none")]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert main([str(request_.output), "--kernel", "9.9.9-none"]) == 1
    assert "9.9.9-none" in capsys.readouterr().err


def test_a_packed_archive_unpacks_to_the_plain_one(
    built: BuildReport,
    request_: BuildRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = built.output.read_bytes()
    # The best level takes seconds and changes nothing here.
    quick = tuple("-1" if word == "-9" else word for word in compress.COMMANDS["gzip"])
    monkeypatch.setitem(compress.COMMANDS, "gzip", quick)
    packed = BuildRequest(
        **{**vars(request_), "compression": "gzip", "output": tmp_path / "out.cpio.gz"}
    )
    report = build(packed)
    assert report.size < report.raw_size / 2
    unpacked = subprocess.run(
        ["gzip", "-dc", report.output], capture_output=True, check=True
    ).stdout
    assert unpacked == plain


def test_network_drivers_are_listed_and_no_device_loads_them(
    request_: BuildRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path / "lib/modules/6.1.0-test/kernel"
    modules.mkdir(parents=True)
    for name in ("net", "disk"):
        assembled_module(modules / f"{name}.ko", (), f"pci:{name}*")
    choices = (ModuleChoice("net", "x", when="network"), ModuleChoice("disk", "x"))
    monkeypatch.setattr(
        build_module, "read_profiles", lambda: {"virtio-nvme": Profile("virtio-nvme", "x", choices)}
    )
    kernel = KernelTree.extracted(tmp_path)
    built = build(BuildRequest(**{**vars(request_), "kernel": kernel}))
    assert NETWORK_MODULES in paths(built)
    data = built.output.read_bytes()
    assert b"alias pci:disk* disk\n" in data
    assert b"alias pci:net*" not in data.replace(b"alias=pci:net*", b"")
    assert b"kernel/net.ko:" in data


def test_https_is_in_it_where_it_is_asked_for_and_else_nothing_of_it(
    request_: BuildRequest, tmp_path: Path
) -> None:
    entry = request_.project / "bootsvc/small.py"
    entry.write_text("LAZY_IMPORTS = ('http.client',)\n\ndef main():\n    return 3\n")
    tls = {"ssl.pyc", "_ssl", "libssl.so.3"}
    plain = paths(build(request_))
    assert any(path.endswith("http/client.pyc") for path in plain)
    assert not any(word in path for path in plain for word in tls)
    # Fields of an answer are read by stand-ins: nothing else of the package is there.
    assert {path for path in plain if "/email/" in path} == {
        f"/usr/lib/python3.11/email/{name}.pyc" for name in ("__init__", "message", "parser")
    }
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    chosen = BuildRequest(**{**vars(request_), "https": True, "ca": ca})
    secure = paths(build(chosen))
    assert all(any(word in path for path in secure) for word in tls)
    assert CA_FILE in secure


def test_https_without_authorities_is_noted(request_: BuildRequest) -> None:
    report = build(BuildRequest(**{**vars(request_), "https": True}))
    assert "--https without --ca: no server is believed" in report.notes


# --- an installer --------------------------------------------------------------------------------


@pytest.fixture
def installer(request_: BuildRequest, tmp_path: Path) -> BuildRequest:
    """A small build that makes disks: a kernel of no modules, an updater of a few bytes."""
    package = request_.project / "bootsvc/disk"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "unattended.py").write_text("")
    tree = tmp_path / "kernel"
    modules = tree / "lib/modules/6.1.0-test/kernel"
    modules.mkdir(parents=True)
    assembled_module(modules / "disk.ko", (), "pci:disk*")
    (tree / "boot").mkdir()
    (tree / "boot/vmlinuz-6.1.0-test").write_bytes(b"a kernel")
    updater = tmp_path / "updater.cpio"
    updater.write_bytes(b"an updater")
    return replace(request_, kernel=KernelTree.extracted(tree), profiles=(), installer=updater)


def test_an_installer_carries_what_goes_on_a_disk_and_the_programs_that_make_it(
    installer: BuildRequest,
) -> None:
    report = build(installer)
    inside = paths(report)
    carried = {path for path in inside if path.startswith(f"{INSTALLER_DIR}/")}
    names = {"vmlinuz", "updater.img", "boot.img", "i386-pc-gpt2.img", "x86_64-efi-gpt2.img"}
    assert carried == {f"{INSTALLER_DIR}/{name}" for name in names}
    assert b"an updater" in installer.output.read_bytes()
    programs = {*create.TOOLS, "fdisk", "lsblk", "blkid"}
    assert {f"/usr/sbin/{name}" for name in programs} <= inside
    for library in ("libfdisk.so.1", "libext2fs.so.2", "gconv/IBM850.so"):
        assert any(path.endswith(library) for path in inside)
    assert any(path.endswith("bootsvc/disk/unattended.pyc") for path in inside)


def test_an_ordinary_updater_carries_nothing_of_it(installer: BuildRequest) -> None:
    inside = paths(build(replace(installer, installer=None)))
    assert not [path for path in inside if str(INSTALLER_DIR) in path or "/disk/" in path]
    assert "/usr/sbin/mkfs.ext4" not in inside


def test_what_could_not_be_put_on_a_disk_stops_the_build(installer: BuildRequest) -> None:
    assert installer.installer is not None
    with pytest.raises(ContentsError, match="an installer puts a kernel on the disk"):
        build(replace(installer, kernel=None))
    with pytest.raises(ContentsError, match="no such file"):
        build(replace(installer, installer=installer.installer.with_name("none")))
    with installer.installer.open("r+b") as file:
        file.truncate(60 << 20)
    with pytest.raises(ContentsError, match="two slots"):
        build(installer)
    installer.installer.write_bytes(bytes(NO_SHELL_PATH.relative_to("/")) + b"\0")
    with pytest.raises(ContentsError, match="GRUB's editor would be open"):
        build(installer)
