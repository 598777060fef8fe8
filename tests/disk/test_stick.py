"""A stick that starts the updater: what is on it, and what it must not be taken for."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.boot.cmdline import is_repair, updater_slot
from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.disk import stick as module
from bootsvc.disk.stick import StickContents, make_stick, make_stick_file, plan_stick
from bootsvc.errors import ImageError, ImageTooLargeError, LayoutError, StorageError
from bootsvc.formats.gpt import parse_gpt
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.units import MIB
from tests.disk.small_image import write_image


@pytest.fixture
def contents(tmp_path: Path) -> StickContents:
    for number in (1, 2):
        write_image(tmp_path / f"v{number}.bimg", random.Random(number).randbytes(300_000))
    (tmp_path / "vmlinuz").write_bytes(random.Random(2).randbytes(100_000))
    (tmp_path / "initramfs.img").write_bytes(random.Random(3).randbytes(50_000))
    return StickContents(
        tmp_path / "vmlinuz",
        tmp_path / "initramfs.img",
        (tmp_path / "v1.bimg", tmp_path / "v2.bimg"),
        "console=ttyS0",
    )


def file_on(stick: Path, offset: int, name: str) -> bytes:
    place = f"{stick}@@{offset}"
    return subprocess.run(
        ["mtype", "-i", place, f"::{name}"], capture_output=True, check=True
    ).stdout


def test_a_stick_has_boot_loaders_updater_and_images(
    tmp_path: Path, contents: StickContents
) -> None:
    out = tmp_path / "stick.img"
    layout = make_stick_file(out, contents)
    boot, images = layout["esp"].offset, layout["images"].offset
    assert b"console=ttyS0 bootsvc.repair" in file_on(out, boot, "/grub/grub.cfg")
    assert file_on(out, boot, "/bootsvc/a/vmlinuz") == contents.kernel.read_bytes()
    assert file_on(out, boot, "/EFI/BOOT/BOOTX64.EFI").startswith(b"MZ")
    assert out.read_bytes()[510:512] == b"\x55\xaa"
    for image in contents.images:
        assert file_on(out, images, image.name) == image.read_bytes()


def test_a_stick_is_never_taken_for_the_machines_own_disk(
    tmp_path: Path, contents: StickContents
) -> None:
    make_stick_file(tmp_path / "stick.img", contents)
    with DirectDevice(tmp_path / "stick.img", writable=False) as device:
        names = [part.name for part in parse_gpt(device.read_at, device.size).partitions]
        assert names == ["bios-grub", "esp", "bootsvc-images"]
        with pytest.raises(LayoutError):
            disk_on(device)


def test_an_updater_from_a_stick_is_none_of_the_machines_slots() -> None:
    assert updater_slot("gpt bootsvc.slot=a") == "a"
    assert updater_slot("bootsvc.repair gpt bootsvc.slot=a") == ""
    assert is_repair("gpt bootsvc.repair")
    assert not is_repair("gpt bootsvc.repairs")


def test_a_stick_is_written_to_a_device_of_its_own_size(
    tmp_path: Path, contents: StickContents
) -> None:
    device = tmp_path / "sdz"
    size = plan_stick([400_000, 400_000]).size + 5 * MIB + 512
    device.write_bytes(random.Random(7).randbytes(MIB) * (size // MIB) + bytes(size % MIB))
    layout = make_stick(device, contents)
    with DirectDevice(device, writable=False) as found:
        assert not parse_gpt(found.read_at, found.size).is_spare
    for image in contents.images:
        assert file_on(device, layout["images"].offset, image.name) == image.read_bytes()


def test_a_stick_has_room_for_an_updater_of_any_size(
    tmp_path: Path, contents: StickContents
) -> None:
    with contents.initramfs.open("r+b") as file:
        file.truncate(60 * MIB)
    layout = make_stick_file(tmp_path / "stick.img", contents)
    made = file_on(tmp_path / "stick.img", layout["esp"].offset, "/bootsvc/a/initrd.img")
    assert len(made) == 60 * MIB


def test_a_device_too_small_is_left_as_it_is(tmp_path: Path, contents: StickContents) -> None:
    device = tmp_path / "sdz"
    device.write_bytes(b"precious" * (MIB // 8))
    with pytest.raises(LayoutError):
        make_stick(device, contents)
    assert device.read_bytes() == b"precious" * (MIB // 8)


def test_what_is_no_image_or_too_large_for_fat_or_named_twice_is_refused(
    tmp_path: Path, contents: StickContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stick.img"
    with pytest.raises(ImageError):
        make_stick_file(out, replace(contents, images=(contents.kernel,)))
    again = tmp_path / "again/V1.bimg"
    again.parent.mkdir()
    again.write_bytes(contents.images[0].read_bytes())
    with pytest.raises(StorageError, match="same name"):
        make_stick_file(out, replace(contents, images=(*contents.images, again)))
    monkeypatch.setattr(module, "MAX_FILE", 1000)
    with pytest.raises(ImageTooLargeError, match="FAT32"):
        make_stick_file(out, contents)
    assert not out.exists()


def test_the_command_says_what_is_on_the_stick(
    tmp_path: Path, contents: StickContents, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["disk", "usb-stick", str(tmp_path / "stick.img")]
    words += ["--kernel", str(contents.kernel), "--initramfs", str(contents.initramfs)]
    for image in contents.images:
        words += ["--image", str(image)]
    assert main(words) == ExitCode.OK
    assert "v2.bimg" in capsys.readouterr().out
    assert main(words) == ExitCode.DISK
    assert "exists already" in capsys.readouterr().err
    assert main([*words, "--force"]) == ExitCode.OK
