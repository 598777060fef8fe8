"""What the running OS may ask of the record: pure changes, each refused where it does not fit
(DESIGN 4).

Only the right OS confirms: the updater hands over area, identity and transaction, and all three
must fit the record as it is now.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bootsvc.errors import ConfirmRefusedError, FailedBeforeError, SequenceError
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
    enter,
)

SETTLED = (Phase.IDLE, Phase.DEGRADED, Phase.HALT)
"""The phases in which a new request may be made (S4.16)."""


@dataclass(frozen=True)
class Started:
    """What the updater handed to the OS that runs now."""

    area: Area
    identity: bytes
    transaction: bytes


def confirmed(status: BootStatus, started: Started, floor: int) -> BootStatus:
    """CONFIRM: the new image proved itself; only here the version floor rises.

    Args:
        floor: the signed floor of the image on trial.

    Returns:
        The next record, or ``status`` itself where there is nothing to confirm any more.

    Raises:
        ConfirmRefusedError: the running OS is not the image on trial.
    """
    if started.area is not Area.PRIMARY or started.identity != status.primary.identity:
        raise ConfirmRefusedError(
            f"this system runs image {started.identity.hex()[:12]} from "
            f"{started.area.name.lower()}; the record has {status.primary.identity.hex()[:12]} "
            "in primary",
            hint="only the image on trial can confirm itself; see: bootsvc status",
        )
    if status.phase is Phase.IDLE and status.primary.state is AreaState.CONFIRMED:
        return replace(status, crash_count=0) if status.crash_count else status
    if status.phase is not Phase.TRIAL or started.transaction != status.transaction:
        raise ConfirmRefusedError(
            f"nothing of this start is on trial (phase {status.phase.name})",
            hint="see: bootsvc status",
        )
    return enter(
        status,
        Phase.IDLE,
        request=Request.NONE,
        tries_left=0,
        version_floor=max(status.version_floor, floor),
        primary=replace(status.primary, state=AreaState.CONFIRMED),
        staging=AreaRecord(),
    )


def rejected(status: BootStatus, started: Started, reason: Reason, now_s: int) -> BootStatus:
    """The running OS on trial says why this try failed; the tries stay as they are.

    Raises:
        ConfirmRefusedError: the running OS is not the image on trial.
    """
    fits = (
        status.phase is Phase.TRIAL
        and started.area is Area.PRIMARY
        and started.identity == status.primary.identity
        and started.transaction == status.transaction
    )
    if not fits:
        raise ConfirmRefusedError("this system is not on trial", hint="see: bootsvc status")
    failure = Failure(
        Phase.TRIAL, reason, Area.PRIMARY, 0, now_s, status.primary.number, started.identity
    )
    return replace(status, last_failure=failure)


def is_unfinished(status: BootStatus) -> bool:
    """An update, or the way back from one, is under way. A first installation that was refused is
    none: it waits for another image."""
    unfilled = status.staging.state in (AreaState.BAD, AreaState.WRITING)
    never_installed = status.phase is Phase.INSTALL and unfilled
    return status.phase not in SETTLED and not never_installed


def check_stageable(status: BootStatus) -> None:
    """Raise SequenceError in an unfinished phase: an unproven image must not replace the only
    good backup (S4.16)."""
    if is_unfinished(status):
        raise SequenceError(
            f"an update is unfinished (phase {status.phase.name})",
            hint="confirm it (bootsvc confirm) or restart until it is settled",
        )


def staging_begun(status: BootStatus) -> BootStatus:
    """Staging is about to be overwritten: nothing may rely on it from now on."""
    check_stageable(status)
    return replace(status, request=Request.NONE, staging=AreaRecord(AreaState.WRITING), progress=0)


def update_requested(
    status: BootStatus, staged: AreaRecord, transaction: bytes, *, again: bool = False
) -> BootStatus:
    """The staged image is whole; the next start shall install it.

    Args:
        again: install it although it failed here before.

    Raises:
        FailedBeforeError: it failed here before and ``again`` is not set.
        SequenceError: an update is unfinished.
    """
    check_stageable(status)
    check_not_failed(status, staged.identity, again=again)
    return replace(
        status,
        request=Request.UPDATE,
        transaction=transaction,
        crash_count=0,  # from now on, hangs of what is asked for
        staging=replace(staged, state=AreaState.VALID),
        failed=tuple(one for one in status.failed if one != staged.identity),
    )


def kept_in_staging(status: BootStatus, staged: AreaRecord) -> BootStatus:
    """The staged image is whole and stays there; nothing is asked of the next start."""
    check_stageable(status)
    return replace(status, staging=replace(staged, state=AreaState.VALID))


def check_not_failed(status: BootStatus, identity: bytes, *, again: bool) -> None:
    """Raise FailedBeforeError where this image failed here and nobody asked for it again."""
    if identity in status.failed and not again:
        raise FailedBeforeError(
            f"image {identity.hex()[:12]} failed on this machine before",
            hint="stage a newer version, or this one with --again",
        )


def rollback_requested(status: BootStatus) -> BootStatus:
    """The next start shall go back to the image in backup.

    Raises:
        SequenceError: an update is unfinished, or there is nothing to go back to.
    """
    check_stageable(status)
    if status.phase is not Phase.IDLE:
        raise SequenceError(
            "the machine runs from backup already", hint="stage a good image: bootsvc stage IMAGE"
        )
    if status.backup.state not in (AreaState.VALID, AreaState.CONFIRMED):
        raise SequenceError("backup holds no whole image", hint="see: bootsvc verify")
    if status.backup.identity == status.primary.identity:
        raise SequenceError("backup holds the same image as primary", hint="see: bootsvc status")
    return replace(status, request=Request.ROLLBACK, crash_count=0)


def check_staging_startable(status: BootStatus, identity: bytes) -> None:
    """Raise unless an image may be started once from staging, as far as the record tells.

    Args:
        identity: of an image that has proved itself here before, such as a restore point.

    Raises:
        SequenceError: nothing good in primary is there to come back to, or it is this very image.
        FailedBeforeError: it failed here.
    """
    check_stageable(status)
    if status.phase is not Phase.IDLE:
        raise SequenceError(
            "primary holds no good image that the start after it would come back to",
            hint="install it: bootsvc restore-point restore VERSION",
        )
    if identity == status.primary.identity:
        raise SequenceError("it is the image in primary already", hint="to start that: reboot")
    check_not_failed(status, identity, again=False)


def staging_requested_once(status: BootStatus) -> BootStatus:
    """The next start shall start what staging holds, and the one after it primary again.

    Raises:
        SequenceError: staging holds no whole image.
        SequenceError, FailedBeforeError: see ``check_staging_startable``.
    """
    if status.staging.state is not AreaState.VALID:
        raise SequenceError("staging holds no whole image", hint="see: bootsvc status")
    check_staging_startable(status, status.staging.identity)
    return replace(status, request=Request.BOOT_STAGING_ONCE, crash_count=0)


def check_staging_not_running(started: Started | None) -> None:
    """Raise SequenceError where the running OS was started from staging, which must not be
    overwritten below it."""
    if started is not None and started.area is Area.STAGING:
        raise SequenceError(
            "this system runs from staging, which would be overwritten",
            hint="restart: the machine comes back with what is installed",
        )
