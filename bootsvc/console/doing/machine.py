"""The machine itself: going on, restarting it, switching it off."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bootsvc.console.actions import Outcome, Then

if TYPE_CHECKING:
    from bootsvc.console.perform import Session


def go_on(_: Session, __: Mapping[str, str]) -> Outcome:
    """Leave the console; the sequence decides."""
    return Outcome(is_done=True, lines=("Going on.",), then=Then.GO_ON)


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
