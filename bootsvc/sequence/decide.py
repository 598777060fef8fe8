"""``decide(Observation) -> Action``: the method's table (S4.5-S4.17, DESIGN 4).

Read a phase's rows from top to bottom; the first whose condition holds gives the action, and the
last row of every phase holds always. There is no row for "resume": after a power cut the machine
observes and decides again, and comes to the same place. Rows that only ask for knowledge (Look,
Verify) stand before the rows that use it.

The invariant: a record names only an area that was read back in full before, and no byte of that
area changes until a later record names another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootsvc.formats.boot_status import (
    Area,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
)
from bootsvc.sequence import hangs, last_resorts, reconstruction, records, trials
from bootsvc.sequence.actions import Action, Boot, Copy, Halt, Look, Verify, Write
from bootsvc.sequence.conditions import (
    Condition,
    always,
    as_recorded,
    asked,
    backup_to_fill,
    boots_once,
    both,
    copied,
    copy_failed,
    crashed_too_often,
    crashed_twice,
    failed_before,
    has_backup,
    has_new_crash,
    holds_same,
    hung_too_often,
    met_rot,
    names_proven_primary,
    no,
    refused,
    requested,
    rot_is_staged,
    staged,
    staging_asked_for,
    staging_refused_before,
    startable,
    unbootable,
    unproven_primary,
    unread,
    unreadable,
    unseen,
    verified,
)
from bootsvc.sequence.states import Observation

PRIMARY, BACKUP, STAGING = Area.PRIMARY, Area.BACKUP, Area.STAGING


@dataclass(frozen=True)
class Row:
    """One line of the table: when it applies, and what then; ``why`` is for the drawing."""

    why: str
    when: Condition
    then: Callable[[Observation], Action]


def decide(seen: Observation) -> Action:
    """The one action that follows from ``seen``."""
    for row in rows_for(seen):
        if row.when(seen):
            return row.then(seen)
    raise AssertionError("the last row of every phase holds always")


def rows_for(seen: Observation) -> tuple[Row, ...]:
    """The rows that apply to the record as it is."""
    status = seen.status
    if status is None:
        return LOST
    if status.layout_hash != seen.layout_hash:
        return OTHER_LAYOUT
    if seen.cannot_write:
        return CANNOT_WRITE
    return TABLE[status.phase]


# --- actions ------------------------------------------------------------------------------------


def look(area: Area) -> Callable[[Observation], Action]:
    return lambda _: Look(area)


def verify(area: Area) -> Callable[[Observation], Action]:
    return lambda _: Verify(area, installing=area is STAGING)


def copy(source: Area, target: Area) -> Callable[[Observation], Action]:
    return lambda _: Copy(source, target)


def boot(area: Area) -> Callable[[Observation], Action]:
    return lambda _: Boot(area)


def boot_primary(seen: Observation) -> Action:
    """With an alarm where another area was asked for once and could not be started."""
    others = (seen.staging.unbootable, seen.backup.unbootable)
    return Boot(PRIMARY, alarm=next((one for one in others if one), Reason.NONE))


def boot_with_alarm(area: Area, alarm: Reason) -> Callable[[Observation], Action]:
    return lambda _: Boot(area, alarm=alarm)


def halt_for(area: Area) -> Callable[[Observation], Action]:
    """Halt, naming what is wrong with ``area``."""

    def action(seen: Observation) -> Action:
        finding = seen.finding(area)
        return Halt(finding.unbootable or finding.reason or Reason.NOTHING_TO_FALL_BACK_TO)

    return action


def halt_as_recorded(seen: Observation) -> Action:
    """Halt with the reason in the record; one of a newer bootsvc has no name here."""
    reason = records.of(seen).last_failure.reason
    known = reason != Reason.NONE and reason in Reason.__members__.values()
    return Halt(Reason(reason) if known else Reason.NOTHING_TO_FALL_BACK_TO)


def once_told(
    failure_of: Callable[[Observation], Failure], then: Callable[[Failure], Action]
) -> Callable[[Observation], Action]:
    """What follows from a failure, as soon as the record names it."""

    def action(seen: Observation) -> Action:
        failure = failure_of(seen)
        if last_resorts.is_told(seen, failure):
            return then(failure)
        return Write(last_resorts.told(seen, failure), keeps_copy_failure=True)

    return action


def halt_once_told(
    failure_of: Callable[[Observation], Failure],
) -> Callable[[Observation], Action]:
    """Halt with a reason that stands in the record: nobody will run who could tell it."""
    return once_told(failure_of, lambda failure: Halt(Reason(failure.reason)))


def halt_telling(area: Area) -> Callable[[Observation], Action]:
    """Halt because nothing whole is left to start; ``area`` is the one that should have been."""
    return halt_once_told(lambda seen: last_resorts.nothing_to_start(seen, area))


def write(change: Callable[[Observation], BootStatus]) -> Callable[[Observation], Action]:
    return lambda seen: Write(change(seen))


def refuse(phase: Phase, area: Area) -> Callable[[Observation], Action]:
    return lambda seen: Write(records.refused(seen, phase, area))


def counting_hangs(given_up: Callable[[Observation], BootStatus]) -> tuple[Row, Row]:
    """The first rows of a phase of work: evidence found here says that the work itself hung."""
    return (
        Row("hung again: give up",    hung_too_often,                     write(given_up)),
        Row("hung: once more",        has_new_crash,                      write(hangs.counted)),
    )  # fmt: skip


# --- the table ----------------------------------------------------------------------------------

# fmt: off
LOST = (
    Row("read primary",               unread(PRIMARY),                    verify(PRIMARY)),
    Row("read backup",                unread(BACKUP),                     verify(BACKUP)),
    Row("both whole: one failed here", both(verified(PRIMARY), verified(BACKUP),
                                            failed_before(PRIMARY), no(holds_same(BACKUP, PRIMARY))),
        lambda seen: Write(reconstruction.rebuilt_with_backup(seen), reconstructs=True)),
    Row("both whole: unproven",       both(verified(PRIMARY), verified(BACKUP)),
        lambda seen: Write(reconstruction.rebuilt_on_trial(seen), reconstructs=True)),
    Row("only primary",               verified(PRIMARY),
        lambda seen: Write(reconstruction.rebuilt_with_primary(seen), reconstructs=True)),
    Row("only backup",                verified(BACKUP),
        lambda seen: Write(reconstruction.rebuilt_with_backup(seen), reconstructs=True)),
    Row("read staging",               unread(STAGING),                    verify(STAGING)),
    Row("only staging: install it",   verified(STAGING),
        lambda seen: Write(reconstruction.rebuilt_for_install(seen), reconstructs=True)),
    Row("no image anywhere",          always,                             halt_for(PRIMARY)),
)

OTHER_LAYOUT = (
    Row("look at primary",            unseen(PRIMARY),                    look(PRIMARY)),
    Row("a proven primary",           both(names_proven_primary, startable(PRIMARY)),
        boot_with_alarm(PRIMARY, Reason.STATUS_LOST)),
    Row("read backup",                unread(BACKUP),                     verify(BACKUP)),
    Row("a whole backup",             both(verified(BACKUP), no(unbootable(BACKUP))),
        boot_with_alarm(BACKUP, Reason.STATUS_LOST)),
    Row("nothing left",               always,                             halt_for(BACKUP)),
)

CANNOT_WRITE = (
    Row("look at primary",            unseen(PRIMARY),                    look(PRIMARY)),
    Row("a proven primary",           both(names_proven_primary, startable(PRIMARY)),
        boot_with_alarm(PRIMARY, Reason.IO_ERROR)),
    Row("read backup",                unread(BACKUP),                     verify(BACKUP)),
    Row("a whole backup",             both(verified(BACKUP), no(unbootable(BACKUP))),
        boot_with_alarm(BACKUP, Reason.IO_ERROR)),
    Row("no whole backup: primary?",  both(no(unproven_primary), unread(PRIMARY)), verify(PRIMARY)),
    Row("a whole primary after all",  both(no(unproven_primary), verified(PRIMARY),
                                           no(unbootable(PRIMARY))),
        boot_with_alarm(PRIMARY, Reason.IO_ERROR)),
    Row("nothing left",               always,                             lambda _: Halt(Reason.IO_ERROR)),
)

INSTALL = (
    *counting_hangs(hangs.install_given_up),
    Row("refused once: not again",    staging_refused_before,             halt_as_recorded),
    Row("check the staged image",     unread(STAGING),                    verify(STAGING)),
    Row("disk fails: not refused",    unreadable(STAGING),                halt_telling(STAGING)),
    Row("refused",                    refused(STAGING),                   refuse(Phase.INSTALL, STAGING)),
    Row("installed and read back",    copied(STAGING, PRIMARY),           write(trials.on_trial)),
    Row("disk fails",                 copy_failed,                        halt_once_told(last_resorts.install_failure)),
    Row("install",                    always,                             copy(STAGING, PRIMARY)),
)

IDLE = (
    Row("asked for once",             boots_once,                         lambda seen: Boot(seen.boot_once)),
    Row("look at primary",            unseen(PRIMARY),                    look(PRIMARY)),
    # primary does not bear the recorded identity, or could not be started
    Row("read primary",               both(no(startable(PRIMARY)), unread(PRIMARY)), verify(PRIMARY)),
    Row("another whole image there",  both(no(as_recorded(PRIMARY)), verified(PRIMARY), unread(BACKUP)),
        verify(BACKUP)),
    Row("record is stale",            both(no(as_recorded(PRIMARY)), verified(PRIMARY)),
        write(reconstruction.stale)),
    Row("primary unusable: backup?",  both(no(startable(PRIMARY)), unread(BACKUP)), verify(BACKUP)),
    Row("whole, but will not start",  both(unbootable(PRIMARY), verified(PRIMARY),
                                           verified(BACKUP), no(unbootable(BACKUP))),
        boot_with_alarm(BACKUP, Reason.KERNEL_REFUSED)),
    Row("rotten, with a backup",      both(no(startable(PRIMARY)), refused(PRIMARY), verified(BACKUP)),
        write(records.rot)),
    Row("no backup: read staging",    both(no(startable(PRIMARY)), refused(PRIMARY), unread(STAGING)),
        verify(STAGING)),
    Row("no backup: install",         both(no(startable(PRIMARY)), refused(PRIMARY), verified(STAGING)),
        write(last_resorts.installing_over_rot)),
    Row("rotten, no backup",          no(startable(PRIMARY)),             halt_telling(PRIMARY)),
    # the image met a rotten block while it ran (dm-verity): only reading all of it tells
    Row("met rot: read primary",      both(met_rot, unread(PRIMARY)),     verify(PRIMARY)),
    Row("met rot: backup?",           both(met_rot, refused(PRIMARY), unread(BACKUP)), verify(BACKUP)),
    Row("met rot: use the backup",    both(met_rot, refused(PRIMARY), verified(BACKUP)),
        write(records.rot)),
    # evidence of trouble
    Row("request hung again: refuse", both(asked, hung_too_often),        write(hangs.request_given_up)),
    Row("count a crash",              has_new_crash,                      write(records.crash_counted)),
    Row("too many: read backup",      both(crashed_too_often, unread(BACKUP)), verify(BACKUP)),
    Row("too many: use the backup",   both(crashed_too_often, verified(BACKUP)), write(records.crashed)),
    # an update is asked for: CHECK
    Row("check the staged image",     both(staging_asked_for, unread(STAGING)), verify(STAGING)),
    Row("refused",                    both(staging_asked_for, refused(STAGING)),
        refuse(Phase.CHECK, STAGING)),
    Row("start staging once",         requested(Request.BOOT_STAGING_ONCE),
        lambda seen: Write(records.request_done(seen), boot_once=STAGING)),
    Row("check primary",              both(requested(Request.UPDATE), unread(PRIMARY)), verify(PRIMARY)),
    Row("already here",               both(requested(Request.UPDATE), copied(STAGING, PRIMARY)),
        write(records.same_image)),
    Row("primary whole: back it up",  both(requested(Request.UPDATE), verified(PRIMARY)),
        write(records.backing_up)),
    Row("primary changed: backup?",   both(requested(Request.UPDATE), unread(BACKUP)), verify(BACKUP)),
    Row("keep the old backup",        both(requested(Request.UPDATE), verified(BACKUP)),
        write(records.copying_past_changed_primary)),
    Row("nothing to fall back to",    requested(Request.UPDATE),          write(records.no_way_back)),
    # other requests
    Row("read backup",                both(asked, unread(BACKUP)),          verify(BACKUP)),
    Row("backup is no use",           both(asked, refused(BACKUP)),         refuse(Phase.ROLLBACK, BACKUP)),
    Row("start the backup once",      requested(Request.BOOT_BACKUP_ONCE),
        lambda seen: Write(records.request_done(seen), boot_once=BACKUP)),
    Row("nothing to go back to",      both(requested(Request.ROLLBACK), holds_same(BACKUP, PRIMARY)),
        write(records.same_image)),
    Row("go back",                    requested(Request.ROLLBACK),        write(records.rolling_back)),
    # the backup that a first installation still lacks
    Row("check primary",              both(backup_to_fill, no(crashed_twice), unread(PRIMARY)),
        verify(PRIMARY)),
    Row("fill the backup",            both(backup_to_fill, verified(PRIMARY)), write(records.backing_up)),
    Row("no backup of a bad primary", both(backup_to_fill, refused(PRIMARY)),
        once_told(records.primary_not_backed_up, lambda _: Boot(PRIMARY))),
    Row("start primary",              always,                             boot_primary),
)

BACKUP_ROWS = (
    *counting_hangs(hangs.backup_given_up),
    Row("check primary",              unread(PRIMARY),                    verify(PRIMARY)),
    Row("primary changed meanwhile",  refused(PRIMARY),                   write(records.backup_lost)),
    Row("disk fails",                 copy_failed,                        write(records.backup_failed)),
    Row("back up",                    no(copied(PRIMARY, BACKUP)),        copy(PRIMARY, BACKUP)),
    Row("check the staged image",     both(requested(Request.UPDATE), unread(STAGING)), verify(STAGING)),
    Row("staged image whole",         both(requested(Request.UPDATE), verified(STAGING)),
        write(records.copying)),
    Row("refused",                    requested(Request.UPDATE),
        lambda seen: Write(records.refused_after_backup(seen))),
    Row("backup filled",              always,                             write(records.backed_up)),
)

COPY = (
    *counting_hangs(hangs.copy_given_up),
    Row("check the staged image",     unread(STAGING),                    verify(STAGING)),
    Row("staged image lost",          refused(STAGING),                   write(records.staged_image_lost)),
    Row("read backup",                unread(BACKUP),                     verify(BACKUP)),
    Row("backup lost: install",       refused(BACKUP),                    write(last_resorts.installing_without_backup)),
    Row("copied and read back",       copied(STAGING, PRIMARY),           write(trials.on_trial)),
    Row("disk fails",                 copy_failed,                        write(records.copy_failed)),
    Row("copy",                       always,                             copy(STAGING, PRIMARY)),
)

TRIAL = (
    Row("look at primary",            unseen(PRIMARY),                    look(PRIMARY)),
    Row("another image: read it",     both(no(as_recorded(PRIMARY)), unread(PRIMARY)), verify(PRIMARY)),
    Row("another image: backup?",     both(no(as_recorded(PRIMARY)), verified(PRIMARY), unread(BACKUP)),
        verify(BACKUP)),
    Row("record is stale",            both(no(as_recorded(PRIMARY)), verified(PRIMARY)),
        write(reconstruction.stale)),
    Row("rotted, no backup: staged?", both(refused(PRIMARY), no(has_backup), staged, unread(STAGING)),
        verify(STAGING)),
    Row("rotted: install it again",   both(refused(PRIMARY), no(has_backup), verified(STAGING)),
        write(last_resorts.installing_over_rot)),
    Row("rotted, no backup",          both(refused(PRIMARY), no(has_backup)), write(trials.halted)),
    Row("rotted on trial",            refused(PRIMARY),                   write(trials.giving_up)),
    Row("try paid for: start",        both(lambda seen: seen.has_try, no(unbootable(PRIMARY))),
        lambda _: Boot(PRIMARY, is_trial=True)),
    Row("pay for a try",              lambda seen: records.of(seen).tries_left > 0,
        lambda seen: Write(trials.try_taken(seen), takes_try=True)),
    Row("no try left, no backup",     no(has_backup),                     write(trials.halted)),
    Row("no try left",                always,                             write(trials.giving_up)),
)

FROM_BACKUP = (
    Row("restoring switched off",     lambda seen: not seen.policy.restore, write(records.degraded)),
    Row("read backup",                unread(BACKUP),                     verify(BACKUP)),
    Row("backup lost: primary?",      both(refused(BACKUP), unread(PRIMARY)), verify(PRIMARY)),
    Row("start primary with alarm",   both(refused(BACKUP), verified(PRIMARY), no(unbootable(PRIMARY))),
        boot_with_alarm(PRIMARY, Reason.BACKUP_BAD)),
    Row("nothing left",               refused(BACKUP),                    halt_telling(BACKUP)),
    Row("restored and read back",     copied(BACKUP, PRIMARY),            write(records.restored)),
    Row("disk fails: again",          both(copy_failed, lambda seen: records.of(seen).restore_retries > 0),
        write(records.restore_retried)),
    Row("disk fails: give up",        copy_failed,                        write(records.degraded)),
    Row("restore",                    always,                             copy(BACKUP, PRIMARY)),
)

RESTORE = (
    *counting_hangs(hangs.restore_given_up),
    *FROM_BACKUP,
)

ROLLBACK = (
    *counting_hangs(hangs.restore_given_up),
    Row("read backup",                unread(BACKUP),                     verify(BACKUP)),
    Row("backup lost: primary?",      both(refused(BACKUP), unread(PRIMARY)), verify(PRIMARY)),
    Row("stay where we are",          both(refused(BACKUP), verified(PRIMARY)),
        write(records.rollback_refused)),
    *FROM_BACKUP[4:],
)

ROT = (
    *counting_hangs(hangs.restore_given_up),
    Row("is the same image staged?",  both(rot_is_staged, unread(STAGING)), verify(STAGING)),
    Row("repaired from staging",      both(rot_is_staged, copied(STAGING, PRIMARY)),
        write(records.repaired)),
    Row("repair failed: restore",     both(rot_is_staged, copy_failed),   write(records.copy_failed)),
    Row("repair from staging",        rot_is_staged,                      copy(STAGING, PRIMARY)),
    *FROM_BACKUP,
)

DEGRADED = (
    Row("request hung again: refuse", both(asked, hung_too_often),        write(hangs.request_given_up)),
    Row("request hung: once more",    both(asked, has_new_crash),         write(hangs.counted)),
    Row("look at backup",             unseen(BACKUP),                     look(BACKUP)),
    Row("another image: read it",     both(no(as_recorded(BACKUP)), unread(BACKUP)), verify(BACKUP)),
    Row("check the staged image",     both(requested(Request.UPDATE), unread(STAGING)), verify(STAGING)),
    Row("refused",                    both(requested(Request.UPDATE), refused(STAGING)),
        refuse(Phase.CHECK, STAGING)),
    Row("read backup",                both(requested(Request.UPDATE), unread(BACKUP)), verify(BACKUP)),
    Row("install, backup stays",      both(requested(Request.UPDATE), verified(BACKUP)),
        write(records.copying_past_changed_primary)),
    Row("nothing to fall back to",    requested(Request.UPDATE),          write(records.no_way_back)),
    Row("no other request fits here", asked,                              write(records.request_done)),
    Row("start the backup",           startable(BACKUP),                  boot(BACKUP)),
    Row("backup unusable: primary?",  unread(PRIMARY),                    verify(PRIMARY)),
    Row("start primary with alarm",   both(verified(PRIMARY), no(unbootable(PRIMARY))),
        boot_with_alarm(PRIMARY, Reason.BACKUP_BAD)),
    Row("start the other image",      both(verified(BACKUP), no(unbootable(BACKUP))),
        boot_with_alarm(BACKUP, Reason.STATUS_LOST)),
    Row("nothing left",               always,                             halt_telling(BACKUP)),
)

HALTED = (
    Row("an image was staged",        requested(Request.UPDATE),          write(last_resorts.installing)),
    Row("read backup",                unread(BACKUP),                     verify(BACKUP)),
    Row("a whole backup after all",   both(verified(BACKUP), no(unbootable(BACKUP))),
        boot_with_alarm(BACKUP, Reason.NOTHING_TO_FALL_BACK_TO)),
    Row("a person is needed",         always,                             halt_as_recorded),
)
# fmt: on

TABLE: dict[Phase, tuple[Row, ...]] = {
    Phase.INSTALL: INSTALL,
    Phase.IDLE: IDLE,
    Phase.BACKUP: BACKUP_ROWS,
    Phase.COPY: COPY,
    Phase.TRIAL: TRIAL,
    Phase.RESTORE: RESTORE,
    Phase.ROLLBACK: ROLLBACK,
    Phase.ROT: ROT,
    Phase.DEGRADED: DEGRADED,
    Phase.HALT: HALTED,
}
