"""Stories on a machine in memory: first installation, healthy starts, crashes (DESIGN 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootsvc.errors import BootsvcError, ConfirmRefusedError
from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    Phase,
    Reason,
    Request,
    StatusCode,
)
from bootsvc.sequence.actions import Boot, Halt, Verify
from bootsvc.sequence.requests import staging_requested_once
from bootsvc.sequence.states import Crash
from bootsvc.units import BLOCK_SIZE
from tests.sequence.machine import (
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
    PANIC,
    TRIAL,
    cannot_start,
    phases,
)

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
    assert machine.power_on().outcome == Boot(Area.PRIMARY, alarm=Reason.KERNEL_REFUSED)


def with_staged_once() -> Machine:
    """V2 runs; V1 stands in staging and is to be started once from there."""
    machine = settled_machine(V2)
    machine.put(Area.STAGING, V1)
    machine.change_record(staging=area_record(V1, AreaState.VALID))
    machine.change_record(request=staging_requested_once(machine.record).request)
    return machine


def test_staging_is_started_once_on_request_and_cannot_confirm() -> None:
    machine = with_staged_once()
    started = machine.power_on()
    assert started.outcome == Boot(Area.STAGING)
    assert machine.runs(V1)
    assert machine.record.request is Request.NONE, "forgotten before the hand-over"
    with pytest.raises(ConfirmRefusedError):
        machine.os_confirms()
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.runs(V2)
    assert machine.record.staging.identity == V1.identity, "it can be asked for again"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"phase": Phase.DEGRADED}, "no good image that the start after it"),
        ({"phase": Phase.TRIAL}, "an update is unfinished"),
        ({"staging": AreaRecord()}, "staging holds no whole image"),
        ({"staging": area_record(V2, AreaState.VALID)}, "the image in primary already"),
        ({"failed": (V1.identity,)}, "failed on this machine before"),
    ],
    ids=str,
)
def test_staging_is_started_once_only_where_that_can_do_no_harm(
    change: dict[str, Any], words: str
) -> None:
    record = replace(with_staged_once().record, request=Request.NONE, **change)
    with pytest.raises(BootsvcError, match=words):
        staging_requested_once(record)


def test_a_staged_image_that_was_altered_is_not_started_once() -> None:
    machine = with_staged_once()
    machine.flip(Area.STAGING, 5 * BLOCK_SIZE)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.record.staging.state is AreaState.BAD
    assert machine.record.last_failure.area is Area.STAGING


def test_another_image_in_staging_than_was_asked_for_is_not_started_once() -> None:
    machine = with_staged_once()
    machine.put(Area.STAGING, V3)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)


def test_a_staged_image_that_will_not_start_gives_way_to_primary_with_an_alarm() -> None:
    machine = with_staged_once()
    machine.cannot_start = cannot_start(Area.STAGING)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, alarm=Reason.KERNEL_REFUSED)


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


# --- a block that rotted, met by the running image (dm-verity) -----------------------------------

MET_ROT = Crash(b"r" * 16, Reason.ROTTEN_BLOCK)


def test_a_primary_that_met_a_rotten_block_is_read_in_full_and_replaced_from_backup() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.PRIMARY, 5 * BLOCK_SIZE)
    machine.crash = MET_ROT
    started = machine.power_on()
    assert started.outcome == Boot(Area.PRIMARY)
    assert phases(started) == [Phase.ROT, Phase.IDLE]
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.record.failed == (), "a version does not fail because a disk forgets"
    assert machine.record.last_failure.reason == Reason.ALTERED
    assert not [one for one in machine.power_on().actions if isinstance(one, Verify)]


def test_a_rotten_block_that_reads_right_again_counts_as_any_crash() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.crash = MET_ROT
    started = machine.power_on()
    assert started.outcome == Boot(Area.PRIMARY)
    assert [type(one) for one in started.actions].count(Verify) == 1
    assert machine.record.crash_count == 1
    assert machine.record.last_failure.reason == Reason.ROTTEN_BLOCK
    assert not [one for one in machine.power_on().actions if isinstance(one, Verify)]


def test_without_a_whole_backup_a_rotten_primary_goes_on_for_its_blocks_are_checked() -> None:
    machine = settled_machine(V2, backup=V1)
    for area in (Area.PRIMARY, Area.BACKUP):
        machine.flip(area, 5 * BLOCK_SIZE)
    machine.crash = MET_ROT
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.record.crash_count == 1
