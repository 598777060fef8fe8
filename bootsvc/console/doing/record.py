"""What changes the record: each wish is ``sequence.by_hand``'s, and the sequence carries it out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bootsvc.console.actions import Outcome, Then
from bootsvc.formats.describe import next_start
from bootsvc.sequence import by_hand
from bootsvc.sequence.requests import SETTLED, is_unfinished

if TYPE_CHECKING:
    from bootsvc.console.perform import Session


def restore(session: Session, _: Mapping[str, str]) -> Outcome:
    """Give primary up for the backup."""
    with session.breakable():
        by_hand.restore(session.used_runner)
    return _goes_on(session)


def roll_back(session: Session, _: Mapping[str, str]) -> Outcome:
    """Go back to the image in backup, which does not count as a failure."""
    with session.breakable():
        by_hand.roll_back(session.used_runner)
    return _goes_on(session)


def abandon(session: Session, _: Mapping[str, str]) -> Outcome:
    """Give up what is under way, or what was asked for."""
    with session.breakable():
        by_hand.abandon(session.used_runner)
    return _goes_on(session)


def retry(session: Session, _: Mapping[str, str]) -> Outcome:
    """Resume what is under way, or have the staged image checked and installed once more."""
    runner = session.used_runner
    status = runner.status
    if status is not None and is_unfinished(status):
        return Outcome(is_done=True, lines=("It is resumed.",), then=Then.GO_ON)
    with session.breakable():
        by_hand.retry(runner, os.urandom(16))
    return _goes_on(session)


def install_without_backup(session: Session, _: Mapping[str, str]) -> Outcome:
    """Install what staging holds, with nothing to fall back to."""
    with session.breakable():
        by_hand.install_without_backup(session.used_runner)
    return _goes_on(session)


def _goes_on(session: Session) -> Outcome:
    """The record is written; where the phase is settled, it says what was asked for."""
    status = session.used_runner.status
    if status is None:
        return Outcome(is_done=True, then=Then.GO_ON)
    begun = "Asked for" if status.phase in SETTLED else "Begun"
    return Outcome(is_done=True, lines=(f"{begun}. Next: {next_start(status)}.",), then=Then.GO_ON)
