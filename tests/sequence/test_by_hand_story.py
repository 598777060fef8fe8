"""What a technician asks for at the console: read first, recorded, carried out by the table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bootsvc.errors import SequenceError, StorageError
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request, StatusCode
from bootsvc.sequence import by_hand
from bootsvc.sequence.actions import Boot, Copy, Halt, Verify
from bootsvc.sequence.runner import Runner
from bootsvc.sequence.states import Policy
from tests.sequence.machine import (
    PARTS,
    V1,
    V2,
    V3,
    Machine,
    area_record,
    new_machine,
    settled_machine,
)

TRANSACTION = b"by hand" + bytes(9)


def retry(runner: Runner) -> None:
    by_hand.retry(runner, TRANSACTION)


def refused(machine: Machine, asked: Callable[[Runner], None]) -> str:
    """What is said to somebody whose wish does not fit; nothing is written for him, and the machine
    then starts as always."""
    said: list[str] = []

    def ask_in_vain(runner: Runner) -> None:
        machine.device.log.clear()
        with pytest.raises(SequenceError) as caught:
            asked(runner)
        assert not machine.device.writes()
        said.append(str(caught.value))

    machine.power_on(ask_in_vain)
    return said[0]


def on_trial() -> Machine:
    """V2 runs; V3 was installed and is on trial, with all its tries."""
    machine = settled_machine(V2, V1)
    machine.os_stages(V3)
    machine.power_on()
    assert machine.record.phase is Phase.TRIAL
    return machine


def degraded() -> Machine:
    """V2 runs from backup; V3 in primary used up its tries, and restoring was switched off."""
    machine = settled_machine(V2, V2)
    machine.policy = Policy(tries=1, restore=False)
    machine.os_stages(V3)
    machine.power_on()
    machine.power_on()
    assert machine.record.phase is Phase.DEGRADED
    machine.policy = Policy()
    return machine


def without_way_back() -> Machine:
    """V2 in primary and V1 in backup are rotten, though V2 still starts; V3 was refused."""
    machine = settled_machine(V2, V1)
    machine.flip(Area.PRIMARY, 4096 * 7)
    machine.flip(Area.BACKUP, 4096 * 7)
    machine.os_stages(V3)
    machine.power_on()
    assert machine.record.last_failure.reason == Reason.NOTHING_TO_FALL_BACK_TO
    return machine


# --- restore ------------------------------------------------------------------------------------


def test_a_restore_puts_the_backup_over_primary_and_remembers_why() -> None:
    machine = settled_machine(V2, V1)
    started = machine.power_on(by_hand.restore)
    assert started.outcome == Boot(Area.PRIMARY)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.shape == (StatusCode.WORKING, Phase.IDLE, Area.PRIMARY)
    assert machine.record.failed == (V2.identity,)
    failure = machine.record.last_failure
    assert (failure.phase, failure.reason, failure.identity) == (
        Phase.IDLE,
        Reason.ASKED_AT_CONSOLE,
        V2.identity,
    )


def test_the_backup_is_read_once_before_it_is_named_and_not_again() -> None:
    machine = settled_machine(V2, V1)

    def restore(runner: Runner) -> None:
        machine.device.log.clear()
        by_hand.restore(runner)
        log = machine.device.log
        written = log.index(machine.device.writes()[0])
        reads = machine.device.reads_in(PARTS["backup"])
        assert reads
        assert log.index(reads[-1]) < written

    started = machine.power_on(restore)
    assert Verify(Area.BACKUP) not in started.actions
    assert Copy(Area.BACKUP, Area.PRIMARY) in started.actions


def test_restoring_the_same_image_does_not_count_it_as_failed() -> None:
    machine = settled_machine(V2, V2)
    machine.flip(Area.PRIMARY, 4096 * 5)
    machine.power_on(by_hand.restore)
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.record.failed == ()


def test_restoring_over_rot_does_not_count_the_version_as_failed() -> None:
    machine = settled_machine(V2, V1)
    machine.flip(Area.PRIMARY, 4096 * 5)

    def verify_and_restore(runner: Runner) -> None:
        runner.check(Area.PRIMARY)
        by_hand.restore(runner)

    machine.power_on(verify_and_restore)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.failed == ()


def test_a_restore_from_degraded_ends_with_the_backups_image_in_both_areas() -> None:
    machine = degraded()
    machine.power_on(by_hand.restore)
    assert machine.record.phase is Phase.IDLE
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.record.failed == (V3.identity,)


def test_a_restore_drops_an_update_that_was_asked_for() -> None:
    machine = settled_machine(V2, V1)
    machine.os_stages(V3)
    machine.power_on(by_hand.restore)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.request is Request.NONE
    assert machine.record.staging.state is AreaState.EMPTY


def test_no_restore_from_a_backup_that_does_not_verify() -> None:
    machine = settled_machine(V2, V1)
    machine.flip(Area.BACKUP, 4096 * 5)
    assert "differ from its signed digests" in refused(machine, by_hand.restore)
    assert machine.holds(Area.PRIMARY, V2)


def test_no_restore_where_a_setting_forbids_it() -> None:
    machine = settled_machine(V2, V1)
    machine.policy = Policy(restore=False)
    assert "switched off" in refused(machine, by_hand.restore)


def test_no_restore_in_the_middle_of_an_update() -> None:
    assert "phase TRIAL" in refused(on_trial(), by_hand.restore)


# --- roll back ----------------------------------------------------------------------------------


def test_rolling_back_does_not_count_the_image_as_failed() -> None:
    machine = settled_machine(V2, V1)
    machine.power_on(by_hand.roll_back)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.failed == ()
    assert machine.record.phase is Phase.IDLE


def test_no_rolling_back_to_a_backup_that_does_not_verify() -> None:
    machine = settled_machine(V2, V1)
    machine.flip(Area.BACKUP, 4096 * 5)
    assert "no whole image" in refused(machine, by_hand.roll_back)


# --- abandon ------------------------------------------------------------------------------------


def test_an_abandoned_trial_is_thrown_back_and_remembered_as_failed() -> None:
    machine = on_trial()
    started = machine.power_on(by_hand.abandon)
    assert started.outcome == Boot(Area.PRIMARY)
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.record.failed == (V3.identity,)
    assert machine.record.last_failure.reason == Reason.ASKED_AT_CONSOLE
    assert machine.record.last_failure.phase is Phase.TRIAL


def test_a_first_image_on_trial_is_not_abandoned_for_nothing() -> None:
    machine = new_machine(V1)
    machine.power_on()
    assert machine.record.phase is Phase.TRIAL
    assert "no whole image to go back to" in refused(machine, by_hand.abandon)


def test_an_abandoned_request_changes_nothing_but_the_record() -> None:
    machine = settled_machine(V2, V1)
    machine.os_stages(V3)
    started = machine.power_on(by_hand.abandon)
    assert started.outcome == Boot(Area.PRIMARY)
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.holds(Area.BACKUP, V1)
    assert machine.record.request is Request.NONE
    assert machine.record.staging.state is AreaState.VALID


def test_an_abandoned_copy_restores_and_the_image_may_come_again() -> None:
    machine = settled_machine(V2, V2)
    machine.put(Area.STAGING, V3)
    machine.change_record(
        status_code=StatusCode.BACKUP,
        phase=Phase.COPY,
        boot_area=Area.BACKUP,
        primary=area_record(V3, AreaState.WRITING),
        staging=area_record(V3, AreaState.VALID),
    )
    machine.put(Area.PRIMARY, V3)
    machine.power_on(by_hand.abandon)
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.record.failed == ()


def test_a_backup_under_way_is_finished_without_the_update() -> None:
    machine = settled_machine(V2, V1)
    machine.os_stages(V3)
    machine.change_record(phase=Phase.BACKUP, backup=area_record(V2, AreaState.WRITING))
    machine.power_on(by_hand.abandon)
    assert machine.record.phase is Phase.IDLE
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.holds(Area.BACKUP, V2)


@pytest.mark.parametrize("phase", [Phase.RESTORE, Phase.ROLLBACK, Phase.ROT])
def test_what_goes_back_already_cannot_be_abandoned(phase: Phase) -> None:
    machine = settled_machine(V2, V1)
    machine.change_record(status_code=StatusCode.BACKUP, phase=phase, boot_area=Area.BACKUP)
    assert "going back already" in refused(machine, by_hand.abandon)


def test_nothing_under_way_cannot_be_abandoned() -> None:
    assert "no update is under way" in refused(settled_machine(), by_hand.abandon)


def test_a_first_installation_cannot_be_abandoned() -> None:
    assert "nothing to go back to" in refused(new_machine(), by_hand.abandon)


# --- retry --------------------------------------------------------------------------------------


def thrown_back() -> Machine:
    """V3 used up its tries; V2 was restored. Staging still has the bytes of V3."""
    machine = settled_machine(V2, V1)
    machine.policy = Policy(tries=1)
    machine.os_stages(V3)
    machine.power_on()
    machine.power_on()
    assert machine.record.failed == (V3.identity,)
    assert machine.holds(Area.PRIMARY, V2)
    return machine


def test_a_failed_image_that_is_asked_for_again_gets_a_trial_of_its_own() -> None:
    machine = thrown_back()
    started = machine.power_on(retry)
    assert started.outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V3)
    assert machine.record.failed == ()
    assert machine.record.transaction == TRANSACTION


def test_a_staged_image_is_read_once_before_it_is_asked_for() -> None:
    started = thrown_back().power_on(retry)
    assert Verify(Area.STAGING, installing=True) not in started.actions


def test_a_refused_image_that_does_not_verify_is_refused_again() -> None:
    machine = thrown_back()
    machine.flip(Area.STAGING, 4096 * 2)
    assert "differ from its signed digests" in refused(machine, retry)
    assert machine.record.failed == (V3.identity,)


def test_the_image_that_runs_is_not_asked_for_again() -> None:
    machine = settled_machine(V2, V1)
    machine.put(Area.STAGING, V2)
    assert "runs already" in refused(machine, retry)


def test_a_machine_that_halted_installs_what_staging_holds() -> None:
    machine = new_machine(V1)
    machine.policy = Policy(tries=1)
    machine.power_on()
    assert isinstance(machine.power_on().outcome, Halt)
    assert machine.power_on(retry).outcome == Boot(Area.PRIMARY, is_trial=True)


# --- install without backup ---------------------------------------------------------------------


def test_an_update_without_a_way_back_is_installed_when_a_technician_says_so() -> None:
    machine = without_way_back()
    started = machine.power_on(by_hand.install_without_backup)
    assert started.outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V3)
    assert machine.record.last_failure.reason == Reason.ASKED_AT_CONSOLE
    machine.os_confirms()
    machine.power_on()
    assert machine.record.phase is Phase.IDLE
    assert machine.holds(Area.BACKUP, V3)


def test_a_degraded_machine_whose_backup_rotted_installs_when_a_technician_says_so() -> None:
    machine = degraded()
    machine.flip(Area.BACKUP, 4096 * 7)
    machine.change_record(failed=())
    machine.os_stages(V3)
    machine.power_on()
    assert machine.record.last_failure.reason == Reason.NOTHING_TO_FALL_BACK_TO
    assert machine.power_on(by_hand.install_without_backup).outcome == Boot(
        Area.PRIMARY, is_trial=True
    )


def test_a_whole_backup_is_not_thrown_away() -> None:
    machine = without_way_back()
    machine.put(Area.BACKUP, V1)
    assert "backup holds a whole image" in refused(machine, by_hand.install_without_backup)


def test_a_whole_primary_is_not_thrown_away() -> None:
    machine = without_way_back()
    machine.put(Area.PRIMARY, V2)
    assert "primary holds a whole image" in refused(machine, by_hand.install_without_backup)


def test_a_staged_image_that_rotted_is_not_installed_over_anything() -> None:
    machine = without_way_back()
    machine.flip(Area.STAGING, 4096)
    assert "nothing to install" in refused(machine, by_hand.install_without_backup)


def test_only_a_refused_update_is_installed_without_a_backup() -> None:
    assert "no update was refused" in refused(settled_machine(), by_hand.install_without_backup)


# --- what stands against all of it --------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [by_hand.restore, by_hand.roll_back, by_hand.abandon, retry],
    ids=lambda one: one.__name__,
)
def test_a_lost_record_is_not_written_by_hand(asked: Callable[[Runner], None]) -> None:
    machine = settled_machine(V2, V1)
    machine.device.bytes[PARTS["status"].start : PARTS["status"].stop] = bytes(len(PARTS["status"]))
    said: list[str] = []

    def ask(runner: Runner) -> None:
        with pytest.raises(SequenceError) as caught:
            asked(runner)
        said.append(str(caught.value))

    machine.device.log.clear()
    machine.power_on(ask)
    assert said == ["the record is lost"]


def test_a_record_that_cannot_be_written_is_an_error_and_backup_or_primary_still_starts() -> None:
    machine = settled_machine(V2, V1)
    machine.device.bad_writes.append(PARTS["status"])

    def restore(runner: Runner) -> None:
        with pytest.raises(StorageError):
            by_hand.restore(runner)

    assert isinstance(machine.power_on(restore).outcome, Boot)
    assert machine.runs(V2)


def test_a_record_of_another_disk_is_never_written_to() -> None:
    machine = settled_machine(V2, V1)
    machine.change_record(layout_hash=bytes(32))
    before = machine.status_bytes()
    assert "another disk" in refused(machine, by_hand.restore)
    assert machine.status_bytes() == before
