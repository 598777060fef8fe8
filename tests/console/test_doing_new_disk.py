"""A disk is made at the console: only one that was shown, and only with its name typed out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootsvc.boot.watchdog import Watchdog
from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Outcome, Then
from bootsvc.console.doing import new_disk
from bootsvc.console.front_end import Ended, Perform, Told
from bootsvc.console.keys import Key
from bootsvc.console.lock import Gate
from bootsvc.console.menu import Menu
from bootsvc.console.pages import ConfirmPage, prompt
from bootsvc.console.perform import Session
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.disk import installer
from bootsvc.disk.real_disk import Part, RealDisk
from bootsvc.errors import DeviceError
from bootsvc.sequence.requests import check_stageable
from bootsvc.settings import Settings
from tests.console.console_bench import Bench, facts_of
from tests.sequence.machine import V1, V2, settled_machine

PART = Part("/dev/sda1", "part", 1 << 20, 'ext4 "other"', ())
WHOLE = Part("/dev/sda", "disk", 1 << 30, "", ())
DISK = RealDisk("/dev/sda", "disk", 1 << 30, 512, False, "FAST", "A-17", "", WHOLE, (PART,))
WORD = "ERASE /dev/sda"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[RealDisk]:
    """The disks that were made. The machine has one, and what is made is a settled one."""
    made: list[RealDisk] = []
    monkeypatch.setattr(installer, "disks_of_machine", lambda: (DISK,))
    monkeypatch.setattr(installer, "create", lambda disk, *_: made.append(disk))
    monkeypatch.setattr(new_disk, "DirectDevice", lambda *_, **__: None)
    monkeypatch.setattr(new_disk, "disk_on", lambda _: settled_machine(V2, V1).disk)
    monkeypatch.setattr(new_disk, "found_disks", tuple)
    return made


@pytest.fixture
def bench() -> Bench:
    """A machine that found no disk."""
    bench = Bench(settled_machine(V2, V1))
    bench.session.runner, bench.session.problem = None, "no disk"
    return bench


def test_all_disks_are_listed_with_what_is_on_them(bench: Bench, made: list[RealDisk]) -> None:
    listed = bench.do("create-disk")
    assert listed.is_done
    assert "/dev/sda: FAST, serial A-17" in listed.lines[0]
    assert 'ext4 "other"' in listed.lines[1]
    shown = {"disk": "/dev/sda", "size": 1 << 30, "model": "FAST", "serial": "A-17"}
    assert dict(listed.facts)["disks"] == [shown]
    assert made == []


def test_a_disk_that_was_shown_is_made_with_its_name_typed_out(
    bench: Bench, made: list[RealDisk]
) -> None:
    bench.do("create-disk")
    for word in ("", "ERASE", "ERASE {disk}", "ERASE /dev/sdb", "erase /dev/sda"):
        refused = bench.do("create-disk", word, disk="/dev/sda")
        assert not refused.is_done
        assert "it wants the word ERASE /dev/sda typed out" in refused.lines[1]
    assert made == []
    done = bench.do("create-disk", WORD, disk="/dev/sda")
    assert (done.is_done, done.then) == (True, Then.STAY)
    assert made == [DISK]
    assert bench.session.used_runner.status is not None
    check_stageable(bench.session.used_runner.status)
    assert bench.session.problem == new_disk.NO_IMAGE_YET


def test_what_was_not_shown_or_is_another_disk_by_now_is_not_made(
    bench: Bench, made: list[RealDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = bench.do("create-disk", WORD, disk="/dev/sda")
    assert "was not shown yet" in refused.lines[0]
    bench.do("create-disk")
    for now in (replace(DISK, serial="B-18"), replace(DISK, parts=())):
        monkeypatch.setattr(installer, "disks_of_machine", lambda now=now: (now,))
        assert not bench.do("create-disk", WORD, disk="/dev/sda").is_done
    assert (
        "there is no disk /dev/sdz"
        in bench.do("create-disk", "ERASE /dev/sdz", disk="/dev/sdz").lines[0]
    )
    assert made == []


def test_a_disk_that_fails_meanwhile_leaves_a_machine_without_one(
    made: list[RealDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DeviceError("/dev/sda", "write", 0, 5, "Input/output error")

    bench = Bench(settled_machine(V2, V1))
    bench.do("create-disk")
    monkeypatch.setattr(installer, "create", fail)
    failed = bench.do("create-disk", WORD, disk="/dev/sda")
    assert not failed.is_done
    assert bench.session.runner is None
    assert bench.session.problem == new_disk.UNFINISHED
    assert made == []


def test_an_ordinary_updater_says_that_it_cannot(made: list[RealDisk]) -> None:
    session = Session(
        None,
        Settings(),
        ConsoleReporter(),
        Watchdog(),
        lambda session: replace(facts_of(session), has_installer=False),
        lambda _: pytest.fail("no disk was made"),
    )
    refused = session.perform("create-disk", {"disk": "/dev/sda"}, WORD)
    assert "start an installer" in refused.lines[0]
    assert made == []


def test_a_person_is_asked_for_the_word_only_where_something_is_lost(bench: Bench) -> None:
    def typed(text: str) -> list[object]:
        for char in text:
            menu.key(char, 0.0)
        return list(menu.key(Key.ENTER, 0.0))

    menu = Menu(ACTIONS, Gate(""), "ttyS0")
    menu.hear(Told(bench.session.facts()))
    typed("create-disk")
    assert typed("") == [Perform("create-disk", {"disk": "look"})]
    menu.hear(Ended(Perform("create-disk", {"disk": "look"}), Outcome(is_done=True)))
    typed("")  # back from the list
    typed("create-disk /dev/sda")
    page = menu.page(0.0)
    assert isinstance(page, ConfirmPage)
    assert prompt(page) == "Type ERASE /dev/sda, or Enter to go back: "
    assert not any(isinstance(one, Perform) for one in typed("ERASE /dev/sdb"))
    assert typed(WORD) == [Perform("create-disk", {"disk": "/dev/sda"}, word=WORD)]
