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


def with_crash_seen(seen: Observation) -> BootStatus:
    """The record with the crash known by now as the last one counted."""
    status = of(seen)
    return replace(status, crash_event=seen.crash.event) if seen.crash else status


def enter(status: BootStatus, phase: Phase, **changes: Any) -> BootStatus:
    """``status`` with ``changes``, in ``phase``, with the code and boot area that go with it; the
    crashes of another phase are not held against this one."""
    code, boot_area = ENTERED[phase]
    return replace(
        status, status_code=code, phase=phase, boot_area=boot_area, crash_count=0, **changes
    )


def enter_from(seen: Observation, phase: Phase, **changes: Any) -> BootStatus:
    """``enter`` from the record as it is. A crash known by now belongs to the time before: found
    in ``phase``, it would count as a hang of that."""
    return enter(with_crash_seen(seen), phase, **changes)


def of(seen: Observation) -> BootStatus:
    """The record, where there is one."""
    if seen.status is None:
        raise AssertionError("a row that needs the record was asked without one")
    return seen.status


def area_record(finding: Finding, state: AreaState) -> AreaRecord:
    """What the record says of an area that holds what was found."""
    return AreaRecord(state, finding.size, finding.number, finding.identity)


def in_state(record: AreaRecord, state: AreaState) -> AreaRecord:
    """The same image in another state."""
    return replace(record, state=state)


def failure_of(
    seen: Observation, phase: Phase, reason: int, area: Area, image: AreaRecord, errno: int = 0
) -> Failure:
    """A failure of now: ``area`` is where it showed, ``image`` what it concerns."""
    return Failure(phase, reason, area, errno, seen.now_s, image.number, image.identity)


def finding_failure(seen: Observation, phase: Phase, area: Area) -> Failure:
    """The failure that a refused finding stands for; the image is the one named in its footer,
    or else the one that the record expected there."""
    finding = seen.finding(area)
    image = area_record(finding, AreaState.BAD) if any(finding.identity) else of(seen).area(area)
    return failure_of(seen, phase, finding.reason, area, image, finding.errno)


# --- CHECK and what may come of it ---------------------------------------------------------------


def refused(seen: Observation, phase: Phase, area: Area) -> BootStatus:
    """REFUSED: the request is answered with a reason; code and areas stay as they are."""
    status = of(seen)
    failure = finding_failure(seen, phase, area)
    if area is not Area.STAGING:
        return replace(status, request=Request.NONE, last_failure=failure)
    staging = area_record(seen.staging, AreaState.BAD)
    return replace(status, request=Request.NONE, staging=staging, last_failure=failure)


def same_image(seen: Observation) -> BootStatus:
    """The request asks for what runs already."""
    status = of(seen)
    failure = failure_of(seen, Phase.CHECK, Reason.SAME_IMAGE, Area.PRIMARY, status.primary)
    staging = EMPTY if status.request is Request.UPDATE else status.staging
    return replace(status, request=Request.NONE, staging=staging, last_failure=failure)


def no_way_back(seen: Observation) -> BootStatus:
    """An update without a verified image to fall back to is refused; the staged image stays."""
    status = of(seen)
    area = Area.PRIMARY if seen.primary.is_refused else Area.BACKUP
    failure = failure_of(
        seen, Phase.CHECK, Reason.NOTHING_TO_FALL_BACK_TO, area, status.area(area),
        seen.finding(area).errno,
    )  # fmt: skip
    return replace(status, request=Request.NONE, last_failure=failure)


def request_done(seen: Observation) -> BootStatus:
    """The request was carried out, or does not apply."""
    return replace(of(seen), request=Request.NONE)


# --- BACKUP --------------------------------------------------------------------------------------


def backing_up(seen: Observation) -> BootStatus:
    """BACKUP (1): primary was read in full; backup is about to be overwritten."""
    return enter_from(
        seen,
        Phase.BACKUP,
        backup=area_record(seen.primary, AreaState.WRITING),
        progress=0,
    )


def backed_up(seen: Observation) -> BootStatus:
    """IDLE (1): the backup is whole, and nothing else was asked for."""
    return enter_from(
        seen,
        Phase.IDLE,
        backup=area_record(seen.primary, AreaState.VALID),
        progress=0,
    )


def refused_after_backup(seen: Observation) -> BootStatus:
    """The backup is whole, but the staged image turned out to be no use."""
    return refused(replace(seen, status=backed_up(seen)), Phase.CHECK, Area.STAGING)


def backup_lost(seen: Observation) -> BootStatus:
    """Primary changed after the backup was begun: neither is whole; the request is dropped."""
    failure = finding_failure(seen, Phase.BACKUP, Area.PRIMARY)
    return without_backup(seen, failure)


def primary_not_backed_up(seen: Observation) -> Failure:
    """Why the backup that is still lacking cannot be made of primary."""
    return finding_failure(seen, Phase.BACKUP, Area.PRIMARY)


def backup_failed(seen: Observation) -> BootStatus:
    """The disk failed while the backup was written or read back."""
    status = of(seen)
    failed = seen.copy_failure
    area = failed.area if failed else Area.BACKUP
    errno = failed.errno if failed else 0
    failure = failure_of(seen, Phase.BACKUP, copy_reason(seen), area, status.backup, errno)
    return without_backup(seen, failure)


def without_backup(seen: Observation, failure: Failure) -> BootStatus:
    """IDLE (1): the backup is only half written; what was asked for is dropped."""
    status = of(seen)
    return enter_from(
        seen,
        Phase.IDLE,
        request=Request.NONE,
        backup=in_state(status.backup, AreaState.BAD),
        last_failure=failure,
    )


# --- COPY ----------------------------------------------------------------------------------------


def copying(seen: Observation) -> BootStatus:
    """COPY (2): the backup was read in full; primary is about to be overwritten."""
    return enter_from(
        seen,
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
        failure = failure_of(
            seen, Phase.CHECK, Reason.PRIMARY_CHANGED, Area.PRIMARY, status.primary,
            seen.primary.errno,
        )  # fmt: skip
    return replace(copying(seen), last_failure=failure)


def staged_image_lost(seen: Observation) -> BootStatus:
    """RESTORE (2): the staged image no longer verifies, primary may be half written."""
    failure = finding_failure(seen, Phase.COPY, Area.STAGING)
    staging = in_state(of(seen).staging, AreaState.BAD)
    return replace(restoring(seen, failure), staging=staging)


def copy_failed(seen: Observation) -> BootStatus:
    """RESTORE (2): primary could not be written, or twice read back differently."""
    failed = seen.copy_failure
    reason = copy_reason(seen)
    phase = Phase.VERIFY if reason is Reason.READ_BACK else Phase.COPY
    area = failed.area if failed else Area.PRIMARY
    failure = failure_of(seen, phase, reason, area, of(seen).primary, failed.errno if failed else 0)
    return restoring(seen, failure)


def copy_reason(seen: Observation) -> Reason:
    """Why the last copy failed."""
    return seen.copy_failure.reason if seen.copy_failure else Reason.NONE


# --- RESTORE, ROLLBACK, ROT, DEGRADED -------------------------------------------------------------


def restoring(seen: Observation, failure: Failure) -> BootStatus:
    """RESTORE (2), with the reason; the staged image is given up."""
    status = of(seen)
    return enter_from(
        seen,
        Phase.RESTORE,
        request=Request.NONE,
        tries_left=0,
        primary=in_state(status.primary, AreaState.BAD),
        staging=EMPTY,
        restore_retries=seen.policy.restore_retries,
        last_failure=failure,
        progress=0,
    )


def restored(seen: Observation) -> BootStatus:
    """IDLE (1): primary holds what backup holds, read back in full."""
    return enter_from(
        seen,
        Phase.IDLE,
        primary=area_record(seen.primary, AreaState.CONFIRMED),
        backup=area_record(seen.backup, AreaState.VALID),
        tries_left=0,
        progress=0,
    )


def repaired(seen: Observation) -> BootStatus:
    """IDLE (1): the rotten primary was written anew from the same image in staging."""
    status = of(seen)
    return enter_from(
        seen,
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
    return failure_of(seen, status.phase, copy_reason(seen), area, status.backup, errno)


def degraded(seen: Observation) -> BootStatus:
    """DEGRADED (2): backup is the working image until a new update."""
    return degrading(seen, _restore_failure(seen) if seen.copy_failure else of(seen).last_failure)


def degrading(seen: Observation, failure: Failure) -> BootStatus:
    """DEGRADED (2), with the reason."""
    return enter_from(
        seen,
        Phase.DEGRADED,
        primary=in_state(of(seen).primary, AreaState.BAD),
        tries_left=0,
        last_failure=failure,
    )


def rolling_back(seen: Observation) -> BootStatus:
    """ROLLBACK (2): the backup was read in full; primary's image is not marked as failed."""
    status = of(seen)
    return enter_from(
        seen,
        Phase.ROLLBACK,
        request=Request.NONE,
        primary=in_state(status.primary, AreaState.WRITING),
        backup=area_record(seen.backup, AreaState.VALID),
        restore_retries=seen.policy.restore_retries,
        progress=0,
    )


def rollback_refused(seen: Observation) -> BootStatus:
    """IDLE (1): the backup is lost after all, and primary is still whole."""
    status = of(seen)
    return enter_from(
        seen,
        Phase.IDLE,
        primary=area_record(seen.primary, AreaState.CONFIRMED),
        backup=in_state(status.backup, AreaState.BAD),
        last_failure=finding_failure(seen, Phase.ROLLBACK, Area.BACKUP),
    )


def rot(seen: Observation) -> BootStatus:
    """ROT (2): primary does not verify at rest; the version itself did not fail."""
    status = of(seen)
    reason = seen.primary.unbootable or seen.primary.reason
    return enter_from(
        seen,
        Phase.ROT,
        primary=in_state(status.primary, AreaState.BAD),
        backup=area_record(seen.backup, AreaState.VALID),
        restore_retries=seen.policy.restore_retries,
        last_failure=failure_of(
            seen, Phase.ROT, reason, Area.PRIMARY, status.primary, seen.primary.errno
        ),
    )


def crash_counted(seen: Observation) -> BootStatus:
    """A confirmed image ended badly: counted once per event."""
    status = with_crash_seen(seen)
    reason = seen.crash.reason if seen.crash else Reason.NONE
    return replace(
        status,
        crash_count=min(255, status.crash_count + 1),
        last_failure=failure_of(seen, Phase.IDLE, reason, Area.PRIMARY, status.primary),
    )


def crashed(seen: Observation) -> BootStatus:
    """DEGRADED (2): a confirmed image crashed too often; the whole backup takes over."""
    status = of(seen)
    failure = failure_of(seen, Phase.IDLE, Reason.CRASHES, Area.PRIMARY, status.primary)
    return enter_from(
        seen,
        Phase.DEGRADED,
        primary=in_state(status.primary, AreaState.BAD),
        backup=area_record(seen.backup, AreaState.VALID),
        last_failure=failure,
    )
