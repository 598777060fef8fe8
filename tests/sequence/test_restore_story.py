"""Stories on a machine in memory (DESIGN 4): RESTORE, DEGRADED, ROLLBACK, ROT and HALT."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootsvc.errors import (
    BootError,
    BootsvcError,
    ConfirmRefusedError,
    FailedBeforeError,
)
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, StatusCode
from bootsvc.sequence.actions import Boot, Copy, Halt, Verify, Write
from bootsvc.sequence.states import Policy
from bootsvc.units import BLOCK_SIZE
from tests.sequence.machine import (
    AREA_SIZE,
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
    DEGRADED,
    IDLE,
    cannot_start,
    degraded,
    on_last_try,
    phases,
)

# --- RESTORE -------------------------------------------------------------------------------------


def test_after_the_last_try_the_backup_is_restored_and_the_image_remembered() -> None:
    machine = on_last_try()
    started = machine.power_on()
    assert phases(started) == [Phase.RESTORE, Phase.IDLE]
    assert started.outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.failed == (V2.identity,)
    assert machine.record.staging.state is AreaState.EMPTY
    assert machine.record.last_failure.reason == Reason.RESTARTED


def test_restore_begins_only_after_the_backup_was_read_in_full_in_this_start() -> None:
    started = on_last_try().power_on()
    verified = started.actions.index(Verify(Area.BACKUP))
    assert verified < started.actions.index(Copy(Area.BACKUP, Area.PRIMARY))


def test_a_failed_image_is_not_retried_by_itself_but_on_request() -> None:
    machine = on_last_try()
    machine.power_on()
    with pytest.raises(FailedBeforeError):
        machine.os_stages(V2)
    machine.os_stages(V2, again=True)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


def test_a_backup_that_fails_in_restore_leaves_primary_alone_and_boots_it_with_an_alarm() -> None:
    machine = on_last_try()
    machine.flip(Area.BACKUP, 0)
    primary = machine.area_bytes(Area.PRIMARY)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, alarm=Reason.BACKUP_BAD)
    assert machine.area_bytes(Area.PRIMARY) == primary
    with pytest.raises(ConfirmRefusedError):
        machine.os_confirms()


def test_io_errors_use_up_restore_retries_and_then_the_backup_stays_the_working_image() -> None:
    machine = on_last_try()
    machine.device.bad_writes = [WHERE[Area.PRIMARY]]
    started = machine.power_on()
    assert started.actions.count(Copy(Area.BACKUP, Area.PRIMARY)) == 4
    assert started.outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert machine.record.last_failure.reason == Reason.IO_ERROR


def test_nothing_that_verifies_ends_in_halt() -> None:
    machine = on_last_try()
    machine.flip(Area.BACKUP, 0)
    machine.flip(Area.PRIMARY, 0)
    assert machine.power_on().outcome == Halt(Reason.ALTERED)


# --- DEGRADED ------------------------------------------------------------------------------------


def test_with_restoring_switched_off_the_backup_is_the_working_image() -> None:
    machine = degraded()
    before = bytes(machine.device.bytes)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.runs(V1)
    assert bytes(machine.device.bytes) == before


def test_an_update_while_degraded_keeps_code_2_and_never_writes_the_backup() -> None:
    machine = degraded()
    machine.device.bad_writes = [WHERE[Area.BACKUP]]
    machine.os_stages(V3)
    started = machine.power_on()
    writes = [action.status for action in started.actions if isinstance(action, Write)]
    assert [(one.phase, one.status_code) for one in writes[:2]] == [
        (Phase.COPY, StatusCode.BACKUP),
        (Phase.TRIAL, StatusCode.FIRST_START),
    ]
    assert machine.holds(Area.PRIMARY, V3)
    assert machine.holds(Area.BACKUP, V1)
    machine.os_confirms()
    assert machine.shape == IDLE


def test_a_refused_update_while_degraded_leaves_it_degraded() -> None:
    machine = degraded()
    machine.os_stages(V3)
    machine.flip(Area.STAGING, 0)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert machine.record.last_failure.reason == Reason.ALTERED


def test_a_degraded_machine_whose_backup_will_not_start_tries_a_whole_primary() -> None:
    machine = degraded()
    machine.cannot_start = cannot_start(Area.BACKUP)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, alarm=Reason.BACKUP_BAD)


# --- ROLLBACK ------------------------------------------------------------------------------------


def test_a_rollback_goes_back_to_the_backup_without_marking_the_version_as_failed() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.os_rolls_back()
    started = machine.power_on()
    assert phases(started) == [Phase.ROLLBACK, Phase.IDLE]
    assert machine.runs(V1)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.failed == ()


def test_a_rollback_to_a_bad_backup_is_refused_with_its_reason() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.os_rolls_back()
    machine.flip(Area.BACKUP, 0)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    failure = machine.record.last_failure
    assert (failure.phase, failure.reason, failure.area) == (
        Phase.ROLLBACK,
        Reason.ALTERED,
        Area.BACKUP,
    )


def test_a_backup_that_is_lost_during_a_rollback_leaves_a_whole_primary_in_use() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.change_record(
        status_code=StatusCode.BACKUP, phase=Phase.ROLLBACK, boot_area=Area.BACKUP
    )
    machine.flip(Area.BACKUP, 0)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.runs(V2)


def test_a_rollback_works_also_with_restoring_after_failures_switched_off() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.policy = Policy(restore=False)
    machine.os_rolls_back()
    machine.power_on()
    assert machine.runs(V1)
    assert machine.shape == IDLE


# --- ROT -----------------------------------------------------------------------------------------


def test_a_primary_that_rotted_at_rest_is_restored_from_the_backup() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE)
    started = machine.power_on()
    assert phases(started) == [Phase.ROT, Phase.IDLE]
    assert machine.runs(V1)
    assert machine.record.failed == ()
    assert machine.record.last_failure.phase is Phase.ROT


def test_a_kernel_that_rotted_at_rest_is_noticed_when_it_is_loaded() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.PRIMARY, 5 * BLOCK_SIZE)

    def digest_differs(area: Area) -> BootsvcError | None:
        is_rotten = area is Area.PRIMARY and not machine.holds(Area.PRIMARY, V1)
        return BootError("the kernel differs from its digest") if is_rotten else None

    machine.cannot_start = digest_differs
    started = machine.power_on()
    assert phases(started) == [Phase.ROT, Phase.IDLE]
    assert machine.runs(V1)
    assert machine.record.last_failure.reason == Reason.KERNEL_REFUSED


def rotten_with_its_image_staged() -> Machine:
    machine = settled_machine(V2, backup=V1)
    machine.put(Area.STAGING, V2)
    machine.change_record(staging=area_record(V2, AreaState.VALID))
    machine.overwrite(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE, bytes(BLOCK_SIZE))
    return machine


def test_a_rotten_primary_is_repaired_from_staging_where_that_is_the_same_image() -> None:
    machine = rotten_with_its_image_staged()
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.runs(V2)
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.holds(Area.BACKUP, V1)


def test_a_rotten_primary_is_not_repaired_with_another_image_than_its_own() -> None:
    machine = rotten_with_its_image_staged()
    machine.put(Area.STAGING, V3)
    machine.power_on()
    assert machine.runs(V1)


def test_a_repair_that_fails_falls_back_to_restoring_the_backup() -> None:
    machine = rotten_with_its_image_staged()
    block = range(4 * BLOCK_SIZE, 5 * BLOCK_SIZE)
    machine.overwrite(Area.PRIMARY, block.start, V1.content[block.start : block.stop])
    start = WHERE[Area.PRIMARY].start
    machine.device.bad_writes = [range(start + block.start, start + block.stop)]
    started = machine.power_on()
    assert Copy(Area.STAGING, Area.PRIMARY) in started.actions
    assert phases(started) == [Phase.ROT, Phase.RESTORE, Phase.IDLE]
    assert machine.runs(V1)


def test_a_rotten_primary_without_a_backup_halts_with_the_reason() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE)
    machine.flip(Area.BACKUP, 0)
    assert isinstance(machine.power_on().outcome, Halt)


def test_a_backup_that_does_not_verify_is_not_started_instead_of_a_primary_that_will_not() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.BACKUP, 0)
    machine.cannot_start = cannot_start(Area.PRIMARY)
    assert machine.power_on().outcome == Halt(Reason.KERNEL_REFUSED)


def test_an_empty_backup_is_never_started() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.overwrite(Area.BACKUP, 0, bytes(AREA_SIZE))
    machine.change_record(backup=replace(area_record(V1, AreaState.BAD), identity=bytes(32)))
    machine.cannot_start = cannot_start(Area.PRIMARY)
    assert machine.power_on().outcome == Halt(Reason.KERNEL_REFUSED)


def test_a_whole_primary_that_will_not_start_gives_way_to_a_whole_backup() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.cannot_start = cannot_start(Area.PRIMARY)
    assert machine.power_on().outcome == Boot(Area.BACKUP, alarm=Reason.KERNEL_REFUSED)
    assert not machine.device.writes()


# --- HALT ----------------------------------------------------------------------------------------


def halted() -> Machine:
    machine = new_machine()
    for _ in range(4):
        machine.power_on()
    return machine


def test_a_whole_backup_found_after_a_halt_is_started_with_an_alarm() -> None:
    machine = halted()
    machine.put(Area.BACKUP, V2)
    assert machine.power_on().outcome == Boot(Area.BACKUP, alarm=Reason.NOTHING_TO_FALL_BACK_TO)


def test_an_image_staged_after_a_halt_is_installed() -> None:
    machine = halted()
    machine.os_stages(V2)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V2)


def test_a_reason_that_this_version_does_not_know_still_halts() -> None:
    machine = halted()
    machine.change_record(last_failure=replace(machine.record.last_failure, reason=200))
    assert machine.power_on().outcome == Halt(Reason.NOTHING_TO_FALL_BACK_TO)
