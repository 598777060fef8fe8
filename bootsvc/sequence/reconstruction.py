"""A first record where there was none, or a new one where it is stale (S4.15, DESIGN 3).

What was read in full decides, never a default.
"""

from __future__ import annotations

from dataclasses import replace

from bootsvc.formats.boot_status import (
    FAILED_KEPT,
    Area,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    StatusCode,
)
from bootsvc.sequence.conditions import failed_before, holds_same
from bootsvc.sequence.records import area_record, enter, of, with_crash_seen
from bootsvc.sequence.states import Observation


def stale(seen: Observation) -> BootStatus:
    """The record names another image than primary holds: what was read in full decides. One that
    is remembered as failed is not tried where there is another."""
    status = of(seen)
    if not seen.backup.is_verified:
        rebuilt = rebuilt_with_primary(seen)
    elif failed_before(Area.PRIMARY)(seen) and not holds_same(Area.BACKUP, Area.PRIMARY)(seen):
        rebuilt = rebuilt_with_backup(seen)
    else:
        rebuilt = rebuilt_on_trial(seen)
    return replace(
        rebuilt,
        version_floor=max(status.version_floor, rebuilt.version_floor),
        failed=status.failed,
        crash_event=with_crash_seen(seen).crash_event,
    )


def rebuilt_on_trial(seen: Observation) -> BootStatus:
    """Both areas verify and nobody knows whether primary ever proved itself: TRIAL (3)."""
    return enter(
        _rebuilt(seen),
        Phase.TRIAL,
        tries_left=seen.policy.tries,
        transaction=seen.fresh_id,
        primary=area_record(seen.primary, AreaState.VALID),
        backup=area_record(seen.backup, AreaState.VALID),
    )


def rebuilt_with_primary(seen: Observation) -> BootStatus:
    """Only primary verifies: IDLE (1), the backup is filled at the next start."""
    return replace(_rebuilt(seen), primary=area_record(seen.primary, AreaState.CONFIRMED))


def rebuilt_with_backup(seen: Observation) -> BootStatus:
    """Only backup verifies, or primary's image failed here before: RESTORE (2)."""
    return enter(
        _rebuilt(seen),
        Phase.RESTORE,
        primary=area_record(seen.primary, AreaState.BAD),
        backup=area_record(seen.backup, AreaState.VALID),
    )


def rebuilt_for_install(seen: Observation) -> BootStatus:
    """Only the staged image verifies: INSTALL (1)."""
    return replace(
        _rebuilt(seen),
        phase=Phase.INSTALL,
        boot_area=Area.NONE,
        primary=area_record(seen.staging, AreaState.WRITING),
        staging=area_record(seen.staging, AreaState.VALID),
        transaction=seen.fresh_id,
    )


def _rebuilt(seen: Observation) -> BootStatus:
    """What every rebuilt record has in common; the floor is the highest signed one (DESIGN 3)."""
    verified = [one for one in (seen.primary, seen.backup, seen.staging) if one.is_verified]
    return BootStatus(
        status_code=StatusCode.WORKING,
        phase=Phase.IDLE,
        boot_area=Area.PRIMARY,
        tries_allowed=seen.policy.tries,
        restore_retries=seen.policy.restore_retries,
        version_floor=max((one.floor for one in verified), default=0),
        layout_hash=seen.layout_hash,
        failed=seen.failed_in_data[:FAILED_KEPT],
        crash_event=seen.crash.event if seen.crash else bytes(16),
        last_failure=Failure(Phase.UNKNOWN, Reason.STATUS_LOST, time_s=seen.now_s),
    )
