"""``bootsvc image``, ``key`` and ``disk show`` as a publisher uses them."""

import json
from pathlib import Path

import pytest

from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from tests.bench import Bench
from tests.cli.command import Command
from tests.image.rootfs import BUILD_ID, kernel, pack, write_tree


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {"boot/vmlinuz-6.1": kernel(), "boot/initrd.img-6.1": b"i"}
    return pack(write_tree(tmp_path / "rootfs", files), "squashfs")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "v1.bimg"


def make(rootfs: Path, out: Path, *more: str) -> int:
    key = out.parent / "release.key"
    if not key.exists():
        assert main(["key", "new", str(key.with_suffix(""))]) == ExitCode.OK
    words = f"--key {key} --number 1 --label 1.0 --compatible lab".split()
    return main(["image", "make", str(rootfs), "-o", str(out), *words, *more])


def test_image_is_made_shown_and_verified(
    rootfs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(rootfs, out, "--option", "console=ttyS0 quiet", "--floor", "1") == ExitCode.OK
    capsys.readouterr()
    assert main(["image", "show", str(out)]) == ExitCode.OK
    text = capsys.readouterr().out
    for words in ("number 1, label 1.0", "console=ttyS0 quiet", "/boot/vmlinuz-6.1"):
        assert words in text
    assert BUILD_ID.hex() in text
    assert main(["image", "verify", str(out), "--keys", str(out.parent)]) == ExitCode.OK
    assert "whole, signed by release" in capsys.readouterr().out


def test_shown_document_has_the_manifest_as_signed(
    rootfs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(rootfs, out, "--notes", "first", "--lineage", "0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001")
    capsys.readouterr()
    main(["image", "show", "--json", str(out)])
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == 1
    assert shown["total_size"] == out.stat().st_size
    assert shown["manifest"]["notes"] == "first"
    assert shown["manifest"]["lineage"] == "0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001"


def test_parent_is_given_as_its_image_file(
    rootfs: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(rootfs, out)
    second = out.with_name("v2.bimg")
    assert make(rootfs, second, "--parent", str(out)) == ExitCode.OK
    capsys.readouterr()
    main(["image", "show", "--json", str(out)])
    first = json.loads(capsys.readouterr().out)
    main(["image", "show", "--json", str(second)])
    assert json.loads(capsys.readouterr().out)["manifest"]["parent"] == first["identity"]


def test_altered_image_file_does_not_verify(rootfs: Path, out: Path) -> None:
    make(rootfs, out)
    with out.open("r+b") as file:
        file.seek(100)
        file.write(b"?")
    code = main(["image", "verify", str(out), "--keys", str(out.parent)])
    assert code == ExitCode.ALTERED


def test_image_of_another_signer_does_not_verify(rootfs: Path, out: Path, tmp_path: Path) -> None:
    make(rootfs, out)
    main(["key", "new", str(tmp_path / "others/key")])
    code = main(["image", "verify", str(out), "--keys", str(tmp_path / "others/key.pub")])
    assert code == ExitCode.SIGNATURE


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--option", "root=/dev/sda1"], ExitCode.NOT_STARTABLE),
        (["--label", "x" * 65], ExitCode.DAMAGED),
        (["--number", "-1"], ExitCode.USAGE),
        (["--method", "grub"], ExitCode.USAGE),
        (["--parent", "none.bimg"], ExitCode.DISK),
        (["--key", "none.key"], ExitCode.DISK),
    ],
)
def test_mistake_is_refused_and_leaves_no_image(
    rootfs: Path, out: Path, more: list[str], code: ExitCode
) -> None:
    assert make(rootfs, out, *more) == code
    assert not out.exists()


def test_existing_image_and_key_are_kept(rootfs: Path, out: Path) -> None:
    make(rootfs, out)
    assert make(rootfs, out) == ExitCode.DISK
    assert make(rootfs, out, "--force") == ExitCode.OK
    assert main(["key", "new", str(out.with_name("release"))]) == ExitCode.DISK


def test_disk_is_shown_with_its_partitions_and_status(bootsvc: Command) -> None:
    bench: Bench = bootsvc.bench
    outcome = bootsvc.plain("disk", "show", bench.path)
    assert outcome.code == ExitCode.OK
    assert "bootsvc-staging" in outcome.out
    assert "1 (start the working image in primary)" in outcome.out


def test_file_that_is_no_disk_is_refused(bootsvc: Command, out: Path) -> None:
    out.write_bytes(bytes(65536))
    outcome = bootsvc.plain("disk", "show", out)
    assert outcome.code == ExitCode.NOT_BOOTSVC
    assert "hint:" in outcome.err
