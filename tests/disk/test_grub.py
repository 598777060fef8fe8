"""GRUB on a disk file: what is patched where, and its program for UEFI."""

import dataclasses
import struct
from pathlib import Path

import pytest

from bootsvc.disk import grub
from bootsvc.disk.grub import BIOS, EFI, install, make_image, patch_boot_sector, patch_core
from bootsvc.disk.partition import plan
from bootsvc.errors import LayoutError, ToolError


def test_boot_sector_keeps_partition_table_and_names_the_core() -> None:
    mbr = bytes(range(256)) * 2
    sector = patch_boot_sector((BIOS.folder / "boot.img").read_bytes(), mbr, 2048)
    assert len(sector) == 512
    assert sector[440:] == mbr[440:]
    assert struct.unpack_from("<Q", sector, 0x5C) == (2048,)
    assert sector[0x64] == 0xFF


def test_core_loads_every_sector_behind_its_first() -> None:
    core = patch_core(bytes(512 * 3 + 1), 2048)
    assert len(core) == 512 * 4
    assert struct.unpack_from("<QHH", core, 0x1F4) == (2049, 3, 0x820)


def test_installed_grub_is_found_where_the_boot_sector_points(tmp_path: Path) -> None:
    layout = plan(seed="test")
    disk = tmp_path / "disk.img"
    disk.touch()
    with disk.open("r+b") as file:
        file.truncate(layout.size)
    install(disk, layout)
    with disk.open("rb") as file:
        (sector,) = struct.unpack_from("<Q", file.read(512), 0x5C)
        file.seek(sector * 512)
        core = file.read(layout["bios-grub"].size)
    _, count, _ = struct.unpack_from("<QHH", core, 0x1F4)
    expected = patch_core(make_image(BIOS, layout), sector)
    assert core[: len(expected)] == expected
    assert (count + 1) * 512 == len(expected)


def test_disk_with_large_sectors_gets_no_bios_boot_loader(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="4096"):
        install(tmp_path / "disk.img", plan(sector_size=4096))


def test_the_program_for_uefi_is_one_that_firmware_starts() -> None:
    program = make_image(EFI, plan(seed="test"))
    (header,) = struct.unpack_from("<I", program, 0x3C)
    assert program[:2] == b"MZ"
    assert program[header : header + 4] == b"PE\0\0"
    machine, subsystem = (struct.unpack_from("<H", program, header + at)[0] for at in (4, 24 + 68))
    assert (machine, subsystem) == (0x8664, 10)  # x86-64, EFI application


def test_missing_modules_are_named_with_their_package() -> None:
    nowhere = dataclasses.replace(EFI, name="riscv128-efi")
    with pytest.raises(ToolError, match="riscv128-efi") as caught:
        grub.make_image(nowhere, plan())
    assert "grub-efi-amd64-bin" in caught.value.hint
