"""Each row of DESIGN 4 and each rule beside it, as a short story on a machine in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bootsvc.errors import (
    BootError,
    BootsvcError,
    ConfirmRefusedError,
    DeviceError,
    FailedBeforeError,
    SequenceError,
)
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request, StatusCode
from bootsvc.sequence import requests
from bootsvc.sequence.actions import Boot, Copy, Halt, Verify, Write
from bootsvc.sequence.states import Crash, Policy
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE
from tests.images import Image
from tests.sequence.machine import (
    AREA_SIZE,
    PARTS,
    V1,
    V2,
    V3,
    WHERE,
    Machine,
    Started,
    area_record,
    new_machine,
    settled_machine,
)

IDLE = (StatusCode.WORKING, Phase.IDLE, Area.PRIMARY)
DEGRADED = (StatusCode.BACKUP, Phase.DEGRADED, Area.BACKUP)
TRIAL = (StatusCode.FIRST_START, Phase.TRIAL, Area.PRIMARY)
LAST_TRY = (StatusCode.BACKUP, Phase.TRIAL, Area.BACKUP)
PANIC = Crash(b"p" * 16, Reason.PANIC)


def updating(image: Image = V2) -> Machine:
    """A machine that runs v1 and was asked for ``image``."""
    machine = settled_machine(V1)
    machine.os_stages(image)
    return machine


def on_last_try() -> Machine:
    """v2 was started three times and never confirmed."""
    machine = updating()
    for _ in range(3):
        machine.power_on()
    assert machine.shape == LAST_TRY
    return machine


def degraded() -> Machine:
    machine = on_last_try()
    machine.policy = Policy(restore=False)
    machine.power_on()
    assert machine.shape == DEGRADED
    return machine


def cannot_start(*areas: Area) -> Callable[[Area], BootsvcError | None]:
    def error_for(area: Area) -> BootsvcError | None:
        return BootError("the kernel refuses") if area in areas else None

    return error_for


def phases(started: Started) -> list[Phase]:
    return [action.status.phase for action in started.actions if isinstance(action, Write)]


def kinds(started: Started) -> list[type]:
    return [type(action) for action in started.actions]


# --- INSTALL -------------------------------------------------------------------------------------


def test_a_first_installation_goes_on_trial_without_a_backup() -> None:
    machine = new_machine()
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.shape == TRIAL
    assert machine.record.backup.state is AreaState.EMPTY


def test_the_last_try_of_a_first_installation_is_not_turned_into_code_2() -> None:
    machine = new_machine()
    for _ in range(3):
        assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.record.tries_left == 0
    assert machine.shape == TRIAL


def test_a_first_installation_that_never_proves_itself_ends_in_halt() -> None:
    machine = new_machine()
    for _ in range(3):
        machine.power_on()
    assert machine.power_on().outcome == Halt(Reason.RESTARTED)
    assert machine.shape == (StatusCode.WORKING, Phase.HALT, Area.NONE)
    assert machine.record.failed == (V1.identity,)
    assert machine.power_on().outcome == Halt(Reason.RESTARTED)


def test_after_a_confirmed_first_installation_the_backup_is_filled() -> None:
    machine = new_machine()
    machine.power_on()
    machine.os_confirms()
    assert phases(machine.power_on()) == [Phase.BACKUP, Phase.IDLE]
    assert machine.shape == IDLE
    assert machine.holds(Area.BACKUP, V1)


def test_a_refused_first_image_is_not_checked_again_and_the_reason_stays() -> None:
    machine = new_machine()
    machine.flip(Area.STAGING, 100)
    assert machine.power_on().outcome == Halt(Reason.ALTERED)
    machine.device.log.clear()
    assert machine.power_on().outcome == Halt(Reason.ALTERED)
    assert not machine.device.reads_in(WHERE[Area.STAGING])


def test_a_machine_whose_first_image_was_refused_takes_another_one() -> None:
    machine = new_machine()
    machine.flip(Area.STAGING, 100)
    machine.power_on()
    machine.os_stages(V2)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.holds(Area.PRIMARY, V2)


# --- IDLE ----------------------------------------------------------------------------------------


def test_a_healthy_start_reads_little_and_writes_nothing() -> None:
    machine = settled_machine(V2, backup=V1)
    before = bytes(machine.device.bytes)
    for _ in range(10):
        assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert bytes(machine.device.bytes) == before
    assert not machine.device.writes()
    content = range(WHERE[Area.PRIMARY].start, WHERE[Area.PRIMARY].start + len(V2.content))
    assert not machine.device.reads_in(content), "a healthy start reads footers only"
    assert not machine.device.reads_in(WHERE[Area.BACKUP])


def test_a_crash_is_counted_once_and_a_confirmed_start_clears_the_count() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.crash = PANIC
    machine.power_on()
    machine.power_on()
    assert machine.record.crash_count == 1
    assert machine.record.last_failure.reason == Reason.PANIC
    machine.os_confirms()
    assert machine.record.crash_count == 0
    machine.power_on()
    assert machine.record.crash_count == 0, "the same event again"


def test_at_the_crash_limit_the_backup_takes_over() -> None:
    machine = settled_machine(V2, backup=V1)
    for number in range(5):
        machine.crash = Crash(bytes([number + 1]) * 16, Reason.WATCHDOG)
        started = machine.power_on()
    assert started.outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert machine.record.last_failure.reason == Reason.CRASHES


def test_a_crash_limit_without_a_whole_backup_goes_on_with_primary() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.BACKUP, 0)
    machine.change_record(crash_count=5)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)


def test_the_backup_is_started_once_on_request_and_cannot_confirm() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.change_record(request=Request.BOOT_BACKUP_ONCE)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.runs(V1)
    with pytest.raises(ConfirmRefusedError):
        machine.os_confirms()
    assert machine.power_on().outcome == Boot(Area.PRIMARY)


def test_a_backup_asked_for_once_that_will_not_start_gives_way_to_primary() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.cannot_start = cannot_start(Area.BACKUP)
    machine.change_record(request=Request.BOOT_BACKUP_ONCE)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)


def test_another_whole_image_in_primary_makes_the_record_stale_and_starts_on_trial() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.put(Area.PRIMARY, V3)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.record.primary.identity == V3.identity
    assert machine.record.last_failure.reason == Reason.STATUS_LOST


def test_another_image_that_failed_here_before_is_not_tried_but_replaced_from_backup() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.put(Area.PRIMARY, V3)
    machine.change_record(failed=(V3.identity,))
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.failed == (V3.identity,)


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


def in_copy(machine: Machine) -> Machine:
    """The machine was cut off in COPY: half of v2 stands in primary, v1 in backup."""
    machine.os_stages(V2)
    machine.change_record(
        status_code=StatusCode.BACKUP,
        phase=Phase.COPY,
        boot_area=Area.BACKUP,
        request=Request.NONE,
        primary=area_record(V2, AreaState.WRITING),
        backup=area_record(V1, AreaState.VALID),
    )
    machine.overwrite(Area.PRIMARY, 0, V2.content[: 7 * BLOCK_SIZE])
    return machine


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


# --- TRIAL, CONFIRM ------------------------------------------------------------------------------


def test_every_trial_start_costs_one_try_and_the_last_one_sets_code_2_first() -> None:
    machine = updating()
    seen = []
    for _ in range(3):
        assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
        seen.append((machine.record.tries_left, machine.shape))
    assert seen == [(2, TRIAL), (1, TRIAL), (0, LAST_TRY)]


def test_a_confirmed_image_becomes_the_working_image_and_raises_the_floor() -> None:
    machine = updating()
    machine.power_on()
    assert machine.record.version_floor == 0
    machine.os_confirms()
    record = machine.record
    assert machine.shape == IDLE
    assert record.version_floor == V2.manifest.floor == 1
    assert record.primary.state is AreaState.CONFIRMED
    assert record.staging.state is AreaState.EMPTY
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.holds(Area.BACKUP, V1), "the backup keeps the previous image"


def test_an_image_may_still_confirm_on_its_last_try() -> None:
    machine = on_last_try()
    machine.os_confirms()
    assert machine.shape == IDLE


def test_confirming_twice_is_the_same_as_once() -> None:
    machine = updating()
    machine.power_on()
    machine.os_confirms()
    machine.device.log.clear()
    machine.os_confirms()
    assert not machine.device.writes()


def test_a_try_that_cannot_be_recorded_boots_the_backup() -> None:
    machine = updating()
    machine.power_on()
    machine.device.bad_writes = [PARTS["status"]]
    assert machine.power_on().outcome == Boot(Area.BACKUP, alarm=Reason.IO_ERROR)
    assert machine.runs(V1)


def test_a_kernel_that_cannot_be_loaded_counts_as_a_failed_try_and_names_its_reason() -> None:
    machine = updating()
    refused = [Area.PRIMARY]

    def refuses_v2(area: Area) -> BootsvcError | None:
        is_new = machine.holds(Area.PRIMARY, V2)
        return BootError("no kernel") if area in refused and is_new else None

    machine.cannot_start = refuses_v2
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.runs(V1)
    failure = machine.record.last_failure
    assert (failure.phase, failure.reason) == (Phase.TRIAL, Reason.KERNEL_REFUSED)
    assert machine.record.failed == (V2.identity,)


def test_a_panic_on_trial_is_the_reason_that_is_kept() -> None:
    machine = updating()
    machine.power_on()
    machine.crash = PANIC
    for _ in range(3):
        machine.power_on()
    failure = machine.record.last_failure
    assert (failure.phase, failure.reason) == (Phase.TRIAL, Reason.PANIC)
    assert failure.identity == V2.identity
    assert machine.record.crash_count == 0, "the working image is not to blame"


def test_a_crash_from_before_the_trial_is_not_held_against_the_new_image() -> None:
    machine = in_copy(settled_machine(V1))
    machine.crash = PANIC
    machine.power_on()
    assert machine.record.last_failure.reason == Reason.NONE


def test_the_reason_that_the_running_image_gave_for_its_failure_is_kept() -> None:
    machine = updating()
    for _ in range(3):
        machine.power_on()
        assert machine.running is not None
        store = machine.disk.status
        rejected = requests.rejected(store.read(), machine.running, Reason.HEALTH_CHECK, 7)
        store.replace(rejected)
    machine.power_on()
    assert machine.record.last_failure.reason == Reason.HEALTH_CHECK
    assert machine.record.last_failure.time_s == 7


def test_the_reason_of_an_earlier_trial_is_not_told_again_for_a_later_one() -> None:
    machine = updating()
    machine.crash = PANIC
    for _ in range(4):
        machine.power_on()
    machine.crash = None
    machine.os_stages(V2, again=True)
    for _ in range(4):
        machine.power_on()
    assert machine.record.last_failure.reason == Reason.RESTARTED


def test_an_image_that_rots_on_trial_is_given_up() -> None:
    machine = updating()
    machine.power_on()
    machine.overwrite(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE, bytes(BLOCK_SIZE))
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.runs(V1)
    assert machine.record.last_failure.reason == Reason.NO_IMAGE


def test_an_io_error_on_trial_does_not_put_the_image_on_the_list_of_failed_ones() -> None:
    machine = updating()
    machine.power_on()
    end = WHERE[Area.PRIMARY].stop
    machine.device.bad_reads = [range(end - BLOCK_SIZE, end)]
    machine.power_on()
    assert machine.record.failed == ()
    assert machine.shape == DEGRADED


def test_a_kernel_that_cannot_be_read_does_not_put_the_image_on_the_list_either() -> None:
    machine = updating()

    def unreadable(area: Area) -> BootsvcError | None:
        is_new = area is Area.PRIMARY and machine.holds(Area.PRIMARY, V2)
        return DeviceError("disk", "read", 0, 5, "I/O error") if is_new else None

    machine.cannot_start = unreadable
    machine.power_on()
    assert machine.runs(V1)
    assert machine.record.failed == ()
    assert machine.record.last_failure.reason == Reason.IO_ERROR


# --- only the right OS confirms ------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"area": Area.BACKUP}, {"identity": V1.identity}, {"transaction": b"x" * 16}],
    ids=["area", "identity", "transaction"],
)
def test_confirm_is_refused_unless_area_identity_and_transaction_fit(
    wrong: dict[str, object],
) -> None:
    machine = updating()
    machine.power_on()
    assert machine.running is not None
    machine.running = replace(machine.running, **wrong)  # type: ignore[arg-type]
    before = machine.status_bytes()
    with pytest.raises(ConfirmRefusedError):
        machine.os_confirms()
    assert machine.status_bytes() == before


def test_the_backups_own_os_cannot_confirm_the_failed_image() -> None:
    machine = degraded()
    assert machine.running is not None
    assert machine.running.area is Area.BACKUP
    with pytest.raises(ConfirmRefusedError):
        machine.os_confirms()


def test_staging_is_refused_while_an_update_is_unfinished() -> None:
    machine = updating()
    machine.power_on()
    with pytest.raises(SequenceError):
        machine.os_stages(V3)


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
    assert machine.power_on().outcome == Halt(Reason.ALTERED)


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


def test_a_first_image_that_rots_on_trial_halts_with_that_reason() -> None:
    machine = new_machine()
    machine.power_on()
    machine.overwrite(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE, bytes(BLOCK_SIZE))
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
