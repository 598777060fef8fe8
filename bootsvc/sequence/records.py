"""The records that the table writes: each function turns what was seen into the next record.

Where there is a record, a phase is entered by ``enter`` alone, so the rule "a code fits its
phase" has one home; the first record comes from ``reconstruction`` or from a new disk.
Sequence numbers are the store's business.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
    StatusCode,
)
from bootsvc.sequence.states import Finding, Observation

EMPTY = AreaRecord()

# fmt: off
ENTERED = {
    Phase.INSTALL:  (StatusCode.WORKING,     Area.NONE),
    Phase.IDLE:     (StatusCode.WORKING,     Area.PRIMARY),
    Phase.BACKUP:   (StatusCode.WORKING,     Area.PRIMARY),
    Phase.COPY:     (StatusCode.BACKUP,      Area.BACKUP),
    Phase.TRIAL:    (StatusCode.FIRST_START, Area.PRIMARY),
    Phase.RESTORE:  (StatusCode.BACKUP,      Area.BACKUP),
    Phase.ROLLBACK: (StatusCode.BACKUP,      Area.BACKUP),
    Phase.ROT:      (StatusCode.BACKUP,      Area.BACKUP),
    Phase.DEGRADED: (StatusCode.BACKUP,      Area.BACKUP),
    Phase.HALT:     (StatusCode.WORKING,     Area.NONE),
}
# fmt: on
"""The code, and the area that may be booted, with which a phase is entered (DESIGN 4)."""


def enter(status: BootStatus, phase: Phase, **changes: Any) -> BootStatus:
    """``status`` with ``changes``, in ``phase``, with the code and boot area that go with it."""
    code, boot_area = ENTERED[phase]
    return replace(status, status_code=code, phase=phase, boot_area=boot_area, **changes)


def of(seen: Observation) -> BootStatus:
    """The record, where there is one."""
    if seen.status is None:
        raise AssertionError("a row that needs the record was asked without one")
    return seen.status


def area_record(finding: Finding, state: AreaState) -> AreaRecord:
    """What the record says of an area that holds what was found."""
    return AreaRecord(state, finding.size, finding.number, finding.identity)


def _in_state(record: AreaRecord, state: AreaState) -> AreaRecord:
    return replace(record, state=state)


def _failure(
    seen: Observation, phase: Phase, reason: int, area: Area, image: AreaRecord, errno: int = 0
) -> Failure:
    return Failure(phase, reason, area, errno, seen.now_s, image.number, image.identity)


def _finding_failure(seen: Observation, phase: Phase, area: Area) -> Failure:
    """The failure that a refused finding stands for; the image is the one named in its footer,
    or else the one that the record expected there."""
    finding = seen.finding(area)
    image = area_record(finding, AreaState.BAD) if any(finding.identity) else of(seen).area(area)
    return _failure(seen, phase, finding.reason, area, image, finding.errno)


# --- CHECK and what may come of it ---------------------------------------------------------------


def refused(seen: Observation, phase: Phase, area: Area) -> BootStatus:
    """REFUSED: the request is answered with a reason; code and areas stay as they are."""
    status = of(seen)
    failure = _finding_failure(seen, phase, area)
    if area is not Area.STAGING:
        return replace(status, request=Request.NONE, last_failure=failure)
    staging = area_record(seen.staging, AreaState.BAD)
    return replace(status, request=Request.NONE, staging=staging, last_failure=failure)


def same_image(seen: Observation) -> BootStatus:
    """The request asks for what runs already."""
    status = of(seen)
    failure = _failure(seen, Phase.CHECK, Reason.SAME_IMAGE, Area.PRIMARY, status.primary)
    staging = EMPTY if status.request is Request.UPDATE else status.staging
    return replace(status, request=Request.NONE, staging=staging, last_failure=failure)


def no_way_back(seen: Observation) -> BootStatus:
    """An update without a verified image to fall back to is refused; the staged image stays."""
    status = of(seen)
    area = Area.PRIMARY if seen.primary.is_refused else Area.BACKUP
    failure = _failure(seen, Phase.CHECK, Reason.NOTHING_TO_FALL_BACK_TO, area, status.area(area))
    return replace(status, request=Request.NONE, last_failure=failure)


def request_done(seen: Observation) -> BootStatus:
    """The request was carried out, or does not apply."""
    return replace(of(seen), request=Request.NONE)


# --- BACKUP --------------------------------------------------------------------------------------


def backing_up(seen: Observation) -> BootStatus:
    """BACKUP (1): primary was read in full; backup is about to be overwritten."""
    return enter(
        of(seen),
        Phase.BACKUP,
        backup=area_record(seen.primary, AreaState.WRITING),
        progress=0,
    )


def backed_up(seen: Observation) -> BootStatus:
    """IDLE (1): the backup is whole, and nothing else was asked for."""
    return enter(
        of(seen),
        Phase.IDLE,
        backup=area_record(seen.primary, AreaState.VALID),
        progress=0,
    )


def refused_after_backup(seen: Observation) -> BootStatus:
    """The backup is whole, but the staged image turned out to be no use."""
    return refused(replace(seen, status=backed_up(seen)), Phase.CHECK, Area.STAGING)


def backup_lost(seen: Observation) -> BootStatus:
    """Primary changed after the backup was begun: neither is whole; the request is dropped."""
    failure = _finding_failure(seen, Phase.BACKUP, Area.PRIMARY)
    return _without_backup(seen, failure)


def backup_failed(seen: Observation) -> BootStatus:
    """The disk failed while the backup was written or read back."""
    status = of(seen)
    failed = seen.copy_failure
    area = failed.area if failed else Area.BACKUP
    errno = failed.errno if failed else 0
    failure = _failure(seen, Phase.BACKUP, copy_reason(seen), area, status.backup, errno)
    return _without_backup(seen, failure)


def _without_backup(seen: Observation, failure: Failure) -> BootStatus:
    status = of(seen)
    return enter(
        status,
        Phase.IDLE,
        request=Request.NONE,
        backup=_in_state(status.backup, AreaState.BAD),
        last_failure=failure,
    )


# --- COPY ----------------------------------------------------------------------------------------


def copying(seen: Observation) -> BootStatus:
    """COPY (2): the backup was read in full; primary is about to be overwritten."""
    return enter(
        of(seen),
        Phase.COPY,
        request=Request.NONE,
        primary=area_record(seen.staging, AreaState.WRITING),
        backup=area_record(seen.backup, AreaState.VALID),
        staging=area_record(seen.staging, AreaState.VALID),
        progress=0,
    )


def copying_past_changed_primary(seen: Observation) -> BootStatus:
    """COPY (2) without BACKUP: primary is no use, so the old backup stays what it is."""
    status = of(seen)
    failure = status.last_failure
    if status.phase is Phase.IDLE:
        failure = _failure(
            seen, Phase.CHECK, Reason.PRIMARY_CHANGED, Area.PRIMARY, status.primary,
            seen.primary.errno,
        )  # fmt: skip
    return replace(copying(seen), last_failure=failure)


def staged_image_lost(seen: Observation) -> BootStatus:
    """RESTORE (2): the staged image no longer verifies, primary may be half written."""
    failure = _finding_failure(seen, Phase.COPY, Area.STAGING)
    staging = _in_state(of(seen).staging, AreaState.BAD)
    return replace(_restoring(seen, failure), staging=staging)


def copy_failed(seen: Observation) -> BootStatus:
    """RESTORE (2): primary could not be written, or twice read back differently."""
    failed = seen.copy_failure
    reason = copy_reason(seen)
    phase = Phase.VERIFY if reason is Reason.READ_BACK else Phase.COPY
    area = failed.area if failed else Area.PRIMARY
    failure = _failure(seen, phase, reason, area, of(seen).primary, failed.errno if failed else 0)
    return _restoring(seen, failure)


def copy_reason(seen: Observation) -> Reason:
    """Why the last copy failed."""
    return seen.copy_failure.reason if seen.copy_failure else Reason.NONE


def installing(seen: Observation) -> BootStatus:
    """INSTALL (1): no area holds a whole image; the staged one is the only hope."""
    status = of(seen)
    return enter(
        status,
        Phase.INSTALL,
        request=Request.NONE,
        primary=_in_state(status.primary, AreaState.WRITING),
        backup=EMPTY,
        staging=_in_state(status.staging, AreaState.VALID),
    )


# --- TRIAL ---------------------------------------------------------------------------------------


def on_trial(seen: Observation) -> BootStatus:
    """TRIAL (3): primary was read back in full and starts with all its tries.

    A crash known by now, and the end of an earlier trial of the same image, are not held against
    this one.
    """
    status = _with_crash_seen(seen)
    failure = status.last_failure
    if failure.phase is Phase.TRIAL and failure.identity == seen.primary.identity:
        failure = Failure()
    return enter(
        status,
        Phase.TRIAL,
        request=Request.NONE,
        tries_left=seen.policy.tries,
        tries_allowed=seen.policy.tries,
        restore_retries=seen.policy.restore_retries,
        transaction=status.transaction if any(status.transaction) else seen.fresh_id,
        primary=area_record(seen.primary, AreaState.VALID),
        staging=_in_state(status.staging, AreaState.VALID),
        crash_count=0,
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
        _with_crash_seen(seen),
        status_code=StatusCode.BACKUP if falls_back else StatusCode.FIRST_START,
        boot_area=Area.BACKUP if falls_back else Area.PRIMARY,
        tries_left=left,
        last_failure=_trial_failure(seen, if_unknown=status.last_failure),
    )


def giving_up(seen: Observation) -> BootStatus:
    """RESTORE (2): the tries are used up, or the image rotted on trial."""
    failure = _why_given_up(seen)
    return _restoring(replace(seen, status=_with_image_failed(seen, failure)), failure)


def halted(seen: Observation) -> BootStatus:
    """HALT (1): a first installation never proved itself, and there is no backup."""
    status = of(seen)
    failure = _why_given_up(seen)
    return enter(
        _with_image_failed(seen, failure),
        Phase.HALT,
        primary=_in_state(status.primary, AreaState.BAD),
        staging=EMPTY,
        last_failure=failure,
    )


def _why_given_up(seen: Observation) -> Failure:
    if seen.primary.is_refused:
        return _finding_failure(seen, Phase.TRIAL, Area.PRIMARY)
    return _last_words(seen)


def _with_image_failed(seen: Observation, failure: Failure) -> BootStatus:
    """The image on trial is remembered as failed; a disk that fails says nothing of an image."""
    status = _with_crash_seen(seen)
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
    return _failure(seen, Phase.TRIAL, reason, Area.PRIMARY, status.primary, seen.primary.errno)


def _last_words(seen: Observation) -> Failure:
    """The reason for giving up: fresh evidence, or what an earlier try left in the record, or
    that the machine simply went down."""
    status = of(seen)
    known = status.last_failure
    if known.phase is not Phase.TRIAL or known.identity != status.primary.identity:
        known = _failure(seen, Phase.TRIAL, Reason.RESTARTED, Area.PRIMARY, status.primary)
    return _trial_failure(seen, if_unknown=known)


# --- RESTORE, ROLLBACK, ROT, DEGRADED -------------------------------------------------------------


def _restoring(seen: Observation, failure: Failure) -> BootStatus:
    status = of(seen)
    return enter(
        status,
        Phase.RESTORE,
        request=Request.NONE,
        tries_left=0,
        primary=_in_state(status.primary, AreaState.BAD),
        staging=EMPTY,
        restore_retries=seen.policy.restore_retries,
        last_failure=failure,
        progress=0,
    )


def restored(seen: Observation) -> BootStatus:
    """IDLE (1): primary holds what backup holds, read back in full."""
    status = of(seen)
    return enter(
        status,
        Phase.IDLE,
        primary=area_record(seen.primary, AreaState.CONFIRMED),
        backup=area_record(seen.backup, AreaState.VALID),
        tries_left=0,
        crash_count=0,
        progress=0,
    )


def repaired(seen: Observation) -> BootStatus:
    """IDLE (1): the rotten primary was written anew from the same image in staging."""
    status = of(seen)
    return enter(
        status,
        Phase.IDLE,
        primary=area_record(seen.primary, AreaState.CONFIRMED),
        staging=EMPTY if status.request is Request.NONE else status.staging,
        progress=0,
    )


def restore_retried(seen: Observation) -> BootStatus:
    """A restore failed by I/O or digest: one retry fewer. Power cuts use up none."""
    status = of(seen)
    left = status.restore_retries - 1
    return replace(status, restore_retries=left, last_failure=_restore_failure(seen))


def _restore_failure(seen: Observation) -> Failure:
    status = of(seen)
    failed = seen.copy_failure
    area, errno = (failed.area, failed.errno) if failed else (Area.PRIMARY, 0)
    return _failure(seen, status.phase, copy_reason(seen), area, status.backup, errno)


def degraded(seen: Observation) -> BootStatus:
    """DEGRADED (2): backup is the working image until a new update."""
    status = of(seen)
    failure = status.last_failure
    if seen.copy_failure:
        failure = _restore_failure(seen)
    return enter(
        status,
        Phase.DEGRADED,
        primary=_in_state(status.primary, AreaState.BAD),
        tries_left=0,
        last_failure=failure,
    )


def rolling_back(seen: Observation) -> BootStatus:
    """ROLLBACK (2): the backup was read in full; primary's image is not marked as failed."""
    status = of(seen)
    return enter(
        status,
        Phase.ROLLBACK,
        request=Request.NONE,
        primary=_in_state(status.primary, AreaState.WRITING),
        backup=area_record(seen.backup, AreaState.VALID),
        restore_retries=seen.policy.restore_retries,
        progress=0,
    )


def rollback_refused(seen: Observation) -> BootStatus:
    """IDLE (1): the backup is lost after all, and primary is still whole."""
    status = of(seen)
    return enter(
        status,
        Phase.IDLE,
        primary=area_record(seen.primary, AreaState.CONFIRMED),
        backup=_in_state(status.backup, AreaState.BAD),
        last_failure=_finding_failure(seen, Phase.ROLLBACK, Area.BACKUP),
    )


def rot(seen: Observation) -> BootStatus:
    """ROT (2): primary does not verify at rest; the version itself did not fail."""
    status = of(seen)
    reason = seen.primary.unbootable or seen.primary.reason
    return enter(
        status,
        Phase.ROT,
        primary=_in_state(status.primary, AreaState.BAD),
        backup=area_record(seen.backup, AreaState.VALID),
        restore_retries=seen.policy.restore_retries,
        last_failure=_failure(
            seen, Phase.ROT, reason, Area.PRIMARY, status.primary, seen.primary.errno
        ),
    )


def crash_counted(seen: Observation) -> BootStatus:
    """A confirmed image ended badly: counted once per event."""
    status = _with_crash_seen(seen)
    reason = seen.crash.reason if seen.crash else Reason.NONE
    return replace(
        status,
        crash_count=min(255, status.crash_count + 1),
        last_failure=_failure(seen, Phase.IDLE, reason, Area.PRIMARY, status.primary),
    )


def crashed(seen: Observation) -> BootStatus:
    """DEGRADED (2): a confirmed image crashed too often; the whole backup takes over."""
    status = of(seen)
    failure = _failure(seen, Phase.IDLE, Reason.CRASHES, Area.PRIMARY, status.primary)
    return enter(
        status,
        Phase.DEGRADED,
        primary=_in_state(status.primary, AreaState.BAD),
        backup=area_record(seen.backup, AreaState.VALID),
        last_failure=failure,
    )


def _with_crash_seen(seen: Observation) -> BootStatus:
    status = of(seen)
    return replace(status, crash_event=seen.crash.event) if seen.crash else status
