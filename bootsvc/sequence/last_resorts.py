"""Where no area holds a whole image: what is staged is installed, or the halt is explained."""

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
)
from bootsvc.sequence.records import (
    EMPTY,
    area_record,
    copy_reason,
    enter_from,
    failure_of,
    finding_failure,
    in_state,
    of,
)
from bootsvc.sequence.states import Observation


def installing(seen: Observation) -> BootStatus:
    """INSTALL (1): no area holds a whole image; the staged one is the only hope."""
    status = of(seen)
    return enter_from(
        seen,
        Phase.INSTALL,
        request=Request.NONE,
        primary=in_state(status.primary, AreaState.WRITING),
        backup=EMPTY,
        staging=in_state(status.staging, AreaState.VALID),
    )


def installing_without_backup(seen: Observation) -> BootStatus:
    """INSTALL (1): the backup turned out to be no use while primary was half written."""
    failure = finding_failure(seen, Phase.COPY, Area.BACKUP)
    return replace(installing(seen), last_failure=failure)


def installing_over_rot(seen: Observation) -> BootStatus:
    """INSTALL (1): primary is no use and there is no backup; what staging holds was read in full.

    It need not be what the record last knew of staging, so it starts as an update of its own.
    """
    return replace(
        installing(seen),
        transaction=seen.fresh_id,
        staging=area_record(seen.staging, AreaState.VALID),
        last_failure=finding_failure(seen, Phase.ROT, Area.PRIMARY),
    )


def install_failure(seen: Observation) -> Failure:
    """Why the staged image could not be installed."""
    failed = seen.copy_failure
    area, errno = (failed.area, failed.errno) if failed else (Area.PRIMARY, 0)
    return failure_of(seen, Phase.INSTALL, copy_reason(seen), area, of(seen).staging, errno)


def nothing_to_start(seen: Observation, area: Area) -> Failure:
    """Why nothing can be started: what is wrong with ``area``, or with the other one where only
    that cannot be read, for a failing disk is worth knowing of."""
    if area is not Area.STAGING:
        other = Area.BACKUP if area is Area.PRIMARY else Area.PRIMARY
        if seen.finding(other).errno and not seen.finding(area).errno:
            area = other
    finding, status = seen.finding(area), of(seen)
    reason = finding.unbootable or finding.reason or Reason.NOTHING_TO_FALL_BACK_TO
    return failure_of(seen, status.phase, reason, area, status.area(area), finding.errno)


def is_told(seen: Observation, failure: Failure) -> bool:
    """The record names this failure, of now or of an earlier start."""
    known = of(seen).last_failure
    return replace(known, time_s=failure.time_s) == failure


def told(seen: Observation, failure: Failure) -> BootStatus:
    """The same record, naming ``failure``."""
    return replace(of(seen), last_failure=failure)
