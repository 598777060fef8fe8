"""What a machine keeps: its identity, its overlays, and what happens when data is not usable."""

import os

import pytest

from qemu_lab import Stage
from qemu_lab.images.products import ProbeImage
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
V1_KEPT, V2_KEPT = ProbeImage(1, overlay="kept"), ProbeImage(2, overlay="kept")
PUBLISHED_NAME = "probe"
PART = "/run/bootsvc/data/restore-points/.writing/*"
"""A restore point's blocks that are being written."""
SLOW = 4 * 2**20
"""Bytes per second of a disk on which a restore point takes seconds."""
AREA_DEVICE = ". /run/bootsvc/handover.env; area=$(readlink -f $BOOTSVC_ROOT)"


def update_to_trial(machine: Subject, version: int) -> None:
    """Stage the inserted image, restart, and see it run on trial."""
    machine.stage()
    machine.restart()
    machine.runs(version, trial=True)


def has_file(machine: Subject, path: str) -> bool:
    return machine.shell(f"if [ -e {path} ]; then echo yes; else echo no; fi") == "yes"


def alarms(machine: Subject) -> str:
    return "\n".join(machine.status()["alarms"])


# --- identity -----------------------------------------------------------------------------------


def test_a_machine_is_itself_in_every_version_and_keeps_what_a_confirmed_trial_changed(
    probe: ProbeMaker,
) -> None:
    """Back end: switch_root."""
    machine = probe(V1, update=V2)
    machine.power_on()
    machine.runs(1)
    machine_id = machine.shell("cat /etc/machine-id")
    assert len(machine_id) == 32
    update_to_trial(machine, 2)
    assert machine.shell("cat /etc/machine-id") == machine_id
    assert machine.shell("cat /etc/hostname") == PUBLISHED_NAME
    machine.shell("echo renamed >/etc/hostname")
    machine.confirm()
    machine.restart()
    machine.runs(2)
    assert machine.shell("cat /etc/machine-id") == machine_id
    assert machine.shell("cat /etc/hostname") == "renamed"
    assert alarms(machine) == ""


@pytest.mark.thorough
def test_what_a_trial_changed_is_gone_when_it_was_thrown_back(probe: ProbeMaker) -> None:
    """Back end: switch_root."""
    machine = probe(V1, update=V2, options="bootsvc.tries=1")
    machine.power_on()
    machine.runs(1)
    machine_id = machine.shell("cat /etc/machine-id")
    update_to_trial(machine, 2)
    machine.shell("echo spoiled >/etc/hostname; echo spoiled >/etc/machine-id")
    # Saved, as the unit of the package saves it: but to the trial's copy.
    machine.shell("/usr/lib/bootsvc/identity-save")
    assert has_file(machine, "/run/bootsvc/data/identity/trial-*/etc/hostname")
    machine.restart()
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    assert machine.shell("cat /etc/hostname") == PUBLISHED_NAME
    assert machine.shell("cat /etc/machine-id") == machine_id
    assert not has_file(machine, "/run/bootsvc/data/identity/trial-*")


# --- overlays -----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_kept_overlay_belongs_to_one_version_and_comes_back_with_it(probe: ProbeMaker) -> None:
    """Back end: switch_root."""
    machine = probe(V1_KEPT, update=V2_KEPT)
    machine.power_on()
    machine.runs(1)
    machine.shell("echo mine >/var/note && sync")
    machine.restart()
    machine.runs(1)
    assert machine.shell("cat /var/note") == "mine"
    update_to_trial(machine, 2)
    assert not has_file(machine, "/var/note")
    machine.confirm()
    machine.command("rollback")
    machine.restart()
    machine.wait(Stage.ROLLBACK)
    machine.runs(1)
    assert machine.shell("cat /var/note") == "mine"
    machine.power_cut()
    assert machine.holds("primary", V1_KEPT.path)


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["switch_root", "kexec"])
def test_what_is_written_to_a_volatile_overlay_never_reaches_the_area(
    probe: ProbeMaker, method: str
) -> None:
    """Back ends: both, because each sets the overlay up in an initramfs of its own."""
    machine = probe(ProbeImage(1, method=method))
    before = machine.area("primary")
    machine.power_on()
    machine.runs(1)
    machine.shell("echo gone >/var/note && rm /etc/passwd && sync")
    assert machine.shell(f"{AREA_DEVICE}; blockdev --getro $area") == "1"
    write = f"{AREA_DEVICE}; dd if=/dev/zero of=$area bs=4096 count=1 conv=fsync"
    assert not machine.vm.port.ask(f"run {write}").ok
    assert not machine.vm.port.ask("run mount -o remount,rw /run/bootsvc/lower").ok
    machine.restart()
    machine.runs(1)
    assert not has_file(machine, "/var/note")
    assert has_file(machine, "/etc/passwd")
    machine.power_cut()
    assert machine.area("primary") == before


# --- restore points -----------------------------------------------------------------------------


def updated(probe: ProbeMaker) -> Subject:
    """A machine that runs version 2, confirmed, with version 1 in backup."""
    machine = probe(V1)
    done = machine.stage_from_outside(V2.path)
    assert done.returncode == 0, done.stderr
    machine.power_on()
    machine.runs(2, trial=True)
    machine.confirm()
    return machine


def test_the_version_that_a_rollback_left_is_a_restore_point_that_is_restored(
    probe: ProbeMaker,
) -> None:
    """Back end: switch_root."""
    machine = updated(probe)
    machine.command("rollback", 180)
    machine.restart()
    machine.wait(Stage.ROLLBACK)
    machine.runs(1)
    (point,) = machine.status()["restore_points"]
    assert (point["number"], point["why"], point["problem"]) == (2, "rollback", None)
    assert "every byte is right" in machine.shell("bootsvc restore-point list --verify")
    machine.command("restore-point restore 2", 180)
    machine.restart()
    machine.runs(2, trial=True)
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert machine.holds("backup", V1.path)


@pytest.mark.thorough
def test_a_power_cut_while_a_restore_point_is_written_costs_nothing_but_the_rollback(
    probe: ProbeMaker,
) -> None:
    """Back end: switch_root. The disk is slow, so that the cut comes in the middle."""
    machine = updated(probe)
    machine.vm.faults.throttle(0, bytes_per_second=SLOW)
    machine.shell("bootsvc rollback >/tmp/rollback.log 2>&1 &")
    machine.shell(f"until [ $(du -k {PART} | cut -f1) -gt 4096 ]; do usleep 50000; done; sync")
    machine.power_cut()
    assert machine.record().request == 0
    machine.power_on()
    machine.runs(2)
    assert machine.status()["restore_points"] == []
    assert has_file(machine, PART)
    machine.command("rollback", 180)
    assert not has_file(machine, PART)
    (point,) = machine.status()["restore_points"]
    assert (point["number"], point["problem"]) == (2, None)
    machine.restart()
    machine.wait(Stage.ROLLBACK)
    machine.runs(1)


# --- data that cannot be used -------------------------------------------------------------------


@pytest.mark.thorough
def test_with_a_damaged_data_partition_the_machine_starts_with_an_alarm_and_updates(
    probe: ProbeMaker,
) -> None:
    """Back end: switch_root. The superblock of data is overwritten."""
    machine = probe(V1_KEPT, update=V2_KEPT)
    machine.damage("bootsvc-data", 0, os.urandom(4096))
    machine.power_on()
    machine.vm.console.wait_for_text("ALARM data partition", 90)
    machine.runs(1)
    assert "cannot be mounted (damaged?)" in alarms(machine)
    update_to_trial(machine, 2)
    machine.confirm()
    machine.restart()
    machine.runs(2)
    machine.power_cut()
    assert machine.holds("primary", V2_KEPT.path)


@pytest.mark.thorough
def test_with_a_full_data_partition_the_machine_starts_with_an_alarm_and_updates(
    probe: ProbeMaker,
) -> None:
    """Back end: switch_root. Not one more block fits into data."""
    machine = probe(V1, update=V2)
    machine.power_on()
    machine.runs(1)
    machine_id = machine.shell("cat /etc/machine-id")
    machine.shell("dd if=/dev/zero of=/run/bootsvc/data/fill bs=64k 2>/dev/null; sync")
    machine.restart()
    machine.vm.console.wait_for_text("ALARM data partition", 90)
    machine.runs(1)
    assert "takes no writes (full or failing)" in alarms(machine)
    # Nothing can be written there, but what it holds is still this machine's identity.
    assert machine.shell("cat /etc/machine-id") == machine_id
    update_to_trial(machine, 2)
    assert machine.shell("cat /etc/machine-id") == machine_id
    machine.confirm()
    machine.restart()
    machine.runs(2)
    machine.power_cut()
    assert machine.holds("primary", V2.path)


# --- without Python -----------------------------------------------------------------------------


@pytest.mark.thorough
def test_without_python_a_trial_is_not_tried_and_the_backups_system_cannot_confirm_it(
    probe: ProbeMaker,
) -> None:
    """Back end: switch_root, by the updater's shell alone while Python is away."""
    machine = probe(V1, update=V2, options="bootsvc.break=nobody", by_boot_loader=True)
    machine.power_on()
    machine.runs(1)
    update_to_trial(machine, 2)
    machine.power_cut()
    record = machine.record()
    assert (record.code, record.phase) == (3, "trial")
    machine.change_boot_options("bootsvc.break=nobody", "bootsvc.break=python")
    machine.power_on()
    machine.wait(Stage.FALLBACK)
    machine.vm.console.wait_for_text("the backup is booted: primary is on trial", 60)
    machine.runs(1, area="backup")
    assert "the backup was booted" in alarms(machine)
    assert not machine.vm.port.ask("confirm", timeout=60.0).ok
    machine.power_cut()
    assert machine.record().raw == record.raw
    machine.change_boot_options("bootsvc.break=python", "bootsvc.break=nobody")
    machine.power_on()
    machine.runs(2, trial=True)
    machine.confirm()
