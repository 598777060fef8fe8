"""The four statuses and the last result, told of records as the sequence really leaves them."""

from __future__ import annotations

from bootsvc.formats.boot_status import Area, AreaState, Request
from bootsvc.sequence.update_status import LastResult, UpdateStatus, update_state
from tests.sequence.machine import V1, V2, Machine, area_record, settled_machine
from tests.sequence.stories import degraded, in_copy, on_last_try, updating


def status_of(machine: Machine) -> tuple[UpdateStatus, LastResult]:
    state = update_state(machine.record)
    return state.status, state.last_result


def test_a_machine_that_runs_what_it_was_given_has_completed() -> None:
    assert status_of(settled_machine(V2, V1)) == (UpdateStatus.COMPLETED, LastResult.OK)


def test_a_half_written_staging_is_unfinished() -> None:
    machine = settled_machine(V1)
    machine.change_record(staging=area_record(V2, AreaState.WRITING))
    assert status_of(machine)[0] is UpdateStatus.UNFINISHED


def test_a_whole_image_in_staging_waits_for_installation() -> None:
    machine = settled_machine(V1)
    machine.change_record(staging=area_record(V2, AreaState.VALID))
    assert status_of(machine)[0] is UpdateStatus.WAITING_FOR_INSTALLATION


def test_the_running_image_kept_in_staging_waits_for_nothing() -> None:
    machine = settled_machine(V2, V1)
    machine.change_record(staging=area_record(V2, AreaState.VALID))
    assert status_of(machine)[0] is UpdateStatus.COMPLETED


def test_an_update_that_was_asked_for_waits_for_restart_until_it_is_confirmed() -> None:
    machine = updating(V2)
    assert status_of(machine) == (UpdateStatus.WAITING_FOR_RESTART, LastResult.OK)
    machine.power_on()
    assert status_of(machine)[0] is UpdateStatus.WAITING_FOR_RESTART
    machine.os_confirms()
    assert status_of(machine) == (UpdateStatus.COMPLETED, LastResult.OK)


def test_a_copy_that_was_cut_off_still_waits_for_restart() -> None:
    assert status_of(in_copy(settled_machine(V1)))[0] is UpdateStatus.WAITING_FOR_RESTART


def test_an_update_that_was_thrown_back_is_unfinished_and_tells_why() -> None:
    machine = on_last_try()
    machine.power_on()
    assert status_of(machine) == (UpdateStatus.UNFINISHED, LastResult.ROLLED_BACK)
    assert "TRIAL" in update_state(machine.record).reason


def test_an_update_after_one_that_was_thrown_back_completes() -> None:
    machine = on_last_try()
    machine.power_on()
    machine.os_stages(V2, again=True)
    machine.power_on()
    machine.os_confirms()
    assert status_of(machine) == (UpdateStatus.COMPLETED, LastResult.OK)


def test_an_update_that_was_refused_is_unfinished_and_tells_why() -> None:
    machine = updating(V2)
    machine.flip(Area.STAGING, 100)
    machine.power_on()
    assert machine.record.request is Request.NONE
    assert status_of(machine) == (UpdateStatus.UNFINISHED, LastResult.FAILED)
    assert "differ" in update_state(machine.record).reason


def test_a_machine_that_runs_from_backup_was_thrown_back() -> None:
    assert status_of(degraded()) == (UpdateStatus.UNFINISHED, LastResult.ROLLED_BACK)


def test_going_back_on_request_is_no_failed_update() -> None:
    machine = settled_machine(V2, V1)
    machine.os_rolls_back()
    machine.power_on()
    assert machine.holds(Area.PRIMARY, V1)
    assert status_of(machine) == (UpdateStatus.COMPLETED, LastResult.OK)
