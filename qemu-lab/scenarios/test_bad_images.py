"""Bad images that come back to the working version by themselves, each with its true reason."""

import pytest

from qemu_lab import Bad, Machine, Stage
from qemu_lab.images.products import HANG_BEFORE_USERSPACE, ProbeImage
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
V1_GENERIC = ProbeImage(1, method="kexec", kernel="generic")


def stage_from_outside(machine: Subject, image: ProbeImage) -> None:
    """Stage while the machine is off; the updater does all the rest."""
    done = machine.stage_from_outside(image.path)
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
def test_an_image_that_runs_but_never_confirms_is_thrown_back(probe: ProbeMaker) -> None:
    """Back end: switch_root. The image's own limit ends its only try."""
    silent = ProbeImage(2, "silent")
    machine = probe(V1, options="bootsvc.tries=1 bootsvc.confirm_limit_s=10")
    stage_from_outside(machine, silent)
    machine.power_on()
    machine.wait(Stage.HAND_OVER)
    machine.vm.console.wait_for_text("not confirmed within", 60)
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    assert machine.failure() == ("trial", "not_confirmed", 2)
    assert machine.status()["failed"]
    machine.power_cut()
    assert machine.holds("primary", V1.path)
    assert machine.record().code == 1


@pytest.mark.thorough
def test_an_image_that_restarts_at_once_is_thrown_back_after_its_tries(probe: ProbeMaker) -> None:
    """Back end: switch_root."""
    machine = probe(V1)
    stage_from_outside(machine, ProbeImage(2, "reboot"))
    machine.power_on()
    for _ in range(3):
        machine.wait(Stage.HAND_OVER)
        machine.vm.console.wait_for_text("behaviour reboot", 60)
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    assert machine.failure() == ("trial", "restarted", 2)


@pytest.mark.thorough
def test_an_image_whose_kernel_panics_is_thrown_back_and_the_panic_is_named(
    probe: ProbeMaker, lab: Lab
) -> None:
    """Back end: kexec; the panic is kept by the firmware's store (ACPI ERST)."""
    machine = probe(
        V1_GENERIC,
        options="bootsvc.tries=1",
        base=Machine(pstore=lab.directory / "erst"),
    )
    stage_from_outside(machine, ProbeImage(2, "panic", method="kexec", kernel="generic"))
    machine.power_on()
    machine.wait(Stage.HAND_OVER)
    machine.vm.console.wait_for_bad(Bad.KERNEL_PANIC, 120)
    machine.wait(Stage.RESTORE, 120, expecting=(Bad.KERNEL_PANIC,))
    machine.runs(1, expecting=(Bad.KERNEL_PANIC,))
    assert machine.failure() == ("trial", "panic", 2)


@pytest.mark.thorough
def test_an_image_whose_kernel_cannot_be_loaded_is_thrown_back_without_a_panic(
    probe: ProbeMaker,
) -> None:
    """Back end: kexec. Each refusal of the kernel counts as a failed try, in the same start."""
    machine = probe(ProbeImage(1, method="kexec"))
    stage_from_outside(machine, ProbeImage(2, "no-kernel", method="kexec"))
    machine.power_on()
    machine.vm.console.wait_for_text("the kernel refuses to load", 120)
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    assert machine.failure() == ("trial", "kernel_refused", 2)
    machine.power_cut()
    assert machine.record().code == 1


def test_the_watchdog_ends_an_image_that_hangs_after_kexec_before_userspace(
    probe: ProbeMaker,
) -> None:
    """Back end: kexec; hardware watchdog i6300esb armed with nowayout by the updater."""
    machine = probe(
        V1_GENERIC,
        options="bootsvc.tries=1 bootsvc.watchdog_s=20",
        base=Machine(watchdog="i6300esb"),
    )
    stage_from_outside(
        machine,
        ProbeImage(2, method="kexec", kernel="generic", options=HANG_BEFORE_USERSPACE),
    )
    machine.power_on()
    machine.vm.console.wait_for_text("watchdog: armed", 120)
    machine.wait(Stage.OS_KERNEL)
    machine.vm.wait_event("WATCHDOG", 120)
    machine.wait(Stage.RESTORE, 120)
    machine.runs(1)
    assert machine.failure() == ("trial", "watchdog", 2)


@pytest.mark.thorough
def test_the_backups_own_system_cannot_confirm_the_failed_image(probe: ProbeMaker) -> None:
    """Back end: switch_root. Restoring is off, so the backup itself runs after the last try."""
    machine = probe(V1, options="bootsvc.tries=1 bootsvc.restore=off")
    stage_from_outside(machine, ProbeImage(2, "reboot"))
    machine.power_on()
    machine.wait(Stage.HAND_OVER)
    machine.wait(Stage.DEGRADED)
    machine.runs(1, area="backup")
    before = machine.status()
    assert not machine.vm.port.ask("confirm", timeout=60.0).ok
    after = machine.status()
    assert (after["phase"], after["sequence"]) == ("degraded", before["sequence"])
    assert after["areas"]["primary"]["state"] == "bad"
    machine.power_cut()
    assert machine.record().code == 2


def test_an_altered_image_in_staging_is_refused_and_not_checked_again(probe: ProbeMaker) -> None:
    """Back end: switch_root. One byte of the staged image differs from its digest."""
    machine = probe(V1)
    stage_from_outside(machine, V2)
    machine.damage("bootsvc-staging", 5_000_000, b"\x5a")
    before = machine.area("primary"), machine.area("backup")
    machine.power_on()
    machine.wait(Stage.REFUSED)
    machine.runs(1)
    assert machine.failure() == ("check", "altered", 2)
    machine.restart()
    machine.runs(1)
    machine.power_cut()
    assert (machine.area("primary"), machine.area("backup")) == before
    assert machine.record().code == 1
    assert "stage=check" not in machine.vm.console.tail(200)


@pytest.mark.thorough
def test_an_incomplete_image_is_refused_before_anything_is_written(
    probe: ProbeMaker, lab: Lab
) -> None:
    """The last byte is missing: refused when staged, and again where staging itself was cut."""
    machine = probe(V1)
    short = lab.directory / "short.bimg"
    short.write_bytes(V2.path.read_bytes()[:-1])
    untouched = machine.status_partition(), machine.area("staging")
    done = machine.stage_from_outside(short)
    assert done.returncode != 0
    assert "incomplete" in done.stderr
    assert (machine.status_partition(), machine.area("staging")) == untouched
    stage_from_outside(machine, V2)
    start, size = machine.range_of("bootsvc-staging")
    assert start > 0
    machine.damage("bootsvc-staging", size - 4096, bytes(4096))
    before = machine.area("primary"), machine.area("backup")
    machine.power_on()
    machine.wait(Stage.REFUSED)
    machine.runs(1)
    assert machine.failure()[:2] == ("check", "no_image")
    machine.power_cut()
    assert (machine.area("primary"), machine.area("backup")) == before
