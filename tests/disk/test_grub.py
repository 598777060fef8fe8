"""GRUB on a disk file: what is patched where, and what its configuration says."""

import struct
from pathlib import Path

import pytest

from bootsvc.disk.create import menu_entries
from bootsvc.disk.grub import (
    MODULE_DIR,
    MenuEntry,
    check_options,
    install,
    make_core,
    menu_config,
    patch_boot_sector,
    patch_core,
)
from bootsvc.disk.partition import plan
from bootsvc.errors import LayoutError, SettingsError


def test_boot_sector_keeps_partition_table_and_names_the_core() -> None:
    mbr = bytes(range(256)) * 2
    sector = patch_boot_sector((MODULE_DIR / "boot.img").read_bytes(), mbr, 2048)
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
    expected = patch_core(make_core(layout), sector)
    assert core[: len(expected)] == expected
    assert (count + 1) * 512 == len(expected)


def test_disk_with_large_sectors_gets_no_bios_boot_loader(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="4096"):
        install(tmp_path / "disk.img", plan(sector_size=4096))


def test_menu_starts_the_updater_of_slot_a_with_panic_limit() -> None:
    config = menu_config(menu_entries("console=ttyS0 bootsvc.tries=2"), seconds=1)
    first = config.split("menuentry")[1]
    assert "linux16 /bootsvc/a/vmlinuz console=ttyS0 bootsvc.tries=2 gpt rdinit=/init panic=10" in (
        first
    )
    assert "initrd16 /bootsvc/a/initramfs.img" in first
    assert "set default=0" in config
    assert "terminal_output serial console" in config


@pytest.mark.parametrize(("seconds", "style"), [(0, "menu"), (5, "countdown")])
def test_menu_waits_as_long_as_asked(seconds: int, style: str) -> None:
    config = menu_config((MenuEntry("x", "b", ""),), seconds=seconds)
    assert f"set timeout={seconds}\n" in config
    assert f"set timeout_style={style}\n" in config
    assert "/bootsvc/b/vmlinuz" in config


@pytest.mark.parametrize("options", ["a;halt", "x=$y", "x='y'", "x=}", "a=\x1b[J"])
def test_options_that_the_boot_loader_would_interpret_are_refused(options: str) -> None:
    with pytest.raises(SettingsError, match="kernel option"):
        check_options(options)


def test_options_become_one_line() -> None:
    assert check_options(" console=ttyS0\n quiet ") == "console=ttyS0 quiet"


def test_second_entry_offers_a_shell_before_the_updater() -> None:
    second = menu_config(menu_entries("console=ttyS0"), seconds=1).split("menuentry")[2]
    assert "bootsvc.shell" in second
    assert "linux16 /bootsvc/a/vmlinuz console=ttyS0" in second
