"""Stories on a machine in memory: a lost or foreign record, and the seldom rows (DESIGN 3, 4)."""

from __future__ import annotations

import pytest

from bootsvc.errors import (
    FailedBeforeError,
    SequenceError,
)
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request
from bootsvc.sequence.actions import Boot, Halt
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE
from tests.sequence.machine import (
    AREA_SIZE,
    PARTS,
    V1,
    V2,
    V3,
    WHERE,
    Machine,
    area_record,
    new_machine,
    settled_machine,
)
from tests.sequence.stories import (
    IDLE,
    degraded,
    updating,
)

# --- the record is lost, or belongs elsewhere ----------------------------------------------------


def lose_the_record(machine: Machine) -> None:
    for offset in COPY_OFFSETS:
        start = PARTS["status"].start + offset
        machine.device.bytes[start : start + 512] = bytes(512)


def test_a_lost_record_with_two_whole_areas_starts_primary_on_trial() -> None:
    machine = settled_machine(V2, backup=V1)
    lose_the_record(machine)
    started = machine.power_on()
    assert started.outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.record.tries_left == 2
    assert machine.record.version_floor == V2.manifest.floor
    assert machine.record.last_failure.reason == Reason.STATUS_LOST
    machine.os_confirms()
    assert machine.shape == IDLE


def test_a_lost_record_does_not_bring_back_an_image_that_failed_by_what_data_remembers() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.failed_in_data = (V3.identity, V2.identity)
    lose_the_record(machine)
    machine.power_on()
    assert machine.runs(V1)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.failed == (V3.identity, V2.identity)
    with pytest.raises(FailedBeforeError):
        machine.os_stages(V2)


def test_a_lost_record_still_starts_the_only_whole_image_although_it_failed_before() -> None:
    machine = settled_machine(V2, backup=V2)
    machine.failed_in_data = (V2.identity,)
    lose_the_record(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


def test_data_is_not_asked_while_a_copy_of_the_record_is_good() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.failed_in_data = (V2.identity,)
    start = PARTS["status"].start
    machine.device.bytes[start : start + 512] = bytes(512)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.record.failed == ()


def test_a_lost_record_with_a_bad_primary_restores_the_backup() -> None:
    machine = settled_machine(V2, backup=V1)
    lose_the_record(machine)
    machine.flip(Area.PRIMARY, 0)
    machine.power_on()
    assert machine.runs(V1)
    assert machine.holds(Area.PRIMARY, V1)


def test_a_lost_record_with_a_bad_backup_boots_primary_and_fills_the_backup() -> None:
    machine = settled_machine(V2, backup=V1)
    lose_the_record(machine)
    machine.flip(Area.BACKUP, 0)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.holds(Area.BACKUP, V2)


def test_a_lost_record_with_only_a_staged_image_installs_it() -> None:
    machine = new_machine(V1)
    lose_the_record(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


def test_a_lost_record_with_no_image_anywhere_halts_and_writes_nothing() -> None:
    machine = new_machine(V1)
    lose_the_record(machine)
    machine.overwrite(Area.STAGING, 0, bytes(len(machine.area_bytes(Area.STAGING))))
    assert machine.power_on().outcome == Halt(Reason.NO_IMAGE)
    assert not machine.device.writes()


def test_a_disk_partitioned_anew_is_never_written_but_boots_what_the_record_names() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.change_record(layout_hash=b"\1" * 32, request=Request.ROLLBACK)
    machine.device.log.clear()
    assert machine.power_on().outcome == Boot(Area.PRIMARY, alarm=Reason.STATUS_LOST)
    assert not machine.device.writes()


def test_a_trial_on_a_disk_partitioned_anew_boots_the_backup_as_no_try_can_be_paid() -> None:
    machine = updating()
    machine.power_on()
    machine.change_record(layout_hash=b"\1" * 32)
    machine.device.log.clear()
    assert machine.power_on().outcome == Boot(Area.BACKUP, alarm=Reason.STATUS_LOST)
    assert not machine.device.writes()


def test_a_status_partition_that_cannot_be_written_does_not_stop_a_healthy_start() -> None:
    machine = settled_machine(V2, backup=V1)
    start = PARTS["status"].start
    machine.device.bytes[start] ^= 1
    machine.device.bad_writes = [PARTS["status"]]
    assert machine.power_on().outcome == Boot(Area.PRIMARY, alarm=Reason.IO_ERROR)


def test_a_dead_status_partition_still_starts_a_whole_image() -> None:
    for machine, image in (
        (settled_machine(V2, backup=V1), V1),
        (settled_machine(V2, backup=V1), V2),
    ):
        if image is V2:
            machine.flip(Area.BACKUP, 0)
        machine.device.bad_reads = [PARTS["status"]]
        machine.device.bad_writes = [PARTS["status"]]
        started = machine.power_on()
        assert isinstance(started.outcome, Boot)
        assert started.outcome.alarm is Reason.IO_ERROR
        assert machine.runs(image), "no try can be recorded, so an unproven primary is not tried"


# --- the rows that are seldom needed -------------------------------------------------------------


def test_a_disk_partitioned_anew_with_nothing_whole_on_it_halts() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.change_record(layout_hash=b"\1" * 32)
    machine.overwrite(Area.PRIMARY, 0, bytes(AREA_SIZE))
    machine.flip(Area.BACKUP, 0)
    assert machine.power_on().outcome == Halt(Reason.ALTERED)


def test_a_record_that_cannot_be_written_with_nothing_proven_and_whole_halts() -> None:
    machine = updating()
    machine.power_on()
    machine.flip(Area.BACKUP, 0)
    machine.device.bad_writes = [PARTS["status"]]
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)


def test_a_first_installation_on_a_failing_disk_halts_and_starts_over_the_next_time() -> None:
    machine = new_machine()
    machine.device.bad_writes = [WHERE[Area.PRIMARY]]
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)
    machine.device.bad_writes = []
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


def test_a_rollback_to_the_image_that_runs_already_does_nothing() -> None:
    machine = settled_machine(V1)
    machine.change_record(request=Request.ROLLBACK)
    machine.power_on()
    assert machine.record.last_failure.reason == Reason.SAME_IMAGE
    assert machine.shape == IDLE


def in_backup(machine: Machine) -> Machine:
    """The machine was cut off in BACKUP on the way to v3."""
    machine.os_stages(V3)
    machine.change_record(phase=Phase.BACKUP, backup=area_record(V2, AreaState.WRITING))
    return machine


def test_a_primary_that_changed_during_backup_ends_the_update() -> None:
    machine = in_backup(settled_machine(V2, backup=V1))
    machine.flip(Area.PRIMARY, 0)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.record.backup.state is AreaState.BAD
    assert machine.record.last_failure.phase is Phase.BACKUP


def test_a_staged_image_that_was_altered_during_backup_is_refused_after_it() -> None:
    machine = in_backup(settled_machine(V2, backup=V1))
    machine.flip(Area.STAGING, 0)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.holds(Area.BACKUP, V2)
    assert machine.record.staging.state is AreaState.BAD


def test_another_whole_image_in_primary_during_a_trial_gets_a_trial_of_its_own() -> None:
    machine = updating()
    machine.power_on()
    first = machine.record.transaction
    machine.put(Area.PRIMARY, V3)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V3)
    assert machine.record.tries_left == 2
    assert machine.record.transaction != first


def test_a_first_image_that_rots_on_trial_and_in_staging_halts_with_that_reason() -> None:
    machine = new_machine()
    machine.power_on()
    machine.overwrite(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE, bytes(BLOCK_SIZE))
    machine.flip(Area.STAGING, 0)
    assert machine.power_on().outcome == Halt(Reason.NO_IMAGE)


def test_an_update_while_degraded_without_a_verified_backup_is_refused() -> None:
    machine = degraded()
    machine.os_stages(V3)
    machine.flip(Area.BACKUP, 0)
    primary = machine.area_bytes(Area.PRIMARY)
    machine.power_on()
    assert machine.record.last_failure.reason == Reason.NOTHING_TO_FALL_BACK_TO
    assert machine.area_bytes(Area.PRIMARY) == primary


def test_a_rollback_asked_for_while_degraded_is_dropped() -> None:
    machine = degraded()
    machine.change_record(request=Request.ROLLBACK)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.record.request is Request.NONE
    with pytest.raises(SequenceError):
        machine.os_rolls_back()


def test_a_degraded_machine_with_nothing_whole_halts() -> None:
    machine = degraded()
    machine.overwrite(Area.BACKUP, AREA_SIZE - BLOCK_SIZE, bytes(BLOCK_SIZE))
    machine.flip(Area.PRIMARY, 0)
    assert machine.power_on().outcome == Halt(Reason.NO_IMAGE)
