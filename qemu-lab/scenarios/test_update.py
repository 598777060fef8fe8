"""Updates that go well (back end: switch_root unless a story says kexec)."""

import pytest

from qemu_lab import Machine, Stage
from qemu_lab.images.products import ProbeImage
from qemu_lab.subject import ProbeMaker

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
V1_KEXEC, V2_KEXEC = ProbeImage(1, method="kexec"), ProbeImage(2, method="kexec")


def test_a_new_machine_installs_its_first_image_and_fills_the_backup_once_it_is_confirmed(
    probe: ProbeMaker,
) -> None:
    machine = probe(V1, confirmed=False, by_boot_loader=True)
    machine.power_on()
    machine.runs(1, trial=True)
    assert machine.status()["phase"] == "trial"
    machine.confirm()
    assert machine.status()["phase"] == "idle"
    machine.restart()
    machine.wait(Stage.BACKUP)
    machine.runs(1)
    machine.power_cut()
    assert machine.holds("primary", V1.path)
    assert machine.holds("backup", V1.path)
    assert (machine.record().code, machine.record().phase) == (1, "idle")


def test_an_update_is_staged_copied_tried_and_confirmed_in_128_mib(probe: ProbeMaker) -> None:
    machine = probe(V1, update=V2, base=Machine(memory_mib=128), by_boot_loader=True)
    machine.power_on()
    machine.runs(1)
    machine.stage()
    assert machine.status()["request"] == "update"
    machine.restart()
    for stage in (Stage.CHECK, Stage.BACKUP, Stage.COPY, Stage.VERIFY, Stage.TRIAL):
        machine.wait(stage)
    machine.runs(2, trial=True)
    assert machine.status()["status_code"] == 3
    machine.confirm()
    assert machine.status()["status_code"] == 1
    machine.restart()
    machine.runs(2)
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert machine.holds("backup", V1.path)


@pytest.mark.thorough
def test_an_update_by_kexec_starts_the_new_images_own_kernel(probe: ProbeMaker) -> None:
    machine = probe(V1_KEXEC, update=V2_KEXEC, by_boot_loader=True)
    machine.power_on()
    machine.wait(Stage.OS_KERNEL)
    machine.runs(1)
    machine.stage()
    machine.restart()
    machine.wait(Stage.OS_KERNEL)
    machine.runs(2, trial=True)
    machine.confirm()
    machine.restart()
    machine.runs(2)
    machine.power_cut()
    assert machine.holds("primary", V2_KEXEC.path)
    assert machine.holds("backup", V1_KEXEC.path)


@pytest.mark.thorough
def test_an_operator_goes_back_to_the_former_version(probe: ProbeMaker) -> None:
    machine = probe(V1, update=V2, by_boot_loader=True)
    machine.power_on()
    machine.runs(1)
    machine.stage()
    machine.restart()
    machine.runs(2, trial=True)
    machine.confirm()
    machine.command("rollback")
    machine.restart()
    machine.wait(Stage.ROLLBACK)
    machine.runs(1)
    assert machine.status()["failed"] == []
    machine.power_cut()
    assert machine.holds("primary", V1.path)
