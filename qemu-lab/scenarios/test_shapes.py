"""Images of other shapes: erofs, a whole disk in an area, blocks that are checked while it runs."""

import hashlib

import pytest

from qemu_lab import Bad, Machine, Stage
from qemu_lab.images.probe import payload
from qemu_lab.images.products import ProbeImage
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

EROFS = ProbeImage(1, shape="erofs")
DISK = ProbeImage(1, shape="disk")
CHECKED = ProbeImage(1, verity=True)
CHECKED_DISK = ProbeImage(2, method="kexec", shape="disk", verity=True)
PANIC = (Bad.KERNEL_PANIC,)
READ_PAYLOAD = "sha256sum /variant/payload"
READ_LATER = f"(usleep 500000; {READ_PAYLOAD} && echo it was read) >/dev/console 2>&1 &"


def payload_digest(version: int) -> str:
    return hashlib.sha256(payload(version)).hexdigest()


def reads_its_payload(machine: Subject, version: int) -> bool:
    return machine.shell(READ_PAYLOAD).split()[0] == payload_digest(version)


def rot_payload(machine: Subject, image: ProbeImage) -> None:
    """Flip a bit in the middle of the payload in primary, which the guest has not read yet."""
    content = image.path.read_bytes()
    middle = payload(image.version)[3 * 2**20 :][:64]
    at = content.index(middle)
    machine.damage("bootsvc-primary", at, bytes([middle[0] ^ 1]))
    machine.shell("echo 3 >/proc/sys/vm/drop_caches")


@pytest.mark.thorough
def test_an_erofs_image_runs(probe: ProbeMaker) -> None:
    """Back end: switch_root."""
    machine = probe(EROFS)
    machine.power_on()
    machine.runs(1)
    assert " erofs ro" in machine.shell("grep ' /run/bootsvc/lower ' /proc/mounts")
    assert reads_its_payload(machine, 1)


@pytest.mark.thorough
def test_a_checked_disk_in_an_area_that_rots_gives_way_to_the_disk_in_backup(
    probe: ProbeMaker, lab: Lab
) -> None:
    """Back ends: kexec, where the image's own initrd shows the root partition above the check of
    its blocks, then switch_root, where the updater does so."""
    erst = Machine(pstore=lab.directory / "erst")
    machine = probe(DISK, base=erst)
    done = machine.stage_from_outside(CHECKED_DISK.path)
    assert done.returncode == 0, done.stderr
    machine.power_on()
    machine.runs(2, trial=True)
    assert machine.root_device().startswith("/dev/loop")
    machine.confirm()
    rot_payload(machine, CHECKED_DISK)
    machine.shell(READ_LATER)
    machine.vm.console.wait_for_bad(Bad.KERNEL_PANIC, 60)
    assert "it was read" not in machine.vm.console.tail(200)
    machine.wait(Stage.ROT, 120, expecting=PANIC)
    machine.runs(1, expecting=PANIC)
    assert machine.root_device().startswith("/dev/dm-")
    assert reads_its_payload(machine, 1)
    machine.power_cut()
    assert machine.holds("primary", DISK.path)


def test_a_block_that_rots_while_the_image_runs_is_never_read_and_is_repaired(
    probe: ProbeMaker, lab: Lab
) -> None:
    """Back end: switch_root; the panic is kept by the firmware's store (ACPI ERST)."""
    machine = probe(CHECKED, base=Machine(pstore=lab.directory / "erst"))
    machine.power_on()
    machine.vm.console.wait_for_text("a rotten one restarts the machine", 90)
    machine.runs(1)
    rot_payload(machine, CHECKED)
    machine.shell(READ_LATER)
    machine.vm.console.wait_for_bad(Bad.KERNEL_PANIC, 60)
    assert "it was read" not in machine.vm.console.tail(200)
    machine.wait(Stage.ROT, 120, expecting=PANIC)
    machine.runs(1, expecting=PANIC)
    assert machine.failure() == ("rot", "altered", 1)
    assert not machine.status()["failed"]
    assert reads_its_payload(machine, 1)
    machine.power_cut()
    assert machine.holds("primary", CHECKED.path)
