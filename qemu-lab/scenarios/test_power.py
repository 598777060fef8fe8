"""Power cut at the moments that matter (back end: switch_root)."""

import pytest

from qemu_lab import Stage
from qemu_lab.images.products import ProbeImage
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
SLOW = 12 * 2**20
"""Bytes per second of a disk slow enough to be cut in the middle of a copy."""


def staged(probe: ProbeMaker, image: ProbeImage = V2, *, options: str = "") -> Subject:
    """A machine that will install ``image`` at its next start."""
    machine = probe(V1, options=options)
    done = machine.stage_from_outside(image.path)
    assert done.returncode == 0, done.stderr
    return machine


def cut_at(machine: Subject, stage: Stage, percent: int) -> None:
    """Start, slow the disk down at the check, and pull the plug in the middle of ``stage``."""
    machine.power_on()
    machine.wait(Stage.UPDATER_STARTED)
    machine.vm.faults.throttle(0, bytes_per_second=SLOW)
    machine.vm.console.wait_for_progress(stage, percent, 120)
    machine.power_cut()


def finish_update(machine: Subject) -> None:
    """From whatever the cut left: the update goes through and is confirmed."""
    machine.power_on()
    machine.runs(2, trial=True)
    machine.confirm()
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert machine.holds("backup", V1.path)
    assert (machine.record().code, machine.record().phase) == (1, "idle")


@pytest.mark.thorough
def test_power_cut_in_the_middle_of_the_backup(probe: ProbeMaker) -> None:
    machine = staged(probe, V2)
    machine.damage("bootsvc-backup", 0, bytes(1_000_000))  # so that there is something to write
    cut_at(machine, Stage.BACKUP, 20)
    assert (machine.record().code, machine.record().boot_area) == (1, 1)
    assert machine.holds("primary", V1.path)
    finish_update(machine)


def test_power_cut_in_the_middle_of_the_copy(probe: ProbeMaker) -> None:
    machine = staged(probe, V2)
    cut_at(machine, Stage.COPY, 30)
    assert (machine.record().code, machine.record().boot_area) == (2, 2)
    assert machine.holds("backup", V1.path)
    assert not machine.holds("primary", V2.path)
    finish_update(machine)


@pytest.mark.thorough
def test_power_cut_while_the_copy_is_read_back(probe: ProbeMaker) -> None:
    machine = staged(probe, V2)
    cut_at(machine, Stage.VERIFY, 30)
    assert machine.record().code in (1, 2)
    finish_update(machine)


@pytest.mark.thorough
def test_a_power_cut_before_the_first_confirm_does_not_lose_the_update(probe: ProbeMaker) -> None:
    machine = staged(probe, V2)
    machine.power_on()
    machine.runs(2, trial=True)
    machine.power_cut()
    assert (machine.record().code, machine.record().tries_left) == (3, 2)
    finish_update(machine)


def test_power_cut_while_the_backup_is_restored(probe: ProbeMaker) -> None:
    machine = staged(probe, ProbeImage(2, "reboot"), options="bootsvc.tries=1")
    machine.power_on()
    machine.wait(Stage.HAND_OVER)
    machine.wait(Stage.UPDATER_STARTED)
    machine.vm.faults.throttle(0, bytes_per_second=SLOW)
    machine.vm.console.wait_for_progress(Stage.RESTORE, 30, 120)
    machine.power_cut()
    assert (machine.record().code, machine.record().boot_area) == (2, 2)
    machine.power_on()
    machine.runs(1)
    assert machine.failure() == ("trial", "restarted", 2)
    machine.power_cut()
    assert machine.holds("primary", V1.path)
    assert machine.holds("backup", V1.path)


@pytest.mark.thorough
def test_ten_power_cycles_of_a_healthy_machine_change_nothing_in_the_record(
    probe: ProbeMaker,
) -> None:
    machine = probe(V1)
    before = machine.status_partition()
    for _ in range(10):
        machine.power_on()
        machine.wait(Stage.HAND_OVER)
        machine.power_cut()
    assert machine.status_partition() == before
    machine.power_on()
    machine.runs(1)
    machine.power_cut()
    assert machine.status_partition() == before
