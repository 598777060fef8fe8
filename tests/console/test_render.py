"""Lines of the serial console: exact words, plain ASCII, at most 80 columns."""

from __future__ import annotations

from itertools import product

import pytest

from bootsvc.console.render import duration, progress_line, stage_line, wait_line, work_line
from bootsvc.console.reports import Progress, Wait, Worked
from bootsvc.formats.boot_status import Area, Phase
from bootsvc.units import GIB, MIB

READS = ("verify", "verify primary", "verify backup", "verify staging")
COPIES = ("backup", "copy", "restore")


def test_a_stage_is_one_line_that_programs_read() -> None:
    assert stage_line("copy", {}) == "bootsvc: stage=copy"
    assert stage_line("handover", {"area": "primary", "method": "kexec", "trial": 1}) == (
        "bootsvc: stage=handover area=primary method=kexec trial=1"
    )


def test_progress_shows_amount_share_rate_and_time_left() -> None:
    assert progress_line(Progress("copy", 12 * MIB, 64 * MIB, 1.2)) == (
        "bootsvc: copy 12.0 / 64.0 MiB  18%  10.0 MiB/s  5 s left"
    )
    assert progress_line(Progress("copy", 64 * MIB, 64 * MIB, 4.0)) == (
        "bootsvc: copy 64.0 / 64.0 MiB  100%  16.0 MiB/s  0 s left"
    )


@pytest.mark.parametrize(("done", "total", "seconds"), [(0, 64 * MIB, 1.0), (0, 0, 0.0)])
def test_progress_without_a_rate_promises_no_time(done: int, total: int, seconds: float) -> None:
    line = progress_line(Progress("copy", done, total, seconds))
    assert line.endswith("  0%  0.0 MiB/s  waiting")


def test_progress_says_which_phase_of_how_many_it_is() -> None:
    assert progress_line(Progress("backup", 4 * MIB, 64 * MIB, 1.0, 3, 6)) == (
        "bootsvc: backup 4.0 / 64.0 MiB  6%  4.0 MiB/s  15 s left (3/6)"
    )


def test_a_wait_says_for_what_since_when_until_when_and_what_then() -> None:
    assert wait_line(Wait("the disk", 3.2, 6.8, "the console opens")) == (
        "bootsvc: waiting for the disk since 3 s, for 7 s more, then the console opens"
    )
    assert wait_line(Wait("a key", 75.0, None, "")) == (
        "bootsvc: waiting for a key since 1 min 15 s, for ever"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1.0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (298.0, "4 min 58 s"),
        (300.0, "5 min"),
        (3600.0, "1 h 0 min"),
        (11520.0, "3 h 12 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_finished_work_says_what_it_cost() -> None:
    assert work_line(Worked("copy", 6.44, 64 * MIB, 3 * MIB, 61 * MIB)) == (
        "bootsvc: copy done in 6.4 s: read 64.0, written 3.0, skipped 61.0 MiB"
    )
    assert work_line(Worked("verify", 123.44, 2 * GIB, 0, 0)) == (
        "bootsvc: verify done in 123 s: read 2048, written 0.0, skipped 0.0 MiB"
    )


@pytest.mark.parametrize("total", [MIB, 64 * MIB, 999 * MIB, 4 * GIB])
@pytest.mark.parametrize("rate", [MIB, 10 * MIB, 999 * MIB])
def test_lines_of_realistic_work_stay_within_80_columns(total: int, rate: int) -> None:
    lines = [work_line(Worked(work, total / rate, total)) for work in READS]
    lines += [
        work_line(Worked(work, total / rate, total, total // 2, total // 2)) for work in COPIES
    ]
    for work, share in product(READS + COPIES, (0, 1, 50, 100)):
        done = total * share // 100
        lines.append(progress_line(Progress(work, done, total, done / rate, 6, 6)))
    for line in lines:
        assert len(line) <= 80, line
        assert line.isascii()
        assert line.isprintable()


def test_every_stage_line_of_a_start_stays_within_80_columns() -> None:
    for area in Area:
        facts = {"area": area.name.lower(), "method": "switch_root", "number": 10**8, "trial": 1}
        assert len(stage_line("handover", facts)) <= 80
    for phase in Phase:
        assert len(stage_line(phase.name.lower(), {"code": 3, "boot": "primary"})) <= 80
