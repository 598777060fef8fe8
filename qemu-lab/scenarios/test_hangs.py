"""A hang of the updater's own work ends in a good image (hardware watchdog i6300esb).

Back end: kexec, with the generic kernel, which alone has the watchdog's driver.
"""

import pytest

from qemu_lab import Bad, DeadlineError, Machine, Stage
from qemu_lab.images.products import HANG_BEFORE_USERSPACE, ProbeImage
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1 = ProbeImage(1, method="kexec", kernel="generic")
V2 = ProbeImage(2, "panic", method="kexec", kernel="generic")
"""Only copied here, never started."""
HANGS_IN_ITS_INITRD = ProbeImage(2, method="kexec", kernel="generic", options=HANG_BEFORE_USERSPACE)
SLOW = 12 * 2**20
"""Bytes per second of a disk slow enough to be stopped in the middle of a copy."""

WATCHDOG_S = 15
GUARDED = Machine(watchdog="i6300esb")
PAUSED_BY_WATCHDOG = Machine(watchdog="i6300esb", watchdog_action="pause")
"""The test resets it then: QEMU's own reset would wait for the disk that hangs."""
OPTIONS = f"bootsvc.work_watchdog_s={WATCHDOG_S}"


def hang_in_copy(machine: Subject) -> None:
    """The disk stops answering in the middle of COPY; the watchdog ends that start."""
    machine.wait(Stage.UPDATER_STARTED)
    slow = machine.vm.faults.throttle(0, bytes_per_second=SLOW)
    machine.vm.console.wait_for_progress(Stage.COPY, 20, 120)
    with machine.vm.faults.hang(0):
        machine.vm.wait_event("WATCHDOG", 4 * WATCHDOG_S)
    slow.remove()
    machine.vm.reset()  # the watchdog itself remembers that it fired: a fresh QEMU would not know
    machine.vm.resume()


def test_a_disk_that_hangs_in_every_copy_ends_in_the_old_image_and_the_reason_is_kept(
    probe: ProbeMaker,
) -> None:
    machine = probe(V1, options=OPTIONS, base=PAUSED_BY_WATCHDOG)
    done = machine.stage_from_outside(V2.path)
    assert done.returncode == 0, done.stderr
    machine.power_on()
    hang_in_copy(machine)
    hang_in_copy(machine)
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    assert machine.failure() == ("copy", "watchdog", 2)
    assert not machine.status()["failed"], "a disk that hangs says nothing of an image"
    machine.power_cut()
    assert machine.holds("primary", V1.path)
    assert machine.record().code == 1


@pytest.mark.thorough
def test_an_ordinary_start_leaves_no_running_watchdog_behind(probe: ProbeMaker) -> None:
    """The image does nothing with the watchdog; one that still ran would reset it."""
    machine = probe(HANGS_IN_ITS_INITRD, options=OPTIONS, base=GUARDED)
    machine.power_on()
    machine.vm.console.wait_for_text("watchdog: guards the updater's work", 60)
    machine.vm.console.wait_for_text("probe: hangs in its initrd", 60)
    with pytest.raises(DeadlineError, match="WATCHDOG"):
        machine.vm.wait_event("WATCHDOG", 2 * WATCHDOG_S)


@pytest.mark.thorough
def test_a_console_that_waits_for_a_person_is_not_cut_off_by_the_watchdog_of_the_work(
    probe: ProbeMaker,
) -> None:
    machine = probe(V1, options=OPTIONS, base=GUARDED)
    for area in ("primary", "backup"):
        _, size = machine.range_of(f"bootsvc-{area}")
        machine.damage(f"bootsvc-{area}", size - 4096, bytes(4096))
    machine.power_on()
    console = machine.vm.console
    console.wait_for_text("watchdog: guards the updater's work", 60)
    console.wait_for(Stage.HALT, 60)
    console.wait_for_text("Choice [1]: ", 60)
    with pytest.raises(DeadlineError, match="WATCHDOG"):
        machine.vm.wait_event("WATCHDOG", 2 * WATCHDOG_S)
    console.send("shell\r")
    console.wait_for_bad(Bad.RESCUE_SHELL, 60)
    with pytest.raises(DeadlineError, match="WATCHDOG"):
        machine.vm.wait_event("WATCHDOG", 2 * WATCHDOG_S, expecting=(Bad.RESCUE_SHELL,))
