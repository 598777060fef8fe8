"""Damaged records, rotten areas, failing disks."""

import os

import pytest

from qemu_lab import Stage
from qemu_lab.images.products import ProbeImage
from qemu_lab.subject import ProbeMaker

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
V1_KEXEC = ProbeImage(1, method="kexec")
SECOND_COPY = 2 * 2**20


def test_one_destroyed_copy_of_the_record_is_repaired(probe: ProbeMaker) -> None:
    """Back end: switch_root."""
    machine = probe(V1)
    before = machine.status_partition()
    machine.damage("bootsvc-status", 0, os.urandom(512))
    machine.power_on()
    machine.vm.console.wait_for_text("has been repaired", 90)
    machine.runs(1)
    machine.power_cut()
    assert machine.status_partition() == before


def test_with_both_copies_of_the_record_destroyed_the_areas_decide(probe: ProbeMaker) -> None:
    """Back end: switch_root. Both areas verify, so primary starts on trial."""
    machine = probe(V1)
    for copy in (0, SECOND_COPY):
        machine.damage("bootsvc-status", copy, bytes(512))
    machine.power_on()
    machine.vm.console.wait_for_text("status lost", 90)
    machine.runs(1, trial=True)
    machine.confirm()
    assert machine.failure()[1] == "status_lost"
    machine.power_cut()
    assert (machine.record().code, machine.record().phase) == (1, "idle")


def test_a_failed_image_does_not_come_back_when_the_record_is_lost(probe: ProbeMaker) -> None:
    """Back end: switch_root. Version 2 stands whole in primary, and only data knows it failed."""
    machine = probe(V1, update=V2, options="bootsvc.tries=1")
    machine.power_on()
    machine.runs(1)
    machine.stage()
    machine.restart()
    machine.runs(2, trial=True)
    machine.restart()
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    machine.confirm()
    machine.power_cut()
    machine.put("primary", V2.path)
    for copy in (0, SECOND_COPY):
        machine.damage("bootsvc-status", copy, bytes(512))
    machine.power_on()
    machine.vm.console.wait_for_text("data remembers 1 failed images", 90)
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    machine.power_cut()
    assert machine.holds("primary", V1.path)


def test_a_primary_that_rotted_in_its_kernel_is_replaced_by_the_backup(probe: ProbeMaker) -> None:
    """Back end: kexec: the kernel is checked before it is loaded."""
    machine = probe(V1_KEXEC)
    for offset in range(4096, 12_000_000, 65536):
        machine.damage("bootsvc-primary", offset, b"\xff\x00\xff\x00")
    machine.power_on()
    machine.wait(Stage.ROT)
    machine.runs(1)
    assert machine.failure()[0] == "rot"
    machine.power_cut()
    assert machine.holds("primary", V1_KEXEC.path)
    assert (machine.record().code, machine.record().phase) == (1, "idle")


@pytest.mark.thorough
def test_a_staging_area_that_cannot_be_read_is_refused_with_its_reason(probe: ProbeMaker) -> None:
    """Back end: switch_root."""
    machine = probe(V1)
    assert machine.stage_from_outside(V2.path).returncode == 0
    start, _ = machine.range_of("bootsvc-staging")
    machine.power_on()
    machine.wait(Stage.KERNEL)
    machine.vm.faults.io_error(0, start + 8 * 2**20, 2**20, operations=("read",))
    machine.wait(Stage.REFUSED)
    machine.runs(1)
    last = machine.status()["last_failure"]
    assert (last["phase"], last["reason"], last["area"]) == ("check", "io_error", "staging")
    assert last["errno"] == 5


@pytest.mark.thorough
def test_a_backup_area_that_cannot_be_written_ends_the_update_with_its_reason(
    probe: ProbeMaker,
) -> None:
    """Back end: switch_root."""
    machine = probe(V1)
    machine.damage("bootsvc-backup", 8 * 2**20, bytes(2**20))
    assert machine.stage_from_outside(V2.path).returncode == 0
    start, _ = machine.range_of("bootsvc-backup")
    machine.power_on()
    machine.wait(Stage.KERNEL)
    machine.vm.faults.io_error(0, start + 8 * 2**20, 2**20, operations=("write",))
    machine.wait(Stage.BACKUP)
    machine.runs(1)
    last = machine.status()["last_failure"]
    assert (last["phase"], last["reason"], last["area"]) == ("backup", "io_error", "backup")
    assert last["errno"] == 5
    machine.power_cut()
    assert machine.holds("primary", V1.path)
