"""Stories on a machine in memory (DESIGN 4): CHECK, BACKUP, COPY and VERIFY."""

from __future__ import annotations

from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request
from bootsvc.sequence.actions import Boot, Copy, Verify, Write
from bootsvc.units import BLOCK_SIZE
from tests.sequence.machine import (
    V1,
    V2,
    V3,
    WHERE,
    settled_machine,
)
from tests.sequence.stories import (
    DEGRADED,
    IDLE,
    TRIAL,
    in_copy,
    kinds,
    phases,
    updating,
)

# --- CHECK, BACKUP -------------------------------------------------------------------------------


def test_an_update_goes_through_backup_copy_and_trial() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.os_stages(V3)
    started = machine.power_on()
    assert phases(started) == [Phase.BACKUP, Phase.COPY, Phase.TRIAL, Phase.TRIAL]
    assert started.outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.shape == TRIAL
    assert machine.record.tries_left == 2
    assert machine.holds(Area.PRIMARY, V3)
    assert machine.holds(Area.BACKUP, V2)


def test_backup_and_copy_write_only_blocks_that_differ() -> None:
    machine = settled_machine(V1)
    machine.os_stages(V2)
    backup, copy = machine.power_on().counts
    assert backup.written == 0, "the backup held the same image already"
    footer = len(V2.footer)
    assert copy.written == 6 * BLOCK_SIZE + footer
    assert copy.skipped == len(V2.content) - 6 * BLOCK_SIZE


def test_a_backup_that_had_nothing_to_write_is_still_read_back_in_full() -> None:
    machine = updating()
    machine.flip(Area.BACKUP, 7 * BLOCK_SIZE)
    machine.power_on()
    assert machine.holds(Area.BACKUP, V1)
    assert machine.shape == TRIAL


def test_a_changed_primary_is_never_copied_over_the_backup() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.PRIMARY, 3 * BLOCK_SIZE)
    machine.os_stages(V3)
    started = machine.power_on()
    assert phases(started) == [Phase.COPY, Phase.TRIAL, Phase.TRIAL]
    assert machine.record.last_failure.reason == Reason.PRIMARY_CHANGED
    assert machine.holds(Area.BACKUP, V1)
    assert machine.runs(V3)


def test_an_update_without_a_verified_image_to_fall_back_to_is_refused() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.PRIMARY, 3 * BLOCK_SIZE)
    machine.flip(Area.BACKUP, 3 * BLOCK_SIZE)
    areas = machine.area_bytes(Area.PRIMARY), machine.area_bytes(Area.BACKUP)
    machine.os_stages(V3)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.record.last_failure.reason == Reason.NOTHING_TO_FALL_BACK_TO
    assert machine.record.request is Request.NONE
    assert (machine.area_bytes(Area.PRIMARY), machine.area_bytes(Area.BACKUP)) == areas


def test_a_backup_area_that_cannot_be_written_ends_the_update_with_its_reason() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.device.bad_writes = [WHERE[Area.BACKUP]]
    machine.os_stages(V3)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    failure = machine.record.last_failure
    assert (failure.phase, failure.reason, failure.area, failure.errno) == (
        Phase.BACKUP,
        Reason.IO_ERROR,
        Area.BACKUP,
        5,
    )
    assert machine.record.backup.state is AreaState.BAD
    assert machine.holds(Area.PRIMARY, V2)


def test_a_backup_that_reads_back_differently_is_made_once_more_and_then_given_up() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.device.flips = [range(WHERE[Area.BACKUP].start, WHERE[Area.BACKUP].start + 20 * 4096)]
    machine.os_stages(V3)
    started = machine.power_on()
    assert kinds(started).count(Copy) == 2
    assert machine.record.last_failure.reason == Reason.READ_BACK
    assert started.outcome == Boot(Area.PRIMARY)


# --- COPY, VERIFY --------------------------------------------------------------------------------


def test_a_copy_cut_short_goes_on_by_comparing_blocks() -> None:
    machine = in_copy(settled_machine(V1))
    started = machine.power_on()
    assert started.outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.holds(Area.PRIMARY, V2)
    assert started.counts[0].written == 3 * BLOCK_SIZE + len(V2.footer)


def test_copy_begins_only_after_the_backup_was_read_in_full_in_this_start() -> None:
    started = in_copy(settled_machine(V1)).power_on()
    verified = started.actions.index(Verify(Area.BACKUP))
    assert verified < started.actions.index(Copy(Area.STAGING, Area.PRIMARY))


def test_a_staged_image_lost_during_copy_leads_to_restore() -> None:
    machine = in_copy(settled_machine(V1))
    machine.flip(Area.STAGING, 0)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.holds(Area.PRIMARY, V1)
    failure = machine.record.last_failure
    assert (failure.phase, failure.reason) == (Phase.COPY, Reason.ALTERED)
    assert machine.record.failed == ()


def test_a_backup_lost_during_copy_leaves_the_staged_image_as_the_only_hope() -> None:
    machine = in_copy(settled_machine(V1))
    machine.flip(Area.BACKUP, 0)
    started = machine.power_on()
    assert phases(started)[0] is Phase.INSTALL
    assert started.outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.record.backup.state is AreaState.EMPTY


def test_a_copy_that_reads_back_differently_is_made_once_more_and_then_restored() -> None:
    machine = updating()
    where = range(WHERE[Area.PRIMARY].start + BLOCK_SIZE, WHERE[Area.PRIMARY].start + 2 * 4096)
    machine.device.flips = [where]
    started = machine.power_on()
    assert started.actions.count(Copy(Area.STAGING, Area.PRIMARY)) == 2
    assert phases(started)[:3] == [Phase.BACKUP, Phase.COPY, Phase.RESTORE]
    restore = [a for a in started.actions if isinstance(a, Write)][2]
    assert restore.status.last_failure.phase is Phase.VERIFY
    assert restore.status.last_failure.reason == Reason.READ_BACK
    assert machine.record.failed == ()


def test_a_primary_that_cannot_be_written_ends_with_the_backup_as_working_image() -> None:
    machine = updating()
    machine.device.bad_writes = [WHERE[Area.PRIMARY]]
    started = machine.power_on()
    assert started.outcome == Boot(Area.PRIMARY), "nothing was written, so nothing is to restore"
    machine = in_copy(settled_machine(V1))
    machine.device.bad_writes = [WHERE[Area.PRIMARY]]
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert machine.record.last_failure.reason == Reason.IO_ERROR
    assert machine.record.failed == ()
