"""Which traces of the last start count as a crash, in made-up /sys trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootsvc.boot import evidence
from bootsvc.boot.evidence import find_crash, keeps_panics
from bootsvc.formats.boot_status import Reason


@pytest.fixture(autouse=True)
def sys_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without pstore and without watchdog."""
    monkeypatch.setattr(evidence, "PSTORE", tmp_path / "pstore")
    monkeypatch.setattr(evidence, "WATCHDOGS", tmp_path / "watchdog")
    return tmp_path


def dump(tree: Path, name: str, at_s: int = 1000, text: str = "") -> None:
    (tree / "pstore").mkdir(exist_ok=True)
    (tree / "pstore" / name).write_text(f"Panic#1 Part1\n{text}")
    os.utime(tree / "pstore" / name, (at_s, at_s))


def watchdog(tree: Path, bootstatus: str | None, number: int = 0) -> None:
    folder = tree / "watchdog" / f"watchdog{number}"
    folder.mkdir(parents=True)
    if bootstatus is not None:
        (folder / "bootstatus").write_text(bootstatus)


def test_a_machine_without_traces_has_no_crash() -> None:
    assert find_crash() is None


@pytest.mark.parametrize("text", ["32\n", "0x20\n", "33", "160\n"])
def test_a_reset_by_the_watchdog_is_a_crash(sys_tree: Path, text: str) -> None:
    watchdog(sys_tree, text)
    crash = find_crash()
    assert crash is not None
    assert crash.reason is Reason.WATCHDOG


def test_each_reset_is_an_event_of_its_own(sys_tree: Path) -> None:
    watchdog(sys_tree, "32\n")
    first, second = find_crash(), find_crash()
    assert first is not None
    assert second is not None
    assert first.event != second.event
    assert len(first.event) == 16


@pytest.mark.parametrize("text", ["0\n", "1\n", "223\n", "", "no number\n", None])
def test_another_boot_status_is_no_crash(sys_tree: Path, text: str | None) -> None:
    watchdog(sys_tree, text)
    assert find_crash() is None


def test_the_second_watchdog_counts_as_well(sys_tree: Path) -> None:
    watchdog(sys_tree, "0\n", 0)
    watchdog(sys_tree, "32\n", 1)
    assert find_crash() is not None


def test_a_recorded_panic_is_one_event_however_often_it_is_seen(sys_tree: Path) -> None:
    dump(sys_tree, "dmesg-efi-1")
    first, again = find_crash(), find_crash()
    assert first is not None
    assert first.reason is Reason.PANIC
    assert first == again, "a dump that stays would otherwise count at every start"
    dump(sys_tree, "dmesg-efi-2", at_s=2000)
    newer = find_crash()
    assert newer is not None
    assert newer.event != first.event
    dump(sys_tree, "dmesg-efi-0", at_s=500)
    assert find_crash() == newer


def test_a_panic_says_more_than_the_watchdog_that_ended_it(sys_tree: Path) -> None:
    watchdog(sys_tree, "32\n")
    dump(sys_tree, "dmesg-ramoops-0")
    crash = find_crash()
    assert crash is not None
    assert crash.reason is Reason.PANIC


def test_other_files_of_pstore_are_no_panic(sys_tree: Path) -> None:
    dump(sys_tree, "console-ramoops-0")
    assert find_crash() is None


ROT = "<0>[    5.1] Kernel panic - not syncing: dm-verity device corrupted\n"


def test_a_panic_of_dm_verity_says_that_a_block_is_rotten_in_whatever_part_it_stands(
    sys_tree: Path,
) -> None:
    dump(sys_tree, "dmesg-erst-1", text=ROT)
    dump(sys_tree, "dmesg-erst-2", text="<6>[    1.0] earlier words\n")
    crash = find_crash()
    assert crash is not None
    assert crash.reason is Reason.ROTTEN_BLOCK


def test_a_rotten_block_of_an_older_panic_says_nothing_of_the_newest(sys_tree: Path) -> None:
    dump(sys_tree, "dmesg-erst-1", text=ROT)
    dump(sys_tree, "dmesg-erst-2", at_s=2000)
    crash = find_crash()
    assert crash is not None
    assert crash.reason is Reason.PANIC


@pytest.mark.parametrize(("backend", "expected"), [("erst\n", True), ("(null)\n", False)])
def test_whether_panics_are_kept_is_told_by_the_kernels_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, expected: bool
) -> None:
    (tmp_path / "backend").write_text(backend)
    monkeypatch.setattr(evidence, "PSTORE_BACKEND", tmp_path / "backend")
    assert keeps_panics() is expected
    monkeypatch.setattr(evidence, "PSTORE_BACKEND", tmp_path / "none")
    assert not keeps_panics()
