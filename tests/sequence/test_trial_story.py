"""Stories on a machine in memory (DESIGN 4): TRIAL and CONFIRM, and who may confirm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootsvc.errors import (
    BootError,
    BootsvcError,
    ConfirmRefusedError,
    DeviceError,
    SequenceError,
)
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason
from bootsvc.sequence import requests
from bootsvc.sequence.actions import Boot
from bootsvc.units import BLOCK_SIZE
from tests.sequence.machine import (
    AREA_SIZE,
    PARTS,
    V1,
    V2,
    V3,
    WHERE,
    settled_machine,
)
from tests.sequence.stories import (
    DEGRADED,
    IDLE,
    LAST_TRY,
    PANIC,
    TRIAL,
    degraded,
    in_copy,
    on_last_try,
    updating,
)

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
    assert machine.shape == TRIAL
    assert machine.record.last_failure.phase is Phase.COPY
    machine.power_on()
    assert machine.record.last_failure.phase is Phase.COPY, "the same event again"
    for _ in range(2):
        machine.power_on()
    failure = machine.record.last_failure
    assert (failure.phase, failure.reason) == (Phase.TRIAL, Reason.RESTARTED)


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
