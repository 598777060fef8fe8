"""``bootsvc password``: from what is typed to the two settings."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest

from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.settings import load
from bootsvc.trust.password import check


def test_what_is_printed_is_a_settings_file_that_the_password_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("open $esame'\r\n"))
    assert main(["password", "--stdin"]) == ExitCode.OK
    printed = capsys.readouterr().out
    assert list(tomllib.loads(printed)) == ["console_password", "grub_password"]
    (tmp_path / "bootsvc.toml").write_text(printed)
    settings = load(tmp_path / "bootsvc.toml")
    assert check("open $esame'", settings.console_password)
    assert settings.grub_password.startswith("grub.pbkdf2.sha512.10000.")


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    left = list(answers)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: left.pop(0))


def test_it_is_asked_for_twice_and_a_bad_one_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "short", "open sesame", "open sesame")
    assert main(["password"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert "8 to 128 characters" in shown.err
    assert "open sesame" not in shown.out + shown.err
    assert check("open sesame", tomllib.loads(shown.out)["console_password"])


def test_a_slip_of_the_fingers_stores_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "open sesame", "open sesame!")
    assert main(["password"]) == ExitCode.SETTINGS
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "the two differ" in shown.err


def test_an_empty_line_is_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["password", "--stdin"]) == ExitCode.SETTINGS
    assert "not 0" in capsys.readouterr().err
