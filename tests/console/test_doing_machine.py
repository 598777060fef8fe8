"""Clock, watchdog and disks at the console."""

from __future__ import annotations

import time

import pytest

from bootsvc.boot.disk_choice import FoundDisk
from bootsvc.boot.watchdog import Watchdog
from bootsvc.console.actions import Then
from bootsvc.console.doing import disks
from bootsvc.console.doing.machine import seconds_of
from bootsvc.errors import SequenceError
from bootsvc.formats.boot_status import Area, Phase
from bootsvc.sequence.actions import Boot
from bootsvc.sequence.states import Check
from bootsvc.settings import Settings
from tests.console.console_bench import Bench
from tests.sequence.machine import PARTS, V1, V2, settled_machine

# --- going on -----------------------------------------------------------------------------------


def test_a_machine_that_halted_looks_at_everything_once_more() -> None:
    rotten = settled_machine(V2, V1)
    for area in (Area.PRIMARY, Area.BACKUP):
        rotten.flip(area, PARTS["primary"].stop - PARTS["primary"].start - 1)
    bench = Bench(rotten, problem="nothing can be started")
    rotten.put(Area.BACKUP, V1)
    assert bench.do("go-on").then is Then.GO_ON
    assert bench.session.used_runner.seen.backup.check is Check.UNSEEN
    assert isinstance(bench.session.used_runner.run(), Boot)
    assert bench.record.phase is Phase.IDLE


def test_a_machine_that_has_not_halted_keeps_what_it_knows() -> None:
    bench = Bench(settled_machine(V2, V1))
    bench.do("verify", area="backup")
    bench.do("go-on")
    assert bench.session.used_runner.seen.backup.is_verified


@pytest.mark.parametrize(("has_shell", "then"), [(True, Then.SHELL), (False, Then.STAY)])
def test_the_shell_has_a_setting_of_its_own(has_shell: bool, then: Then) -> None:
    bench = Bench(settled_machine(), settings=Settings(compatible="test", console_shell=has_shell))
    assert bench.do("shell").then is then


# --- the clock ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00", 0),
        ("2000-02-29 23:59:58", 951868798),
        ("2026-11-22T06:30", 1795329000),
        ("2026-11-22T06:30:01Z", 1795329001),
        ("2100-03-01T00:00", 4107542400),
    ],
)
def test_a_date_is_read_as_utc(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
    assert time.strftime("%Y-%m-%d", time.gmtime(seconds)) == text[:10]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-02-29T00:00",
        "2026-13-01T00:00",
        "2026-00-01T00:00",
        "2026-01-00T00:00",
        "2026-01-01T24:00",
        "2026-01-01T00:60",
        "1969-12-31T23:59",
        "0000-01-01T00:00",
        "2026-01-01",
        "22.11.2026 06:30",
        "2026-11-22T06:30+01:00",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(SequenceError, match="no date and time"):
        seconds_of(text)


def test_the_clock_is_set_and_failures_bear_the_new_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []
    monkeypatch.setattr("time.clock_settime", lambda clock, seconds: asked.append((clock, seconds)))
    bench = Bench(settled_machine())
    outcome = bench.do("set-date", date="2026-11-22T06:30")
    assert outcome.is_done
    assert "2026-11-22 06:30:00 UTC" in outcome.lines[0]
    assert asked == [(time.CLOCK_REALTIME, 1795329000)]
    assert bench.session.used_runner.seen.now_s == 1795329000


def test_a_clock_that_cannot_be_set_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("time.clock_settime", fail)
    outcome = Bench(settled_machine()).do("set-date", date="2026-11-22T06:30")
    assert outcome.lines[0] == "Not done: the clock cannot be set: Operation not permitted."


# --- the watchdog -------------------------------------------------------------------------------


class StubbornWatchdog(Watchdog):
    """Starts, and never restarts the machine; ``calls``: what was asked of it."""

    def __init__(self, *, is_there: bool) -> None:
        super().__init__()
        self.is_there = is_there
        self.calls: list[tuple[str, int]] = []

    @property
    def is_running(self) -> bool:
        return self.is_there

    def starve(self, timeout_s: int) -> str:
        self.calls.append(("starve", timeout_s))
        return f"resets in {timeout_s} s" if self.is_there else "watchdog: this machine has none"

    def guard_work(self, timeout_s: int) -> str:
        self.calls.append(("guard", timeout_s))
        return ""

    def stop(self) -> str:
        self.calls.append(("stop", 0))
        return ""

    def feed(self) -> None:
        """Not counted."""


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only by sleeping; what was slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(slept))
    return slept


def test_a_watchdog_that_does_not_bite_is_named_plainly(fast: list[float]) -> None:
    bench = Bench(settled_machine())
    bench.session.watchdog = watchdog = StubbornWatchdog(is_there=True)
    outcome = bench.do("test-watchdog", "WATCHDOG")
    assert not outcome.is_done
    assert outcome.lines[0].startswith("The machine still runs 30 s after")
    assert 29 < sum(fast) < 31
    assert watchdog.calls == [("starve", 10), ("stop", 0), ("guard", 300)]


def test_a_machine_without_a_watchdog_says_so_at_once(fast: list[float]) -> None:
    bench = Bench(settled_machine())
    bench.session.watchdog = StubbornWatchdog(is_there=False)
    outcome = bench.do("test-watchdog", "WATCHDOG")
    assert outcome.lines == ("watchdog: this machine has none",)
    assert not fast


def test_the_test_can_be_broken_off_and_the_watchdog_guards_again(fast: list[float]) -> None:
    bench = Bench(settled_machine())
    bench.session.watchdog = watchdog = StubbornWatchdog(is_there=True)
    bench.is_cancelled = True
    assert not bench.do("test-watchdog", "WATCHDOG").is_done
    assert watchdog.calls[-1] == ("guard", 300)
    assert sum(fast) < 1


# --- disks --------------------------------------------------------------------------------------


def test_a_whole_disk_is_read_without_a_write() -> None:
    bench = Bench(settled_machine(V2, V1))
    outcome = bench.do("scan-disk")
    assert outcome.is_done
    assert "every sector" in outcome.lines[0]
    assert dict(outcome.facts)["unreadable"] == []
    assert not bench.has_written


def test_what_cannot_be_read_is_named_with_its_partition() -> None:
    broken = settled_machine(V2, V1)
    start = PARTS["backup"].start + 8192
    broken.device.bad_reads.append(range(start, start + 4096))
    outcome = Bench(broken).do("scan-disk")
    assert outcome.is_done
    assert dict(outcome.facts)["unreadable"] == [[start, start + 4096]]
    assert outcome.lines[1] == f"{start} to {start + 4095}: bootsvc-backup"


def test_reading_the_disk_can_be_broken_off() -> None:
    bench = Bench(settled_machine())
    bench.is_cancelled = True
    assert not bench.do("scan-disk").is_done


def test_a_whole_partition_table_is_not_repaired() -> None:
    bench = Bench(settled_machine())
    outcome = bench.do("repair-gpt", "REPAIR")
    assert not outcome.is_done
    assert "is whole" in outcome.lines[0]
    assert not bench.has_written


def test_a_lost_partition_table_is_made_again_from_the_spare() -> None:
    lost = settled_machine(V2, V1)
    lost.device.bytes[512:1024] = bytes(512)
    bench = Bench(lost)
    assert lost.disk.gpt.is_spare
    assert bench.do("repair-gpt", "REPAIR").is_done
    assert [bench.session.used_runner.disk.gpt.is_spare, lost.disk.gpt.is_spare] == [False, False]
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY)


FOUND = (
    FoundDisk("/dev/sda", 1 << 30, "Left", "1", frozenset({"a"}), 7, "next: start primary"),
    FoundDisk("/dev/sdb", 1 << 30, "Right", "2", frozenset({"b"}), 0, "its record is lost"),
)


def test_several_disks_are_listed_and_one_is_chosen_by_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[str] = []
    other = settled_machine(V1)

    def choose(node: str) -> object:
        chosen.append(node)
        return other.disk

    monkeypatch.setattr(disks, "found_disks", lambda: FOUND)
    monkeypatch.setattr(disks, "choose", choose)
    bench = Bench(settled_machine(V2, V1), problem="several disks")
    bench.session.runner = None
    listed = bench.do("choose-disk")
    assert listed.then is Then.STAY
    assert listed.lines[1].startswith("2: /dev/sdb: Right, serial 2")
    outcome = bench.do("choose-disk", disk="2")
    assert outcome.then is Then.GO_ON
    assert chosen == ["/dev/sdb"]
    assert bench.session.used_runner.disk.areas[Area.PRIMARY].read_at(0, 512) == V1.content[:512]
    assert bench.session.problem == ""


def test_no_disk_is_chosen_that_was_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "found_disks", lambda: FOUND)
    bench = Bench(settled_machine())
    bench.do("choose-disk")
    for text in ("0", "3", "99999"):
        assert "no number" in bench.do("choose-disk", disk=text).lines[0]
