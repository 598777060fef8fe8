"""Settings: the file, the kernel options, and the table that documents them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest

import bootsvc
from bootsvc.errors import SettingsError
from bootsvc.settings import (
    KERNEL_OPTIONS,
    RANGES,
    Settings,
    after_damage,
    changed,
    load,
    load_built_in,
    with_kernel_options,
)
from bootsvc.trust.password import hash_password

DEFAULTS = Settings()


def test_without_a_file_the_defaults_serve(tmp_path: Path) -> None:
    assert load(tmp_path / "none") == load_built_in(tmp_path / "none") == DEFAULTS


def test_the_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "bootsvc.toml"
    file.write_text('compatible = "kiosk-2"\ntries = 1\nrestore = false\n')
    assert load(file) == replace(DEFAULTS, compatible="kiosk-2", tries=1, restore=False)
    file.write_text('{"compatible": "kiosk-2", "tries": 1, "restore": false}')
    assert load_built_in(file) == replace(DEFAULTS, compatible="kiosk-2", tries=1, restore=False)


@pytest.mark.parametrize("read", [load, load_built_in])
@pytest.mark.parametrize("content", [b"tries = \n", b"tries", b"\xff\xfe", b"{", b"\0"])
def test_a_file_that_cannot_be_understood_is_named(
    tmp_path: Path, read: Callable[[Path], Settings], content: bytes
) -> None:
    file = tmp_path / "settings"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(str(file))) as caught:
        read(file)
    assert "SETTINGS.md" in caught.value.hint


def test_a_file_that_cannot_be_read_is_an_error_and_not_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_another_json_value_than_a_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings").write_text(text)
    with pytest.raises(SettingsError, match="not a table of settings"):
        load_built_in(tmp_path / "settings")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("trys", "tries"),
        ("watchdog", "watchdog_s"),
        ("confirm_limit", "confirm_limit_s"),
        ("Restore", "restore"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"here: unknown setting '{key}'") as caught:
        changed(DEFAULTS, {key: 1}, "here")
    assert caught.value.hint == f"did you mean {nearest}?"


def test_a_key_like_no_other_gets_the_list() -> None:
    with pytest.raises(SettingsError) as caught:
        changed(DEFAULTS, {"zzz": 1}, "here")
    assert all(one.name in caught.value.hint for one in fields(Settings))


@pytest.mark.parametrize("key", RANGES)
def test_a_number_lies_within_its_range(key: str) -> None:
    low, high = RANGES[key]
    for value in (low, high):
        assert getattr(changed(DEFAULTS, {key: value}, "here"), key) == value
    for value in (low - 1, high + 1):
        with pytest.raises(SettingsError, match=f"{key} must lie between {low} and {high}"):
            changed(DEFAULTS, {key: value}, "here")
    assert low <= getattr(DEFAULTS, key) <= high


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tries", "3"),
        ("tries", True),
        ("tries", 3.0),
        ("restore", 1),
        ("restore", "on"),
        ("compatible", 3),
        ("compatible", ["a"]),
    ],
)
def test_a_value_of_another_type_is_refused(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{key} must be of type"):
        changed(DEFAULTS, {key: value}, "here")


def test_kernel_options_change_the_settings_of_one_start() -> None:
    options = {
        "bootsvc.tries": "1",
        "bootsvc.restore": "off",
        "bootsvc.watchdog_s": "0",
        "bootsvc.work_watchdog_s": "20",
        "bootsvc.confirm_limit_s": "30",
        "bootsvc.disk_wait_s": "60",
        "bootsvc.console_wait_s": "0",
        "bootsvc.console_idle_s": "0",
        "bootsvc.progress_s": "1",
        "bootsvc.console_locked_while_updating": "on",
        "bootsvc.area": "primary",  # a fact, and no setting
        "tries": "9",
    }
    assert with_kernel_options(DEFAULTS, options) == replace(
        DEFAULTS,
        tries=1,
        restore=False,
        watchdog_s=0,
        work_watchdog_s=20,
        confirm_limit_s=30,
        disk_wait_s=60,
        console_wait_s=0,
        console_idle_s=0,
        progress_s=1,
        console_locked_while_updating=True,
    )
    assert with_kernel_options(DEFAULTS, {}) == DEFAULTS


def test_what_is_no_kernel_option_cannot_be_changed_by_one() -> None:
    others = {one.name for one in fields(Settings)} - set(KERNEL_OPTIONS)
    assert others == {
        "compatible",
        "stores",
        "store_rate_kib_s",
        "restore_points",
        "keep_before_update",
        "take_test_versions",
        "restore_retries",
        "crash_limit",
        "forced_lock_s",
        "console_password",
        "console_shell",
        "grub_password",
    }
    assert with_kernel_options(DEFAULTS, {f"bootsvc.{key}": "1" for key in others}) == DEFAULTS


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("tries", "many", "a number"),
        ("tries", "", "a number"),
        ("tries", "-1", "a number"),
        ("tries", "0", "between 1 and 20"),
        ("tries", "21", "between 1 and 20"),
        ("restore", "true", "on or off"),
        ("console_wait_s", "61", "between 0 and 60"),
        ("console_locked_while_updating", "1", "on or off"),
    ],
)
def test_a_bad_kernel_option_is_refused_by_name(key: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"{key}.*{words}"):
        with_kernel_options(DEFAULTS, {f"bootsvc.{key}": text})


def test_decisions_get_their_part_of_the_settings() -> None:
    settings = Settings(tries=7, restore=False, restore_retries=2, crash_limit=9)
    assert asdict(settings).items() >= asdict(settings.policy).items()
    assert set(asdict(settings.policy)) == {"tries", "restore", "restore_retries", "crash_limit"}


# --- passwords -----------------------------------------------------------------------------------

STORED = hash_password("open sesame", bytes(16))


@pytest.mark.parametrize("stored", ["", "nobody", STORED])
def test_a_stored_password_is_a_setting(stored: str) -> None:
    assert changed(DEFAULTS, {"console_password": stored}, "here").console_password == stored


@pytest.mark.parametrize("key", ["console_password", "grub_password"])
@pytest.mark.parametrize("text", ["open sesame", "scrypt$1$1$1$00$00", "Nobody"])
def test_a_password_in_plain_text_or_a_damaged_one_is_refused(key: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"here: {key}: ") as caught:
        changed(DEFAULTS, {key: text}, "here")
    assert "bootsvc password" in caught.value.hint


@pytest.fixture
def no_shell(tmp_path: Path) -> Path:
    path = tmp_path / "no-shell"
    path.write_text("the site had a lock\n")
    return path


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"tries": 3}',
        '{"console_password": ""}',
        '{"console_password": 7}',
        '{"console_password": "open sesame"}',
        '{"console_pasword": "nobody"}',
    ],
)
def test_damaged_settings_of_a_locked_console_let_nobody_in(
    tmp_path: Path, no_shell: Path, content: str
) -> None:
    file = tmp_path / "bootsvc.json"
    file.write_text(content)
    settings = after_damage(file, no_shell)
    assert settings == replace(DEFAULTS, console_password="nobody", console_shell=False)
    assert after_damage(tmp_path / "gone", no_shell) == settings


def test_a_password_that_can_still_be_read_stays_the_password(
    tmp_path: Path, no_shell: Path
) -> None:
    file = tmp_path / "bootsvc.json"
    file.write_text(f'{{"trys": 3, "console_password": "{STORED}", "console_shell": true}}')
    settings = after_damage(file, no_shell)
    assert settings == replace(DEFAULTS, console_password=STORED, console_shell=False)


def test_damaged_settings_of_an_open_console_leave_it_open(tmp_path: Path) -> None:
    file = tmp_path / "bootsvc.json"
    file.write_text("{")
    assert after_damage(file, tmp_path / "no-shell") == DEFAULTS


# --- SETTINGS.md ---------------------------------------------------------------------------------

DOCUMENT = Path(bootsvc.__file__).with_name("SETTINGS.md").read_text()
ROWS = {
    cells[1].strip("` "): [cell.strip() for cell in cells[2:6]]
    for line in DOCUMENT.splitlines()
    if line.startswith("| `")
    for cells in [line.split("|")]
}


def test_every_setting_is_documented_and_no_other() -> None:
    assert list(ROWS) == [one.name for one in fields(Settings)]


@pytest.mark.parametrize("key", [one.name for one in fields(Settings)])
def test_a_documented_setting_is_as_the_program_has_it(key: str) -> None:
    default, range_, kernel_option, meaning = ROWS[key]
    value = getattr(DEFAULTS, key)
    written = {str: f'`"{value}"`', bool: str(value).lower(), int: str(value)}[type(value)]
    assert default == written
    if key in RANGES:
        assert range_ == "{} to {}".format(*RANGES[key])
    assert kernel_option == ("yes" if key in KERNEL_OPTIONS else "no")
    assert meaning


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    example = DOCUMENT.partition("    # example\n")[2]
    (tmp_path / "bootsvc.toml").write_text(re.sub(r"(?m)^    ", "", example))
    assert load(tmp_path / "bootsvc.toml") == replace(
        DEFAULTS, compatible="kiosk-2", tries=3, confirm_limit_s=600
    )


def test_every_number_has_a_range() -> None:
    numbers = {one.name for one in fields(Settings) if type(getattr(DEFAULTS, one.name)) is int}
    assert set(RANGES) == numbers
    assert set(KERNEL_OPTIONS) <= {one.name for one in fields(Settings)}


@pytest.mark.parametrize(
    ("key", "text"),
    [("network", "10.0.0.7/8,dns=10.0.0.1"), ("mirror", "http://10.0.0.1/images")],
)
def test_an_address_is_a_setting_and_a_kernel_option(key: str, text: str) -> None:
    assert getattr(changed(DEFAULTS, {key: text}, "here"), key) == text
    assert getattr(with_kernel_options(DEFAULTS, {f"bootsvc.{key}": text}), key) == text


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("network", "dhpc", "here: network: network 'dhpc': 'dhpc' is no IPv4 address"),
        ("mirror", "10.0.0.1/images", "here: mirror: '10.0.0.1/images' does not begin with http"),
    ],
)
def test_an_address_that_is_mistyped_is_refused_with_an_example(
    key: str, text: str, words: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)) as caught:
        changed(DEFAULTS, {key: text}, "here")
    assert "for example" in caught.value.hint
