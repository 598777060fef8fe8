"""The conditions of the table: small questions about what is known, and how they combine."""

from __future__ import annotations

from collections.abc import Callable

from bootsvc.formats.boot_status import (
    NO_IDENTITY,
    Area,
    AreaState,
    Phase,
    Reason,
    Request,
)
from bootsvc.sequence import records
from bootsvc.sequence.states import Check, Observation

Condition = Callable[[Observation], bool]

MAX_COPIES = 2
"""A copy that reads back differently is made once more (DESIGN 4, VERIFY)."""

MAX_HANGS = 2
"""Work that hung is begun once more: a reset cures many a stuck disk, and not a broken one."""


def always(_: Observation) -> bool:
    """The last row of every phase."""
    return True


def unseen(area: Area) -> Condition:
    """The area has not been looked at in this start."""
    return lambda seen: seen.finding(area).check is Check.UNSEEN


def unread(area: Area) -> Condition:
    """Neither verified nor refused in this start."""
    return lambda seen: seen.finding(area).check in (Check.UNSEEN, Check.FOOTED)


def verified(area: Area) -> Condition:
    """Every byte of the area was read in this start, and fits."""
    return lambda seen: seen.finding(area).is_verified


def refused(area: Area) -> Condition:
    """The area was looked at, and is not to be used."""
    return lambda seen: seen.finding(area).is_refused


def unreadable(area: Area) -> Condition:
    """The disk failed when the area was read: that says nothing of the image."""
    return lambda seen: refused(area)(seen) and seen.finding(area).reason is Reason.IO_ERROR


def unbootable(area: Area) -> Condition:
    """A hand-over to the area failed in this start."""
    return lambda seen: seen.finding(area).unbootable is not Reason.NONE


def as_recorded(area: Area) -> Condition:
    """The area's footer bears the identity that the record names; a changed content does not
    alter that (what is started is checked when it is loaded). No footer fits no record."""

    def condition(seen: Observation) -> bool:
        identity = seen.finding(area).identity
        return identity != NO_IDENTITY and identity == records.of(seen).area(area).identity

    return condition


def startable(area: Area) -> Condition:
    """The area holds what the record names, and nothing speaks against starting it."""
    return lambda seen: as_recorded(area)(seen) and not unbootable(area)(seen)


def requested(request: Request) -> Condition:
    """This is what the record asks for."""
    return lambda seen: records.of(seen).request is request


def staging_asked_for(seen: Observation) -> bool:
    """What is asked of this start is to be done with the staged image."""
    return records.of(seen).request in (Request.UPDATE, Request.BOOT_STAGING_ONCE)


def boots_once(seen: Observation) -> bool:
    """The area that was asked for in this start only was read in full, and can be started."""
    area = seen.boot_once
    return area is not Area.NONE and verified(area)(seen) and startable(area)(seen)


def asked(seen: Observation) -> bool:
    """Something was asked of this start."""
    return records.of(seen).request is not Request.NONE


def holds_same(one: Area, other: Area) -> Condition:
    """Both areas hold the same image, as far as their footers say."""
    return lambda seen: seen.finding(one).identity == seen.finding(other).identity


def failed_before(area: Area) -> Condition:
    """The image in ``area`` failed on this machine, by the record or, where it was lost, data."""

    def condition(seen: Observation) -> bool:
        known = seen.status.failed if seen.status else seen.failed_in_data
        return seen.finding(area).identity in known

    return condition


def copied(source: Area, target: Area) -> Condition:
    """``target`` was read back in full and holds what ``source`` holds."""
    return lambda seen: verified(target)(seen) and holds_same(source, target)(seen)


def copy_failed(seen: Observation) -> bool:
    """The copy failed by I/O, or read back differently twice."""
    failure = seen.copy_failure
    if failure is None:
        return False
    return failure.reason is not Reason.READ_BACK or seen.copies_failed >= MAX_COPIES


def both(*conditions: Condition) -> Condition:
    """All of these hold."""
    return lambda seen: all(condition(seen) for condition in conditions)


def no(condition: Condition) -> Condition:
    """This does not hold."""
    return lambda seen: not condition(seen)


def has_new_crash(seen: Observation) -> bool:
    """There is evidence of a crash that was not counted yet."""
    return seen.crash is not None and seen.crash.event != records.of(seen).crash_event


def met_rot(seen: Observation) -> bool:
    """The running image met a block that differs from its digest, and nothing followed from it."""
    reason = seen.crash.reason if seen.crash else Reason.NONE
    return has_new_crash(seen) and reason is Reason.ROTTEN_BLOCK


def hung_too_often(seen: Observation) -> bool:
    """With the crash found now, the work under way hung as often as it may."""
    return has_new_crash(seen) and records.of(seen).crash_count + 1 >= MAX_HANGS


def crashed_twice(seen: Observation) -> bool:
    """The image, or reading it before its start, crashed so often that work beside starting it
    waits for a confirmed start."""
    return records.of(seen).crash_count >= MAX_HANGS


def crashed_too_often(seen: Observation) -> bool:
    """The crashes of a confirmed image have reached the limit. So many above it that reading the
    backup must be what crashes, and primary is started as before."""
    limit = seen.policy.crash_limit
    return 0 < limit <= records.of(seen).crash_count < limit + MAX_HANGS


def names_proven_primary(seen: Observation) -> bool:
    """The record boots primary, and not on trial: a start that need not be recorded."""
    record = records.of(seen)
    return record.boot_area is Area.PRIMARY and record.phase is not Phase.TRIAL


def unproven_primary(seen: Observation) -> bool:
    """What primary holds has not proved itself yet, or has failed to, and there is no other."""
    return records.of(seen).phase in (Phase.INSTALL, Phase.COPY, Phase.TRIAL, Phase.HALT)


def backup_to_fill(seen: Observation) -> bool:
    """There is no backup, or only the beginning of one."""
    return records.of(seen).backup.state in (AreaState.EMPTY, AreaState.WRITING)


def has_backup(seen: Observation) -> bool:
    """The record says that backup is whole."""
    return records.of(seen).backup.state in (AreaState.VALID, AreaState.CONFIRMED)


def staged(seen: Observation) -> bool:
    """The record says that staging is whole."""
    return records.of(seen).staging.state in (AreaState.VALID, AreaState.CONFIRMED)


def staging_refused_before(seen: Observation) -> bool:
    """The staged image was refused, and the refusal is recorded."""
    return records.of(seen).staging.state is AreaState.BAD


def rot_is_staged(seen: Observation) -> bool:
    """Staging may hold the very image that rotted in primary."""
    record = records.of(seen)
    return (
        staged(seen)
        and record.staging.identity == record.primary.identity
        and (seen.staging.check is Check.UNSEEN or as_recorded(Area.STAGING)(seen))
        and not seen.staging.is_refused
    )
