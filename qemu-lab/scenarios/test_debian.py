"""Real Debian systems: the first update, and an image that never proves itself."""

import time
from pathlib import Path

import pytest

from bootsvc.units import MIB
from qemu_lab import Machine, Stage
from qemu_lab.images import products
from qemu_lab.images.signed import CHECKED, DebianImage
from qemu_lab.images.tools import IMAGES
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import Subject, machine_for

pytestmark = pytest.mark.vm

UP_S = 300.0


def debian_machine(lab: Lab, first: DebianImage, update: DebianImage, options: str = "") -> Subject:
    """A machine that runs ``first`` and finds ``update`` at its second drive."""
    disk = products.lab_disk(
        lab.directory / "disk.img", first.path, area_size=96 * MIB, options=options
    )
    subject = Subject(lab.vm(machine_for(disk, base=Machine(memory_mib=512))), disk)
    subject.insert(update.path)
    return subject


def updated_package() -> tuple[str, str]:
    """Name and new version of a package that differs between version 1 and version 2."""
    changes = (IMAGES / "debian-v1-to-v2.packages").read_text(encoding="utf-8").splitlines()
    name, *_, version = changes[-1].replace(":", "").split()
    return name, version


def wait_until_confirmed(machine: Subject) -> None:
    deadline = time.monotonic() + UP_S
    while machine.status()["phase"] != "idle":
        assert time.monotonic() < deadline, "the image's own unit did not confirm"
        time.sleep(1)


def test_debian_is_updated_and_confirmed_by_its_own_unit(lab: Lab) -> None:
    """Back end: kexec, each version with its own kernel and the distribution's initrd, by which
    version 2 has its blocks checked while it runs."""
    v1, v2 = DebianImage("debian-v1"), CHECKED
    machine = debian_machine(lab, v1, v2)
    machine.power_on()
    machine.runs(1, timeout=UP_S)
    machine.stage(UP_S)
    machine.restart()
    machine.wait(Stage.COPY, UP_S)
    machine.runs(2, trial=True, timeout=UP_S)
    wait_until_confirmed(machine)
    name, version = updated_package()
    found = machine.vm.port.run(f"dpkg-query -W -f '${{Version}}' {name}", UP_S)
    assert found.strip() == version
    assert "overlay" in machine.vm.port.run("findmnt -n -o FSTYPE /", UP_S)
    assert machine.root_device().startswith("/dev/dm-")
    machine.power_cut()
    assert machine.holds("primary", v2.path)
    assert machine.holds("backup", v1.path)
    assert (machine.record().code, machine.record().phase) == (1, "idle")


@pytest.mark.thorough
def test_a_debian_image_that_never_confirms_is_ended_by_its_unit_and_thrown_back(
    lab: Lab,
) -> None:
    """Back end: switch_root. A health check fails for as long as it is asked."""
    v1 = DebianImage("debian-v1", "switch_root")
    silent = DebianImage("debian-bad-silent", "switch_root")
    machine = debian_machine(lab, v1, silent, options="bootsvc.tries=1 bootsvc.confirm_limit_s=60")
    assert machine.stage_from_outside(Path(silent.path)).returncode == 0
    machine.power_on()
    machine.runs(3, trial=True, timeout=UP_S)
    machine.wait(Stage.RESTORE, UP_S)
    machine.runs(1, timeout=UP_S)
    assert machine.failure() == ("trial", "health_check", 3)
    machine.power_cut()
    assert machine.holds("primary", v1.path)
