"""`python -m qemu_lab`."""

from __future__ import annotations

from pathlib import Path

import pytest

from qemu_lab.accel import OVERRIDE_VARIABLE
from qemu_lab.cli import main


@pytest.fixture(autouse=True)
def _no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE_VARIABLE, "tcg")


def test_the_choice_of_acceleration_is_shown_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["accel"]) == 0
    assert capsys.readouterr().out == f"tcg: {OVERRIDE_VARIABLE} says so\n"


def test_run_shows_the_command_for_a_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"\0" * 512)
    options = ["--memory", "128", "--watchdog", "--cpu", "max", "--bus", "nvme"]
    assert main(["run", str(disk), "--show", *options]) == 0
    shown = capsys.readouterr().out
    for part in ("-m 128M", "i6300esb", "-cpu max", '"driver": "nvme"', str(disk), "mon:stdio"):
        assert part in shown


def test_a_disk_that_does_not_exist_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tmp_path / "none.img")]) == 1
    assert "none.img: no such disk file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["run"], ["accel"]])
def test_help_teaches_every_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) > 5
    if command == ["run"]:
        assert "Ctrl-A x" in shown
