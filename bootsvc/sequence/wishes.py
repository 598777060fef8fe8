"""What a technician may ask of the record at the console: pure changes, each refused where it does
not fit. What a wish names was read in full in this start.
"""

from __future__ import annotations

from dataclasses import replace

from bootsvc.errors import (
    SequenceError,
)
from bootsvc.formats.boot_status import (
    Area,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
)
from bootsvc.formats.describe import describe_reason
from bootsvc.sequence import last_resorts
from bootsvc.sequence.records import (
    area_record,
    failure_of,
    of,
    restoring,
    with_crash_seen,
)
from bootsvc.sequence.requests import update_requested
from bootsvc.sequence.states import Finding, Observation


def check_restore(status: BootStatus) -> None:
    """Raise SequenceError where primary cannot be given up for the backup now."""
    if status.phase not in (Phase.IDLE, Phase.DEGRADED):
        raise SequenceError(
            f"an update is unfinished (phase {status.phase.name})",
            hint="abandon it, or go on until it is settled",
        )


def restore_asked(seen: Observation) -> BootStatus:
    """RESTORE (2): the backup, read in full in this start, shall replace what primary holds.

    The image in primary is remembered as failed. Not so where only its copy in primary is bad:
    backup holds the same image, primary was found rotten, or it is given up already (DEGRADED).

    Raises:
        SequenceError: an update is unfinished, restoring is switched off, or backup is no use.
    """
    status = of(seen)
    check_restore(status)
    if not seen.policy.restore:
        raise SequenceError(
            "restoring is switched off by a setting",
            hint="for one start: kernel option bootsvc.restore=on",
        )
    blames_image = status.phase is Phase.IDLE and not seen.primary.is_refused
    return _giving_primary_up(seen, blames_image=blames_image)


def check_abandon(status: BootStatus) -> None:
    """Raise SequenceError where there is nothing that could be abandoned."""
    if status.phase in (Phase.TRIAL, Phase.COPY) or status.request is not Request.NONE:
        return
    if status.phase in (Phase.RESTORE, Phase.ROLLBACK, Phase.ROT):
        raise SequenceError(
            f"the machine is going back already (phase {status.phase.name})",
            hint="go on: it finishes by itself",
        )
    if status.phase is Phase.INSTALL:
        raise SequenceError(
            "a first installation has nothing to go back to", hint="install another image"
        )
    raise SequenceError("no update is under way, and nothing was asked for")


def abandoned(seen: Observation) -> BootStatus:
    """What is under way is given up: a request is dropped, a trial or a copy is thrown back.

    TRIAL and COPY -> RESTORE (2), with the backup read in full in this start; an image on trial is
    remembered as failed. BACKUP goes on to its end, but no update follows.

    Raises:
        SequenceError: there is nothing to abandon, or no whole backup to go back to.
    """
    status = of(seen)
    check_abandon(status)
    if status.phase in (Phase.TRIAL, Phase.COPY):
        return _giving_primary_up(seen, blames_image=status.phase is Phase.TRIAL)
    return replace(status, request=Request.NONE)


def _giving_primary_up(seen: Observation, *, blames_image: bool) -> BootStatus:
    """RESTORE (2) for a technician; the record names only a backup that was read in this start."""
    status = of(seen)
    if not seen.backup.is_verified:
        raise SequenceError(
            f"backup holds no whole image to go back to: {_why_refused(seen.backup)}",
            hint="install a good image",
        )
    failure = _asked_for(seen)
    if blames_image and seen.backup.identity != status.primary.identity:
        status = status.with_failed(status.primary.identity)
    return replace(
        restoring(replace(seen, status=status), failure),
        backup=area_record(seen.backup, AreaState.VALID),
    )


def retried(seen: Observation, transaction: bytes) -> BootStatus:
    """What staging holds, read in full in this start, is asked for once more, though it may have
    been refused or have failed before.

    Raises:
        SequenceError: an update is unfinished, or it may not be installed.
    """
    status = of(seen)
    _check_staged(seen)
    if status.phase is Phase.IDLE and seen.staging.identity == status.primary.identity:
        raise SequenceError("staging holds the image that runs already", hint="go on")
    staged = area_record(seen.staging, AreaState.VALID)
    return update_requested(with_crash_seen(seen), staged, transaction, again=True)


def check_without_backup(status: BootStatus) -> None:
    """Raise SequenceError unless an update was refused for want of anything to fall back to."""
    refused = status.last_failure.reason == Reason.NOTHING_TO_FALL_BACK_TO
    if status.phase not in (Phase.IDLE, Phase.DEGRADED) or not refused:
        raise SequenceError(
            "no update was refused for want of an image to fall back to",
            hint="install in the ordinary way, which keeps a backup",
        )


def installation_without_backup_asked(seen: Observation) -> BootStatus:
    """INSTALL (1): what staging holds is installed although nothing whole is behind it. All areas
    were read in full in this start.

    Raises:
        SequenceError: there is something to fall back to, or the staged image is no use.
    """
    status = of(seen)
    check_without_backup(status)
    _check_staged(seen)
    others = (Area.PRIMARY, Area.BACKUP) if status.phase is Phase.IDLE else (Area.BACKUP,)
    return _installation_over(seen, *others)


def installation_over_nothing_asked(seen: Observation) -> BootStatus:
    """INSTALL (1): the machine has halted, in whichever phase, and staging holds a whole image. All
    areas were read in full in this start.

    Raises:
        SequenceError: there is something to start, or the staged image is no use.
    """
    _check_staged(seen)
    return _installation_over(seen, Area.PRIMARY, Area.BACKUP)


def _installation_over(seen: Observation, *given_up: Area) -> BootStatus:
    """The record of an installation that gives up what ``given_up`` hold, which is no use."""
    for area in given_up:
        finding = seen.finding(area)
        if not (finding.is_refused or finding.unbootable):
            raise SequenceError(
                f"{area.name.lower()} holds a whole image to fall back to",
                hint="retry the update in the ordinary way",
            )
    return replace(
        last_resorts.installing_over_rot(seen),
        last_failure=_asked_for(seen),
        failed=tuple(one for one in of(seen).failed if one != seen.staging.identity),
    )


def _check_staged(seen: Observation) -> None:
    if not seen.staging.is_verified:
        raise SequenceError(
            f"staging holds nothing to install: {_why_refused(seen.staging)}",
            hint="install an image from elsewhere",
        )


def _why_refused(finding: Finding) -> str:
    return describe_reason(finding.reason) if finding.is_refused else "it was not read"


def _asked_for(seen: Observation) -> Failure:
    """That a technician asked for it, in the place of a failure: it says why primary went."""
    status = of(seen)
    return failure_of(seen, status.phase, Reason.ASKED_AT_CONSOLE, Area.PRIMARY, status.primary)


def check_startable_once(
    status: BootStatus | None,
    area: Area,
    *,
    is_halted: bool,
    identity: bytes | None = None,
) -> None:
    """Raise SequenceError unless ``area`` may be started once, beside the sequence, if it verifies.

    An image that has not proved itself runs only as a trial, which pays for a try. Where the
    machine has halted nothing better is left, and any image may be started.

    Args:
        status: the record, None where it is lost.
        identity: of the image that was found there; None while nobody has looked.
    """
    if is_halted:
        return
    name = area.name.lower()
    if area is Area.STAGING:
        raise SequenceError(
            "at the console, what staging holds is started only on a machine that has halted",
            hint="install it, or boot a restore point once from the running system",
        )
    if status is None:
        if area is Area.PRIMARY:
            raise SequenceError(
                "the record is lost: nobody knows whether primary ever proved itself",
                hint="go on: the sequence reads both areas and starts it on trial",
            )
        return
    record = status.area(area)
    if record.state is AreaState.WRITING:
        raise SequenceError(f"{name} is being written", hint="go on: the sequence finishes it")
    if area is Area.PRIMARY and record.state is not AreaState.CONFIRMED:
        raise SequenceError(
            "the image in primary has not proved itself, or is given up",
            hint="go on: only the sequence starts it, and pays for a try"
            if status.phase is Phase.TRIAL
            else "start the backup",
        )
    if area is Area.PRIMARY and identity not in (None, record.identity):
        raise SequenceError(
            "primary holds another image than the one that proved itself",
            hint="go on: the sequence decides by what both areas hold",
        )
