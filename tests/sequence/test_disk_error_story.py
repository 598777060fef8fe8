"""Stories on a machine in memory (DESIGN 3, 4): a disk that fails once, or stays broken."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest

from bootsvc.errors import BootError, BootsvcError
from bootsvc.formats.boot_status import Area, AreaState, Failure, Phase, Reason, Request, StatusCode
from bootsvc.sequence.actions import Boot, Copy, Halt
from bootsvc.units import BLOCK_SIZE
from tests.sequence.machine import (
    AREA_SIZE,
    PARTS,
    V1,
    V2,
    V3,
    WHERE,
    Machine,
    new_machine,
    settled_machine,
)
from tests.sequence.stories import DEGRADED, IDLE, degraded, in_copy, on_last_try, phases, updating
from tests.storage.memory import MemoryDevice


class FailsOnce(MemoryDevice):
    """The first read that meets ``once`` fails; after that the disk is as good as before."""

    once: range = range(0)

    def read_at(self, offset: int, length: int) -> bytes:
        where = self.once
        if offset < where.stop and where.start < offset + length:
            self.once = range(0)
            self._fail([where], "read", offset, length)
        return super().read_at(offset, length)


class HealsWhenWritten(MemoryDevice):
    """A bad sector is replaced by another one when it is written."""

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        end = offset + len(data)
        self.bad_reads = [
            one for one in self.bad_reads if not (offset <= one.start and one.stop <= end)
        ]
        super().write_at(offset, data)


class HealsWhenRead(MemoryDevice):
    """The footer in backup is read wrongly once; ``good`` is what really stands in that area."""

    good: bytes = b""

    def read_at(self, offset: int, length: int) -> bytes:
        data = super().read_at(offset, length)
        where = WHERE[Area.BACKUP]
        if offset in where and length != BLOCK_SIZE:
            self.bytes[where.start : where.stop] = self.good
        return data


def footer_of(area: Area) -> range:
    where = WHERE[area]
    return range(where.stop - BLOCK_SIZE, where.stop)


def sector_of(area: Area, block: int) -> range:
    start = WHERE[area].start + block * BLOCK_SIZE
    return range(start, start + 512)


def fails_once(machine: Machine, where: range) -> Machine:
    device = FailsOnce(machine.device.bytes)
    device.once = where
    return replace(machine, device=device)


def named(machine: Machine) -> tuple[Phase, int, Area, int]:
    failure = machine.record.last_failure
    return failure.phase, failure.reason, failure.area, failure.errno


# --- one read that fails is no evidence ----------------------------------------------------------


def test_a_footer_that_cannot_be_read_once_costs_a_healthy_machine_nothing() -> None:
    machine = fails_once(settled_machine(V2, backup=V1), footer_of(Area.PRIMARY))
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.runs(V2)
    assert not machine.device.writes()


def test_a_footer_that_cannot_be_read_once_costs_no_trial() -> None:
    machine = updating()
    machine.power_on()
    machine = fails_once(machine, footer_of(Area.PRIMARY))
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V2)


def test_a_degraded_machine_whose_backup_cannot_be_read_once_does_not_halt() -> None:
    machine = degraded()
    machine.flip(Area.PRIMARY, 0)
    machine = fails_once(machine, footer_of(Area.BACKUP))
    assert machine.power_on().outcome == Boot(Area.BACKUP)


def test_a_footer_that_stays_unreadable_is_rot_with_the_error_number() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.device.bad_reads = [footer_of(Area.PRIMARY)]
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.shape == DEGRADED
    assert machine.record.last_failure.errno == errno.EIO
    assert machine.record.failed == ()


def test_an_unreadable_sector_that_is_to_be_overwritten_is_written_and_not_given_up() -> None:
    machine = replace(updating(), device=HealsWhenWritten(updating().device.bytes))
    machine.device.bad_reads = [sector_of(Area.BACKUP, 2), sector_of(Area.BACKUP, 17)]
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.holds(Area.BACKUP, V1)
    assert machine.holds(Area.PRIMARY, V2)


def test_an_unreadable_footer_that_is_to_be_overwritten_is_written_and_not_given_up() -> None:
    machine = on_last_try()
    machine = replace(machine, device=HealsWhenWritten(machine.device.bytes))
    machine.device.bad_reads = [footer_of(Area.PRIMARY)]
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.holds(Area.PRIMARY, V1)


def test_an_unreadable_sector_that_stays_so_is_found_when_the_copy_is_read_back() -> None:
    machine = on_last_try()
    machine.device.bad_reads = [sector_of(Area.PRIMARY, 2)]
    started = machine.power_on()
    assert started.actions.count(Copy(Area.BACKUP, Area.PRIMARY)) == 4
    assert machine.shape == DEGRADED
    assert named(machine) == (Phase.RESTORE, Reason.IO_ERROR, Area.PRIMARY, errno.EIO)


# --- whoever halts leaves the reason in the record ------------------------------------------------


def test_an_installation_on_a_failing_disk_halts_with_its_reason_in_the_record() -> None:
    machine = new_machine()
    machine.device.bad_writes = [WHERE[Area.PRIMARY]]
    started = machine.power_on()
    assert started.outcome == Halt(Reason.IO_ERROR)
    assert started.actions.count(Copy(Area.STAGING, Area.PRIMARY)) == 1
    assert machine.record.phase is Phase.INSTALL
    assert named(machine) == (Phase.INSTALL, Reason.IO_ERROR, Area.PRIMARY, errno.EIO)
    assert machine.record.last_failure.identity == V1.identity


def test_a_halt_is_written_down_once_however_often_it_comes() -> None:
    machine = new_machine()
    machine.device.bad_writes = [WHERE[Area.PRIMARY]]
    machine.power_on()
    machine.device.log.clear()
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)
    assert not machine.device.writes()


def test_a_first_image_that_cannot_be_read_is_not_refused_but_tried_again() -> None:
    machine = fails_once(new_machine(), sector_of(Area.STAGING, 3))
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)
    assert named(machine) == (Phase.INSTALL, Reason.IO_ERROR, Area.STAGING, errno.EIO)
    assert machine.record.staging.state is AreaState.VALID
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


def test_a_rotten_primary_with_an_unreadable_backup_halts_and_names_the_disk() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.flip(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE)
    machine.device.bad_reads = [sector_of(Area.BACKUP, 4)]
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)
    assert named(machine) == (Phase.IDLE, Reason.IO_ERROR, Area.BACKUP, errno.EIO)


@pytest.mark.parametrize("phase", [Phase.RESTORE, Phase.ROLLBACK, Phase.DEGRADED])
def test_a_machine_that_has_nothing_whole_halts_with_its_reason_in_the_record(
    phase: Phase,
) -> None:
    machine = settled_machine(V2, backup=V1)
    machine.change_record(status_code=StatusCode.BACKUP, phase=phase, boot_area=Area.BACKUP)
    machine.flip(Area.PRIMARY, 0)
    machine.device.bad_reads = [footer_of(Area.BACKUP)]
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)
    assert named(machine) == (phase, Reason.IO_ERROR, Area.BACKUP, errno.EIO)


def test_an_update_without_a_readable_way_back_is_refused_with_the_error_number() -> None:
    machine = degraded()
    machine.os_stages(V3)
    machine.device.bad_reads = [sector_of(Area.BACKUP, 4)]
    machine.power_on()
    wanted = (Phase.CHECK, Reason.NOTHING_TO_FALL_BACK_TO, Area.BACKUP, errno.EIO)
    assert named(machine) == wanted


def test_a_backup_that_is_lost_while_primary_is_half_written_is_named_when_staging_takes_over() -> (
    None
):
    machine = in_copy(settled_machine(V1))
    machine.device.bad_reads = [sector_of(Area.BACKUP, 4)]
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V2)
    assert named(machine) == (Phase.COPY, Reason.IO_ERROR, Area.BACKUP, errno.EIO)


# --- a whole image anywhere is found -------------------------------------------------------------


def test_a_rotten_primary_without_a_backup_is_installed_anew_from_staging() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.put(Area.STAGING, V2)
    machine.flip(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE)
    machine.flip(Area.BACKUP, 0)
    started = machine.power_on()
    assert phases(started)[:2] == [Phase.INSTALL, Phase.TRIAL]
    assert started.outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V2)
    assert machine.record.last_failure.phase is Phase.ROT
    machine.os_confirms()
    machine.power_on()
    assert machine.shape == IDLE
    assert machine.holds(Area.BACKUP, V2)


def test_what_staging_holds_is_not_installed_over_rot_where_it_may_not_be() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.put(Area.STAGING, V3)
    machine.change_record(failed=(V3.identity,))
    machine.flip(Area.PRIMARY, AREA_SIZE - BLOCK_SIZE)
    machine.flip(Area.BACKUP, 0)
    assert isinstance(machine.power_on().outcome, Halt)


def test_a_first_image_that_cannot_be_read_on_trial_is_installed_again() -> None:
    machine = new_machine()
    machine.power_on()
    machine = replace(machine, device=HealsWhenWritten(machine.device.bytes))
    machine.device.bad_reads = [footer_of(Area.PRIMARY)]
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V1)
    assert named(machine) == (Phase.ROT, Reason.IO_ERROR, Area.PRIMARY, errno.EIO)
    assert machine.record.failed == ()


@pytest.mark.parametrize("phase", [Phase.RESTORE, Phase.ROLLBACK])
def test_a_record_that_cannot_be_written_with_a_bad_backup_starts_a_whole_primary(
    phase: Phase,
) -> None:
    machine = settled_machine(V2, backup=V1)
    machine.change_record(status_code=StatusCode.BACKUP, phase=phase, boot_area=Area.BACKUP)
    machine.flip(Area.BACKUP, 0)
    machine.device.bytes[PARTS["status"].start] ^= 1
    machine.device.bad_writes = [PARTS["status"]]
    assert machine.power_on().outcome == Boot(Area.PRIMARY, alarm=Reason.IO_ERROR)
    assert machine.runs(V2)


def test_a_try_that_cannot_be_recorded_is_not_made_although_there_is_no_backup() -> None:
    machine = new_machine()
    machine.power_on()
    machine.device.bad_writes = [PARTS["status"]]
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)


def test_a_degraded_machine_with_another_whole_image_in_backup_starts_that() -> None:
    machine = degraded()
    machine.put(Area.BACKUP, V3)
    machine.flip(Area.PRIMARY, 0)
    assert machine.power_on().outcome == Boot(Area.BACKUP, alarm=Reason.STATUS_LOST)
    assert machine.runs(V3)


def test_a_footer_that_names_another_image_once_does_not_bring_a_failed_image_back() -> None:
    machine = degraded()
    machine.put(Area.BACKUP, V3)
    device = HealsWhenRead(machine.device.bytes)
    device.good = V1.in_area(AREA_SIZE)
    machine = replace(machine, device=device)
    assert machine.power_on().outcome == Boot(Area.BACKUP)
    assert machine.runs(V1)


# --- a hand-over that the disk prevents ----------------------------------------------------------


def cannot_load(_: Area) -> BootsvcError:
    """As the hand-over says it when a file of the image cannot be read."""
    error = BootError("/boot/vmlinuz: cannot be read")
    error.__cause__ = OSError(errno.EIO, os.strerror(errno.EIO))
    return error


def test_a_kernel_that_cannot_be_read_on_trial_marks_no_image_as_failed() -> None:
    machine = updating()
    machine.cannot_start = lambda area: cannot_load(area) if area is Area.PRIMARY else None
    assert machine.power_on().outcome == Boot(Area.BACKUP, alarm=Reason.KERNEL_REFUSED)
    assert machine.record.failed == ()
    wanted = (Phase.TRIAL, Reason.IO_ERROR, Area.PRIMARY, errno.EIO)
    assert named(machine) == wanted
    assert machine.record.request is Request.NONE
    assert machine.record.last_failure != Failure()


def test_a_kernel_that_cannot_be_read_once_costs_one_try() -> None:
    machine = updating()
    failures = [cannot_load(Area.PRIMARY)]
    machine.cannot_start = lambda _: failures.pop() if failures else None
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.record.tries_left == 1
    assert named(machine) == (Phase.TRIAL, Reason.IO_ERROR, Area.PRIMARY, errno.EIO)


def test_a_first_image_that_is_whole_and_never_loads_halts_without_being_marked_as_failed() -> None:
    machine = new_machine()
    machine.cannot_start = cannot_load
    assert machine.power_on().outcome == Halt(Reason.IO_ERROR)
    assert machine.record.phase is Phase.HALT
    assert machine.record.failed == ()


def test_a_primary_that_cannot_be_read_for_its_first_backup_is_named_once_and_started() -> None:
    machine = new_machine()
    machine.power_on()
    machine.os_confirms()
    machine.device.bad_reads = [sector_of(Area.PRIMARY, 2)]
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert named(machine) == (Phase.BACKUP, Reason.IO_ERROR, Area.PRIMARY, errno.EIO)
    machine.device.log.clear()
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert not machine.device.writes()
    machine.device.bad_reads = []
    machine.power_on()
    assert machine.holds(Area.BACKUP, V1)
