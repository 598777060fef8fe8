"""What a technician has done by hand: what must be read is read, then the record is written.

The record alone decides what happens next; there is no other way around the table. Each function
raises SequenceError, and writes nothing, where it does not fit; StorageError where the disk fails.
"""

from __future__ import annotations

from bootsvc.errors import SequenceError
from bootsvc.formats.boot_status import Area, BootStatus, Phase
from bootsvc.sequence import requests, wishes
from bootsvc.sequence.records import of
from bootsvc.sequence.runner import Runner


def restore(runner: Runner) -> None:
    """Give primary up for the backup, which is read first."""
    wishes.check_restore(_record(runner))
    runner.check(Area.BACKUP)
    runner.ask(wishes.restore_asked)


def roll_back(runner: Runner) -> None:
    """Go back to the image in backup, which is read first."""
    requests.rollback_requested(_record(runner))
    if not runner.check(Area.BACKUP).is_verified:
        raise SequenceError("backup holds no whole image to go back to", hint="verify it")
    runner.ask(lambda seen: requests.rollback_requested(of(seen)))


def abandon(runner: Runner) -> None:
    """Give up what is under way; a backup that is to be restored is read first."""
    status = _record(runner)
    wishes.check_abandon(status)
    if status.phase in (Phase.TRIAL, Phase.COPY):
        runner.check(Area.BACKUP)
    runner.ask(wishes.abandoned)


def retry(runner: Runner, transaction: bytes) -> None:
    """Ask once more for what staging holds, which is read first.

    Args:
        transaction: 16 bytes that name this update and no other.
    """
    requests.check_stageable(_record(runner))
    runner.check(Area.STAGING, again=True)
    runner.ask(lambda seen: wishes.retried(seen, transaction))


def install_without_backup(runner: Runner) -> None:
    """Install what staging holds with nothing to fall back to; all areas are read first."""
    wishes.check_without_backup(_record(runner))
    for area in (Area.STAGING, Area.PRIMARY, Area.BACKUP):
        runner.check(area)
    runner.ask(wishes.installation_without_backup_asked)


def install_over_nothing(runner: Runner) -> None:
    """Install what staging holds on a machine that has halted, even if that failed here before; all
    areas are read first."""
    runner.check(Area.STAGING, again=True)
    for area in (Area.PRIMARY, Area.BACKUP):
        runner.check(area)
    runner.ask(wishes.installation_over_nothing_asked)


def _record(runner: Runner) -> BootStatus:
    runner.check_askable()
    return of(runner.seen)
