"""The records that a hang leads to: the watchdog, or a panic, ended the updater's own work.

A power cut leaves no evidence and uses up nothing. A hang does, once for each event, because work
that hangs whenever it is begun would otherwise be begun for ever.
"""

from __future__ import annotations

from dataclasses import replace

from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
)
from bootsvc.sequence.records import (
    degrading,
    enter_from,
    failure_of,
    of,
    restoring,
    with_crash_seen,
    without_backup,
)
from bootsvc.sequence.states import Observation


def counted(seen: Observation) -> BootStatus:
    """The work hung: it is begun once more."""
    status = with_crash_seen(seen)
    return replace(status, crash_count=status.crash_count + 1, last_failure=_hang(seen))


def request_given_up(seen: Observation) -> BootStatus:
    """What was asked for hung before anything was changed: it is refused. That says nothing of
    the staged image, nor of the one that runs."""
    return replace(
        with_crash_seen(seen), request=Request.NONE, crash_count=0, last_failure=_hang(seen)
    )


def backup_given_up(seen: Observation) -> BootStatus:
    """IDLE (1): no backup can be made; the update is dropped."""
    return without_backup(seen, _hang(seen))


def copy_given_up(seen: Observation) -> BootStatus:
    """RESTORE (2): the staged image cannot be read, or primary not be written."""
    return restoring(seen, _hang(seen))


def restore_given_up(seen: Observation) -> BootStatus:
    """DEGRADED (2): primary is left alone, backup is the working image."""
    return degrading(seen, _hang(seen))


def install_given_up(seen: Observation) -> BootStatus:
    """HALT (1): the first image cannot be installed, and there is no other."""
    return enter_from(
        seen,
        Phase.HALT,
        request=Request.NONE,
        primary=replace(of(seen).primary, state=AreaState.BAD),
        last_failure=_hang(seen),
    )


def _hang(seen: Observation) -> Failure:
    phase, area, image = _what_hung(of(seen))
    return failure_of(seen, phase, seen.crash.reason if seen.crash else Reason.NONE, area, image)


def _what_hung(status: BootStatus) -> tuple[Phase, Area, AreaRecord]:
    """The work that the record stands for, the area it concerns, and the image."""
    if status.phase is Phase.INSTALL:
        return Phase.INSTALL, Area.PRIMARY, status.staging
    if status.phase is Phase.BACKUP:
        return Phase.BACKUP, Area.BACKUP, status.backup
    if status.phase is Phase.COPY:
        return Phase.COPY, Area.PRIMARY, status.primary
    if status.phase in (Phase.RESTORE, Phase.ROLLBACK, Phase.ROT):
        return status.phase, Area.PRIMARY, status.backup
    if status.request is Request.UPDATE:
        return Phase.CHECK, Area.STAGING, status.staging
    return Phase.ROLLBACK, Area.BACKUP, status.backup
