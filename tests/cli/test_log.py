"""``bootsvc log`` as a user runs it."""

import json
from pathlib import Path

import pytest

from bootsvc.cli import log
from tests.cli.command import Command

ENTRIES = [
    {"at_s": 3.1, "stage": "start"},
    {"at_s": 3.2, "text": "next: check the staged image and install it"},
    {"decided": "verify", "area": "staging"},
    {"at_s": 3.3, "stage": "copy", "code": 2, "boot": "backup"},
    {"work": "copy", "seconds": 4.0, "done": 9, "read": 4096, "written": 8192, "skipped": 0},
    {"at_s": 8.5, "stage": "handover", "area": "primary", "method": "kexec", "number": 2},
]


@pytest.fixture
def data(bootsvc: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(log, "RUN_DIR", bootsvc.run_dir)
    monkeypatch.setattr(log, "BOOT_ID_FILE", tmp_path / "boot_id")
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    (tmp_path / "boot_id").write_text("this-very-start\n")
    start = {"schema": 1, "entries": ENTRIES, "handover": {"area": "primary", "trial": "1"}}
    (bootsvc.run_dir / "start.json").write_text(json.dumps(start))
    return bootsvc.uses_data()


@pytest.mark.usefixtures("data")
def test_what_was_kept_is_shown_as_one_line(bootsvc: Command) -> None:
    assert bootsvc.plain("log", "--keep").out == "kept as start 1\n"
    assert bootsvc.plain("log", "--keep").out == "kept already\n"
    head, row = bootsvc.plain("log").out.splitlines()
    assert head.split()[0] == "START"
    assert [cell.strip() for cell in row.split("  ") if cell] == [
        "1",
        "2027-01-15 08:00:00",
        "primary, number 2, on trial",
        "8.5 s",
        "copy",
    ]


@pytest.mark.usefixtures("data")
def test_one_start_is_shown_whole(bootsvc: Command) -> None:
    bootsvc.plain("log", "--keep")
    shown = bootsvc.plain("log", "1").out.splitlines()
    assert shown[0] == "start 1, 2027-01-15 08:00:00: area primary, trial 1"
    assert shown[2] == "      3.2 s  next: check the staged image and install it"
    assert shown[3] == "             decided: verify area=staging"
    assert shown[5].endswith("copy took 4.0 s: read 4.0 KiB, written 8.0 KiB, skipped 0 B")


@pytest.mark.usefixtures("data")
def test_programs_get_every_entry(bootsvc: Command) -> None:
    bootsvc.plain("log", "--keep")
    (one,) = json.loads(bootsvc.plain("log", "--json").out)
    assert one["entries"] == ENTRIES
    assert one["handover"] == {"area": "primary", "trial": "1"}


@pytest.mark.usefixtures("data")
def test_a_start_that_is_not_kept_is_named(bootsvc: Command) -> None:
    outcome = bootsvc.plain("log", "7")
    assert outcome.code == 3
    assert "start 7 is not kept" in outcome.err


def test_a_start_without_data_says_so(bootsvc: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "RUN_DIR", bootsvc.run_dir)
    outcome = bootsvc.plain("log")
    assert outcome.code == 3
    assert "no data partition takes writes" in outcome.err
