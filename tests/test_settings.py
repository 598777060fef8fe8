"""Settings: from TOML in the running OS, from JSON in the initramfs, and as kernel options."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bootsvc.errors import SettingsError
from bootsvc.settings import Settings, load, load_built_in, with_kernel_options

FORMS: dict[str, tuple[Callable[[Path], Settings], str]] = {
    "toml": (load, "tries = 2\nrestore = false\n"),
    "json": (load_built_in, '{"tries": 2, "restore": false}'),
}


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_give_the_same_settings(form: str, tmp_path: Path) -> None:
    read, text = FORMS[form]
    file = tmp_path / "settings"
    file.write_text(text)
    assert read(file) == Settings(tries=2, restore=False)


@pytest.mark.parametrize("form", FORMS)
def test_without_a_file_the_defaults_serve(form: str, tmp_path: Path) -> None:
    assert FORMS[form][0](tmp_path / "none") == Settings()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"= 3", b"[1, 2]x"])
def test_a_damaged_file_is_an_error_that_names_it(
    form: str, damaged: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "settings"
    file.write_bytes(damaged)
    with pytest.raises(SettingsError, match="settings"):
        FORMS[form][0](file)


def test_json_that_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("[1]")
    with pytest.raises(SettingsError, match="not a table"):
        load_built_in(file)


def test_an_unknown_setting_names_the_nearest_right_one(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text('{"trys": 2}')
    with pytest.raises(SettingsError, match="trys") as caught:
        load_built_in(file)
    assert "tries" in caught.value.hint


def test_a_kernel_option_changes_a_setting_and_is_checked() -> None:
    assert with_kernel_options(Settings(), {"bootsvc.tries": "1"}).tries == 1
    assert not with_kernel_options(Settings(), {"bootsvc.restore": "off"}).restore
    for name, value in (("tries", "0"), ("tries", "many"), ("restore", "no")):
        with pytest.raises(SettingsError):
            with_kernel_options(Settings(), {f"bootsvc.{name}": value})
