"""The machine itself: its clock, its watchdog, a shell, restarting it, switching it off."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from bootsvc.console.actions import Outcome, Then
from bootsvc.errors import SequenceError
from bootsvc.formats.boot_status import Area

if TYPE_CHECKING:
    from bootsvc.console.perform import Session

WATCHDOG_TEST_S = 10
WATCHDOG_PATIENCE_S = 20.0
"""Drivers round up, and some let their time pass twice; so long it is waited beyond the time."""

_STEP_S = 0.2
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?Z?", re.ASCII)
_EPOCH_YEAR = 1970


def go_on(session: Session, _: Mapping[str, str]) -> Outcome:
    """Leave the console; the sequence decides. A machine that had halted looks at everything once
    more: its disk may have come back."""
    if session.problem and session.runner is not None:
        session.runner.look_afresh(Area.PRIMARY, Area.BACKUP, Area.STAGING)
    return Outcome(is_done=True, lines=("Going on.",), then=Then.GO_ON)


def shell(_: Session, __: Mapping[str, str]) -> Outcome:
    """Whoever called opens it."""
    return Outcome(is_done=True, lines=("Leave the shell with: exit",), then=Then.SHELL)


def reboot(session: Session, _: Mapping[str, str]) -> Outcome:
    """Everything reaches the disks; whoever called restarts the machine."""
    return Outcome(is_done=True, lines=_put_to_rest(session, "Restarting."), then=Then.REBOOT)


def power_off(session: Session, _: Mapping[str, str]) -> Outcome:
    """Everything reaches the disks; whoever called switches the machine off."""
    return Outcome(is_done=True, lines=_put_to_rest(session, "Switching off."), then=Then.POWER_OFF)


def _put_to_rest(session: Session, line: str) -> tuple[str, ...]:
    os.sync()
    problem = session.watchdog.stop()
    return (problem, line) if problem else (line,)


# --- the clock ----------------------------------------------------------------------------------


def set_date(session: Session, answers: Mapping[str, str]) -> Outcome:
    """Set the kernel's clock, which lasts for this start."""
    seconds = seconds_of(answers["date"])
    try:
        time.clock_settime(time.CLOCK_REALTIME, seconds)
    except OSError as exc:
        raise SequenceError(f"the clock cannot be set: {exc.strerror}") from exc
    if session.runner is not None:
        session.runner.seen = replace(session.runner.seen, now_s=seconds)
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    line = f"The clock shows {shown} UTC, in this start. The machine's own clock was left alone."
    return Outcome(is_done=True, lines=(line,), facts=(("clock_s", seconds),))


def seconds_of(text: str) -> int:
    """Seconds since 1970 at a date and time in UTC, such as ``2026-11-22T06:30``. Pure.

    Raises:
        SequenceError: it is none, or one before 1970.
    """
    found = _DATE.fullmatch(text)
    numbers = [int(part or 0) for part in found.groups()] if found else [0] * 6
    year, month, day, hour, minute, second = numbers
    days = _days_before(year, month) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    if not found or seconds < 0 or list(time.gmtime(seconds)[:6]) != numbers:
        raise SequenceError(
            f"{text!r} is no date and time", hint="write them in UTC, as 2026-11-22T06:30"
        )
    return seconds


def _days_before(year: int, month: int) -> int:
    """Days from 1970 to the first of a month of the Gregorian calendar."""
    lengths = (31, 28 + _is_leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    years = year - _EPOCH_YEAR
    leaps = sum(_is_leap(one) for one in range(_EPOCH_YEAR, year))
    return years * 365 + leaps + sum(lengths[: max(month - 1, 0)])


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


# --- the watchdog -------------------------------------------------------------------------------


def prove_watchdog(session: Session, _: Mapping[str, str]) -> Outcome:
    """Start the watchdog and feed it no more. Returns only where it does not restart the machine,
    or was broken off."""
    watchdog, reporter = session.watchdog, session.reporter
    os.sync()
    said = watchdog.starve(WATCHDOG_TEST_S)
    if not watchdog.is_running:
        return Outcome(is_done=False, lines=(said,))
    limit_s = WATCHDOG_TEST_S + WATCHDOG_PATIENCE_S
    try:
        with session.breakable():
            reporter.say(said)
            looked = reporter.wait("the watchdog to restart this machine", limit_s, "it has failed")
            deadline = time.monotonic() + limit_s
            while time.monotonic() < deadline:
                looked()
                time.sleep(_STEP_S)
    finally:
        watchdog.stop()
        watchdog.guard_work(session.settings.work_watchdog_s)
    line = (
        f"The machine still runs {limit_s:.0f} s after its watchdog was fed last: "
        "it guards nothing here."
    )
    return Outcome(is_done=False, lines=(line,))
