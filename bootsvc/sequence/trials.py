"""The records of a trial: begun, one try fewer, given up (S4.10-S4.13, DESIGN 4)."""

from __future__ import annotations

from dataclasses import replace

from bootsvc.formats.boot_status import (
    Area,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
    StatusCode,
)
from bootsvc.sequence.records import (
    EMPTY,
    area_record,
    enter,
    enter_from,
    failure_of,
    finding_failure,
    in_state,
    of,
    restoring,
    with_crash_seen,
)
from bootsvc.sequence.states import Observation


def on_trial(seen: Observation) -> BootStatus:
    """TRIAL (3): primary was read back in full and starts with all its tries.

    A crash known by now, and the end of an earlier trial of the same image, are not held against
    this one.
    """
    status = of(seen)
    failure = status.last_failure
    if failure.phase is Phase.TRIAL and failure.identity == seen.primary.identity:
        failure = Failure()
    return enter_from(
        seen,
        Phase.TRIAL,
        request=Request.NONE,
        tries_left=seen.policy.tries,
        tries_allowed=seen.policy.tries,
        restore_retries=seen.policy.restore_retries,
        transaction=status.transaction if any(status.transaction) else seen.fresh_id,
        primary=area_record(seen.primary, AreaState.VALID),
        staging=in_state(status.staging, AreaState.VALID),
        last_failure=failure,
        progress=0,
    )


def try_taken(seen: Observation) -> BootStatus:
    """One try fewer, before the start it pays for; before the last one the code becomes 2, so
    that even a machine that hangs for ever comes back to the backup (S4.12)."""
    status = of(seen)
    left = status.tries_left - 1
    falls_back = left == 0 and status.backup.state in (AreaState.VALID, AreaState.CONFIRMED)
    return replace(
        with_crash_seen(seen),
        status_code=StatusCode.BACKUP if falls_back else StatusCode.FIRST_START,
        boot_area=Area.BACKUP if falls_back else Area.PRIMARY,
        tries_left=left,
        last_failure=_trial_failure(seen, if_unknown=status.last_failure),
    )


def giving_up(seen: Observation) -> BootStatus:
    """RESTORE (2): the tries are used up, or the image rotted on trial."""
    failure = _why_given_up(seen)
    return restoring(replace(seen, status=_with_image_failed(seen, failure)), failure)


def halted(seen: Observation) -> BootStatus:
    """HALT (1): a first installation never proved itself, and there is no backup."""
    status = of(seen)
    failure = _why_given_up(seen)
    return enter(
        _with_image_failed(seen, failure),
        Phase.HALT,
        primary=in_state(status.primary, AreaState.BAD),
        staging=EMPTY,
        last_failure=failure,
    )


def _why_given_up(seen: Observation) -> Failure:
    if seen.primary.is_refused:
        return finding_failure(seen, Phase.TRIAL, Area.PRIMARY)
    return _last_words(seen)


def _with_image_failed(seen: Observation, failure: Failure) -> BootStatus:
    """The image on trial is remembered as failed; a disk that fails says nothing of an image."""
    status = with_crash_seen(seen)
    if failure.reason == Reason.IO_ERROR:
        return status
    return status.with_failed(status.primary.identity)


def _trial_failure(seen: Observation, if_unknown: Failure) -> Failure:
    """What is known of how the last try ended."""
    status = of(seen)
    if seen.primary.unbootable:
        reason = seen.primary.unbootable
    elif seen.crash and seen.crash.event != status.crash_event:
        reason = seen.crash.reason
    else:
        return if_unknown
    return failure_of(seen, Phase.TRIAL, reason, Area.PRIMARY, status.primary, seen.primary.errno)


def _last_words(seen: Observation) -> Failure:
    """The reason for giving up: fresh evidence, or what an earlier try left in the record, or
    that the machine simply went down."""
    status = of(seen)
    known = status.last_failure
    if known.phase is not Phase.TRIAL or known.identity != status.primary.identity:
        known = failure_of(seen, Phase.TRIAL, Reason.RESTARTED, Area.PRIMARY, status.primary)
    return _trial_failure(seen, if_unknown=known)
