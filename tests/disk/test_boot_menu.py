"""GRUB's configuration: what it says, and that GRUB's own parser accepts it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bootsvc.disk.boot_menu import ENTRIES, check_options, menu_config
from bootsvc.errors import SettingsError
from bootsvc.trust.grub_password import hash_password

PASSWORD = hash_password("correct horse", bytes(range(64)))


def entry(config: str, title: str) -> str:
    """The menu entry with this title, up to its end."""
    _, _, rest = config.partition(f"menuentry '{title}'")
    return rest.partition("\n}")[0]


@pytest.mark.parametrize("password", ["", PASSWORD])
def test_grub_accepts_the_configuration(tmp_path: Path, password: str) -> None:
    checker = shutil.which("grub-script-check")
    assert checker, "package grub-common"
    path = tmp_path / "grub.cfg"
    path.write_text(menu_config("console=ttyS0", seconds=1, password=password))
    subprocess.run([checker, path], check=True)


def test_both_firmwares_start_the_same_kernel_with_the_same_options() -> None:
    config = menu_config("console=ttyS0 bootsvc.tries=2", seconds=1)
    options = "console=ttyS0 bootsvc.tries=2 gpt rdinit=/init panic=10 bootsvc.slot=$1 $2\n"
    assert f"    linux16 /bootsvc/$1/vmlinuz {options}" in config
    assert f"    linux /bootsvc/$1/vmlinuz {options}" in config
    assert "    initrd16 /bootsvc/$1/initrd.img\n" in config
    assert "    initrd /bootsvc/$1/initrd.img\n" in config


def test_the_menu_has_the_updater_first_then_its_other_slot_and_both_rescues() -> None:
    titles = [one.title for one in ENTRIES]
    assert "other slot" not in titles[0]
    assert titles[1] == "bootsvc updater, other slot"
    config = menu_config("", seconds=1)
    assert "set default=0" in config
    for area in ("primary", "backup"):
        rescue = entry(config, f"Rescue: image in {area}, without the updater")
        assert f"start bootsvc.rescue={area}" in rescue
        # Looking at an image must not use up the one try of a new updater.
        assert "take_mark" not in rescue


def test_a_slot_is_started_only_by_its_sums_and_a_mark_only_once_taken_away() -> None:
    config = menu_config("", seconds=1)
    load = config.partition("function load {")[2].partition("\n}")[0]
    assert load.index("if hashsum --hash crc32") < load.index("linux16")
    take = config.partition("function take_mark {")[2].partition("\n}")[0]
    assert take.index("if save_env") < take.index("set first=")


def test_without_a_serial_port_the_screen_serves() -> None:
    config = menu_config("", seconds=1)
    assert config.index("if serial --unit=0") < config.index("terminal_output serial console")


@pytest.mark.parametrize(("seconds", "style"), [(0, "menu"), (5, "countdown")])
def test_menu_waits_as_long_as_asked(seconds: int, style: str) -> None:
    config = menu_config("", seconds=seconds)
    assert f"set timeout={seconds}\n" in config
    assert f"set timeout_style={style}\n" in config


def test_a_password_locks_editor_and_shell_but_no_start() -> None:
    config = menu_config("", seconds=1, password=PASSWORD)
    assert f"set superusers=bootsvc\npassword_pbkdf2 bootsvc {PASSWORD}\n" in config
    for one in ENTRIES:
        is_free = f"menuentry '{one.title}' --unrestricted {{" in config
        assert is_free == ("Shell" not in one.title)


def test_without_a_password_nothing_is_locked() -> None:
    assert "superusers" not in menu_config("", seconds=1)


def test_a_password_that_is_no_hash_is_refused() -> None:
    with pytest.raises(SettingsError, match="grub"):
        menu_config("", seconds=1, password="secret; halt")


@pytest.mark.parametrize("options", ["a;halt", "x=$y", "x='y'", "x=}", "a=\x1b[J"])
def test_options_that_the_boot_loader_would_interpret_are_refused(options: str) -> None:
    with pytest.raises(SettingsError, match="kernel option"):
        check_options(options)


def test_options_become_one_line() -> None:
    assert check_options(" console=ttyS0\n quiet ") == "console=ttyS0 quiet"
