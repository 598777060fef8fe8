"""What is printed, and what is kept as the record of the start."""

from __future__ import annotations

import json

import pytest

from bootsvc.console.reporter import ConsoleReporter, PlainLines
from bootsvc.console.reports import Progress, Report, Said, Staged, Worked
from bootsvc.formats.boot_status import Area, Reason
from bootsvc.sequence.actions import Boot, Copy, Halt, Verify
from bootsvc.storage.image_area import CopyCounts
from bootsvc.units import MIB


class Time:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def clock_gettime(self, _: int) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr("time.monotonic", made.monotonic)
    monkeypatch.setattr("time.clock_gettime", made.clock_gettime)
    return made


def test_stages_and_sentences_are_printed_and_kept_with_their_time(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ConsoleReporter()
    said.stage("copy", boot="backup")
    time.now_s = 101.23456
    said.say("one copy of the record was bad")
    assert capsys.readouterr().out.splitlines() == [
        "bootsvc: stage=copy boot=backup",
        "bootsvc: one copy of the record was bad",
    ]
    assert said.entries == [
        {"at_s": 100.0, "stage": "copy", "boot": "backup"},
        {"at_s": 101.235, "text": "one copy of the record was bad"},
    ]


@pytest.mark.parametrize(("interval_s", "count"), [(5.0, 2), (1.0, 12)])
def test_progress_is_a_line_every_few_seconds_and_not_kept(
    time: Time, interval_s: float, count: int
) -> None:
    said, lines = ConsoleReporter(), list[str]()
    said.listeners = [PlainLines(lines.append, interval_s)]
    said.plan = ("verify staging", "copy", "verify")
    said.begin("copy", 500 * MIB)
    for _ in range(50):
        time.now_s += 0.25
        said.tick(10 * MIB)
    assert len(lines) == count
    assert lines[-1].startswith(f"bootsvc: copy {count * interval_s * 40:.0f} / 500 MiB")
    assert lines[-1].endswith("(2/3)")
    assert "40.0 MiB/s" in lines[-1]
    assert not said.entries


def test_where_nobody_looks_a_line_of_progress_comes_every_five_seconds() -> None:
    assert PlainLines().interval_s == 5.0


def test_each_work_is_shown_on_its_own_clock(time: Time) -> None:
    said, lines = ConsoleReporter(), list[str]()
    said.listeners = [PlainLines(lines.append, 1.0)]
    for work in ("backup", "copy"):
        said.begin(work, 4 * MIB)
        time.now_s += 1.5
        said.tick(2 * MIB)
        said.end()
    assert [line.split()[1] for line in lines if "left" in line] == ["backup", "copy"]


def test_a_wait_feeds_the_watchdog_and_is_told_from_time_to_time(time: Time) -> None:
    said, lines, fed = ConsoleReporter(), list[str](), list[float]()
    said.on_progress = lambda: fed.append(time.now_s)
    said.listeners = [PlainLines(lines.append, 5.0)]
    looked = said.wait("the disk", 10, "the console opens")
    for _ in range(23):
        time.now_s += 0.5
        looked()
    assert len(fed) == 23
    assert lines == [
        "bootsvc: waiting for the disk since 5 s, for 5 s more, then the console opens",
        "bootsvc: waiting for the disk since 10 s, for 0 s more, then the console opens",
    ]


def test_every_listener_hears_everything(time: Time) -> None:
    said, first, second = ConsoleReporter(), list[Report](), list[Report]()
    said.listeners = [first.append, second.append]
    said.stage("copy", boot="backup")
    said.say("one copy of the record was bad")
    said.begin("copy", 4 * MIB)
    time.now_s += 2
    said.tick(MIB)
    said.end(CopyCounts(read=MIB))
    assert first == second
    assert first == [
        Staged("copy", {"boot": "backup"}),
        Said("one copy of the record was bad"),
        Progress("copy", MIB, 4 * MIB, 2.0),
        Worked("copy", 2.0, MIB, 0, 0),
    ]


def test_work_is_kept_with_its_counts(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    said = ConsoleReporter()
    said.begin("copy", 4 * MIB)
    said.tick(4 * MIB)
    said.tick(MIB)  # a tick too many never shows more than the whole
    time.now_s += 2
    said.end(CopyCounts(read=4 * MIB, written=MIB, skipped=3 * MIB))
    assert capsys.readouterr().out == (
        "bootsvc: copy done in 2.0 s: read 4.0, written 1.0, skipped 3.0 MiB\n"
    )
    assert said.entries == [
        {
            "work": "copy",
            "seconds": 2.0,
            "done": 4 * MIB,
            "read": 4 * MIB,
            "written": MIB,
            "skipped": 3 * MIB,
        }
    ]


def test_pure_reading_counts_what_was_done_and_ends_once(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ConsoleReporter()
    said.end()  # nothing was begun
    said.begin("verify", 4 * MIB)
    time.now_s += 1
    said.tick(3 * MIB)
    said.end()
    said.end()
    assert "verify done in 1.0 s: read 3.0, written 0.0" in capsys.readouterr().out
    assert [entry["work"] for entry in said.entries] == ["verify"]


def test_decisions_are_kept_and_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    said = ConsoleReporter()
    for action in (
        Verify(Area.STAGING, installing=True),
        Copy(Area.STAGING, Area.PRIMARY),
        Boot(Area.PRIMARY, is_trial=True),
        Halt(Reason.NO_IMAGE),
    ):
        said.decided(action)
    assert said.entries == [
        {"decided": "verify", "area": "staging"},
        {"decided": "copy", "source": "staging", "target": "primary"},
        {"decided": "boot", "area": "primary"},
        {"decided": "halt"},
    ]
    assert not capsys.readouterr().out


def test_all_that_is_kept_can_be_handed_over_as_json(time: Time) -> None:
    said = ConsoleReporter()
    said.stage("handover", area="primary", number=7)
    said.begin("verify", MIB)
    time.now_s += 1
    said.end()
    said.decided(Boot(Area.PRIMARY))
    assert json.loads(json.dumps(said.entries)) == said.entries


def test_every_step_of_work_and_every_decision_is_progress(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    said, heard = ConsoleReporter(), []
    said.on_progress = lambda: heard.append(time.now_s)
    said.begin("copy", 2 * MIB)
    said.say("nobody has done anything yet")
    assert not heard, "words are no progress"
    said.tick(MIB)
    said.tick(MIB)
    assert len(heard) == 2
    said.decided(Boot(Area.PRIMARY))
    assert len(heard) == 3
    assert capsys.readouterr().out


def test_a_wait_and_a_sign_of_life_are_no_progress(time: Time) -> None:
    reporter = ConsoleReporter()
    reporter.begin("copy", 100)
    begun_s = reporter.progressed_s
    looked = reporter.wait("the server", 30, "it is asked anew")
    time.now_s += 7
    looked()
    reporter.tick(0)
    reporter.say("still there")
    assert reporter.progressed_s == begun_s
    reporter.tick(1)
    assert reporter.progressed_s == begun_s + 7
