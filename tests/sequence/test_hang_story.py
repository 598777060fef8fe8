"""Stories on a machine in memory: the watchdog ended the updater's own work (DESIGN 5)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request, StatusCode
from bootsvc.sequence.actions import Boot, Halt
from bootsvc.sequence.states import Crash
from tests.sequence.machine import (
    PARTS,
    V1,
    V2,
    V3,
    WHERE,
    Machine,
    Started,
    new_machine,
    settled_machine,
)
from tests.sequence.stories import DEGRADED, IDLE, TRIAL, degraded, in_copy, updating

_EVENTS = count(1)


class HangError(Exception):
    """The machine stands still; the watchdog will reset it."""


def hang_at(machine: Machine, area: Area, *, writing: bool = False) -> Callable[[], None]:
    """From now on the disk never answers where ``area`` is written, or where its first block is
    read: footers can be. Gives the end of that."""
    device, where = machine.device, WHERE[area]
    read_at, write_at = device.read_at, device.write_at

    def stuck_read(offset: int, length: int) -> bytes:
        if offset <= where.start < offset + length:
            raise HangError
        return read_at(offset, length)

    def stuck_write(offset: int, data: bytes) -> None:
        if offset in where:
            raise HangError
        write_at(offset, data)

    name = "write_at" if writing else "read_at"
    setattr(device, name, stuck_write if writing else stuck_read)
    return lambda: delattr(device, name)


def reset_by_watchdog(machine: Machine) -> None:
    """The start that follows finds the watchdog's evidence, of an event of its own."""
    machine.crash = Crash(next(_EVENTS).to_bytes(16, "little"), Reason.WATCHDOG)


def hangs(machine: Machine) -> None:
    """A start that never ends; the watchdog resets the machine."""
    with pytest.raises(HangError):
        machine.power_on()
    reset_by_watchdog(machine)


def last_failure(machine: Machine) -> tuple[Phase, int, Area, int]:
    failure = machine.record.last_failure
    return failure.phase, failure.reason, failure.area, failure.number


def power_on_quietly(machine: Machine) -> Started:
    """A start with nothing behind it but a power cut."""
    machine.crash = None
    return machine.power_on()


# --- what hangs once -----------------------------------------------------------------------------


def test_a_backup_that_hung_once_is_begun_again_and_the_update_goes_on() -> None:
    machine = updating()
    machine.put(Area.BACKUP, V3)  # so that there is something to write
    heal = hang_at(machine, Area.BACKUP, writing=True)
    hangs(machine)
    heal()
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.holds(Area.BACKUP, V1)
    assert last_failure(machine) == (Phase.BACKUP, Reason.WATCHDOG, Area.BACKUP, V1.number)
    assert machine.record.crash_count == 0, "nothing is held against the image on trial"


def test_a_copy_that_hung_once_is_begun_again_and_the_update_goes_on() -> None:
    machine = updating()
    heal = hang_at(machine, Area.PRIMARY, writing=True)
    hangs(machine)
    heal()
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.shape == TRIAL
    assert last_failure(machine) == (Phase.COPY, Reason.WATCHDOG, Area.PRIMARY, V2.number)


def test_one_event_is_counted_once_however_often_it_is_seen() -> None:
    machine = in_copy(settled_machine(V1))
    reset_by_watchdog(machine)
    heal = hang_at(machine, Area.PRIMARY, writing=True)
    for _ in range(5):
        with pytest.raises(HangError):
            machine.power_on()
    assert machine.record.phase is Phase.COPY
    assert machine.record.crash_count == 1
    heal()


def test_power_cuts_use_up_nothing() -> None:
    machine = in_copy(settled_machine(V1))
    heal = hang_at(machine, Area.PRIMARY, writing=True)
    for _ in range(50):
        with pytest.raises(HangError):
            power_on_quietly(machine)
    assert machine.record.crash_count == 0
    heal()
    assert power_on_quietly(machine).outcome == Boot(Area.PRIMARY, is_trial=True)


def test_each_phase_counts_its_own_hangs() -> None:
    machine = updating()
    machine.put(Area.BACKUP, V3)
    heal = hang_at(machine, Area.BACKUP, writing=True)
    hangs(machine)
    heal()
    heal = hang_at(machine, Area.PRIMARY, writing=True)
    hangs(machine)
    heal()
    assert machine.record.phase is Phase.COPY
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


# --- what hangs again ----------------------------------------------------------------------------


def test_a_backup_that_hangs_again_drops_the_update_and_primary_starts() -> None:
    machine = updating()
    machine.put(Area.BACKUP, V3)
    hang_at(machine, Area.BACKUP, writing=True)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.record.request is Request.NONE
    assert machine.record.backup.state is AreaState.BAD
    assert machine.record.crash_count == 0, "the running image is not to blame"
    assert last_failure(machine) == (Phase.BACKUP, Reason.WATCHDOG, Area.BACKUP, V1.number)
    assert power_on_quietly(machine).outcome == Boot(Area.PRIMARY)


def test_a_copy_that_hangs_again_is_given_up_and_the_backup_restored() -> None:
    machine = updating()
    heal = hang_at(machine, Area.STAGING)
    in_copy(machine)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.holds(Area.PRIMARY, V1)
    assert last_failure(machine) == (Phase.COPY, Reason.WATCHDOG, Area.PRIMARY, V2.number)
    assert not machine.record.failed, "a disk that hangs says nothing of an image"
    heal()


def test_a_primary_that_cannot_be_written_is_left_alone_and_the_backup_starts() -> None:
    machine = in_copy(settled_machine(V1))
    hang_at(machine, Area.PRIMARY, writing=True)
    for _ in range(4):
        hangs(machine)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert last_failure(machine)[:2] == (Phase.RESTORE, Reason.WATCHDOG)
    assert power_on_quietly(machine).outcome == Boot(Area.BACKUP)


def test_a_rollback_that_hangs_again_leaves_the_backup_running() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.os_rolls_back()
    hang_at(machine, Area.PRIMARY, writing=True)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert last_failure(machine)[:2] == (Phase.ROLLBACK, Reason.WATCHDOG)


def test_a_rotten_primary_whose_repair_hangs_again_is_left_alone() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.overwrite(Area.PRIMARY, len(WHERE[Area.PRIMARY]) - 4096, bytes(4096))
    hang_at(machine, Area.PRIMARY, writing=True)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert last_failure(machine)[:2] == (Phase.ROT, Reason.WATCHDOG)


def test_a_first_installation_that_hangs_again_ends_in_halt_with_the_reason() -> None:
    machine = new_machine()
    hang_at(machine, Area.PRIMARY, writing=True)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Halt(Reason.WATCHDOG)
    assert machine.shape == (StatusCode.WORKING, Phase.HALT, Area.NONE)
    assert last_failure(machine) == (Phase.INSTALL, Reason.WATCHDOG, Area.PRIMARY, V1.number)


# --- CHECK, where nothing is written yet ---------------------------------------------------------


@pytest.mark.parametrize("stuck", [Area.STAGING, Area.PRIMARY])
def test_a_check_that_hangs_again_refuses_the_update_and_not_the_running_image(stuck: Area) -> None:
    machine = updating()
    heal = hang_at(machine, stuck)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.shape == IDLE
    assert machine.record.request is Request.NONE
    assert machine.record.crash_count == 0
    assert last_failure(machine) == (Phase.CHECK, Reason.WATCHDOG, Area.STAGING, V2.number)
    heal()


def test_a_rollback_whose_backup_cannot_be_read_is_refused_after_the_second_hang() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.os_rolls_back()
    hang_at(machine, Area.BACKUP)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.record.request is Request.NONE
    assert last_failure(machine)[:2] == (Phase.ROLLBACK, Reason.WATCHDOG)


def test_a_degraded_machine_refuses_an_update_whose_check_hangs_again() -> None:
    machine = degraded()
    machine.os_stages(V3)
    heal = hang_at(machine, Area.STAGING)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert machine.record.request is Request.NONE
    assert last_failure(machine) == (Phase.CHECK, Reason.WATCHDOG, Area.STAGING, V3.number)
    heal()


def test_crashes_from_before_an_update_was_asked_for_do_not_refuse_it() -> None:
    machine = settled_machine(V1)
    for _ in range(3):
        reset_by_watchdog(machine)
        machine.power_on()
    assert machine.record.crash_count == 3
    machine.os_stages(V2)
    reset_by_watchdog(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


# --- evidence that stands for something else -----------------------------------------------------


def test_a_degraded_machines_crash_is_not_counted_as_a_hang_of_the_copy_that_follows() -> None:
    machine = degraded()
    machine.os_stages(V3)
    reset_by_watchdog(machine)
    heal = hang_at(machine, Area.PRIMARY, writing=True)
    with pytest.raises(HangError):
        machine.power_on()
    assert machine.record.phase is Phase.COPY
    assert machine.record.crash_count == 0
    heal()


def test_a_backup_that_hangs_when_it_is_needed_leaves_the_crashing_primary_running() -> None:
    machine = settled_machine(V2, backup=V1)
    for _ in range(4):
        reset_by_watchdog(machine)
        assert machine.power_on().outcome == Boot(Area.PRIMARY)
    reset_by_watchdog(machine)
    heal = hang_at(machine, Area.BACKUP)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY), "better than to read for ever"
    assert machine.shape == IDLE
    heal()


def test_a_backup_that_cannot_be_filled_because_reading_hangs_waits_for_a_confirmed_start() -> None:
    machine = new_machine()
    machine.power_on()
    machine.os_confirms()
    heal = hang_at(machine, Area.PRIMARY)
    hangs(machine)
    hangs(machine)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    heal()
    machine.os_confirms()
    power_on_quietly(machine)
    assert machine.holds(Area.BACKUP, V1)


def test_a_hang_whose_count_cannot_be_written_starts_what_the_record_names() -> None:
    machine = in_copy(settled_machine(V1))
    reset_by_watchdog(machine)
    machine.device.bad_writes = [PARTS["status"]]
    assert machine.power_on().outcome == Boot(Area.BACKUP, alarm=Reason.IO_ERROR)


def test_a_thousand_clean_power_cycles_write_nothing() -> None:
    machine = settled_machine(V2, backup=V1)
    before = bytes(machine.device.bytes)
    machine.device.log.clear()
    for _ in range(1000):
        assert machine.power_on().outcome == Boot(Area.PRIMARY)
        assert not machine.device.writes()
        machine.device.log.clear()
    assert bytes(machine.device.bytes) == before
