"""From the firmware to the updater: BIOS and UEFI, the boot menu, and the updater's own update."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.disk.create import DiskContents, create_disk
from bootsvc.disk.partition import plan
from bootsvc.units import MIB
from qemu_lab.images import kernels, products
from qemu_lab.images.products import ProbeImage
from qemu_lab.images.tools import run
from qemu_lab.machine import OVMF, Drive, Machine
from qemu_lab.pytest_plugin import Lab
from qemu_lab.stages import Bad
from qemu_lab.subject import BOOT_S, ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1 = ProbeImage(1)
BIOS = Machine()
UEFI = Machine(firmware=OVMF, memory_mib=512)
FIRMWARES = pytest.mark.parametrize("base", [BIOS, UEFI], ids=["bios", "uefi"])

DOWN = "\x1b[B"
MENU_S = 30.0


def kernel() -> Path:
    return kernels.fetch("cloud").vmlinuz


def updater() -> Path:
    return products.updater("cloud")


def stage_from_outside(subject: Subject, kernel_file: Path, initramfs: Path) -> None:
    """Stage an updater on the disk of a machine that is off, and proved its slot a."""
    stage: list[str | Path] = ["updater", "stage", "--disk", subject.disk, kernel_file, initramfs]
    subprocess.run([sys.executable, "-m", "bootsvc.cli", *stage], check=True)


def slot(subject: Subject) -> str:
    """The updater's slot that the running OS was started by."""
    return subject.shell(". /run/bootsvc/handover.env; echo $BOOTSVC_SLOT").strip()


def damage_file(subject: Subject, content: bytes) -> None:
    """Change bytes of the first file on the ESP that holds ``content``."""
    start, size = subject.range_of("esp")
    with subject.disk.open("rb") as file:
        file.seek(start)
        at = file.read(size).find(content)
    assert at >= 0
    subject.damage("esp", at, b"rotten")


def choose(subject: Subject, steps: int) -> None:
    """Go down the boot menu and start that entry."""
    subject.vm.console.wait_for_text("Shell before the updater", MENU_S)
    subject.vm.console.send(DOWN * steps + "\r")


@FIRMWARES
def test_one_disk_starts_by_either_firmware(probe: ProbeMaker, base: Machine) -> None:
    subject = probe(V1, base=base, by_boot_loader=True)
    subject.power_on()
    subject.runs(1)
    assert slot(subject) == "a"
    has_efi = subject.shell("[ -d /sys/firmware/efi ] && echo yes || echo no").strip()
    assert has_efi == ("yes" if base.firmware else "no")


@pytest.mark.thorough
def test_a_disk_with_4096_byte_sectors_starts_by_uefi(lab: Lab) -> None:
    products.probe_image(V1)
    disk = lab.directory / "disk.img"
    contents = DiskContents(
        V1.path,
        kernel(),
        updater(),
        confirmed=True,
        options=f"{products.CONSOLE} {products.QUICK}",
        menu_seconds=0,
    )
    create_disk(disk, plan(area_size=64 * MIB, data_size=64 * MIB, sector_size=4096), contents)
    vm = lab.vm(replace(UEFI, drives=(Drive(disk, sector_bytes=4096),)))
    vm.start()
    assert vm.port.wait_hello(BOOT_S)["version"] == "1"
    vm.port.run("[ ! -s /run/bootsvc/alarms ]")
    # The OS writes the slots of such a disk, too: here with the image's own kernel and initrd.
    stage = "bootsvc updater stage --allow-unlocked"  # this OS has no zstd to look into it
    vm.port.run(f"{stage} /boot/vmlinuz-* /boot/initrd*", 180.0)
    status = vm.port.run("bootsvc updater status", 120.0)
    assert "next start    slot b, once" in status
    assert "slot b        whole" in status


@FIRMWARES
def test_a_good_new_updater_is_tried_once_and_kept(
    lab: Lab, probe: ProbeMaker, base: Machine
) -> None:
    files = lab.directory / "files"
    files.mkdir()
    (files / "vmlinuz").write_bytes(kernel().read_bytes())
    (files / "updater.img").write_bytes(updater().read_bytes())
    medium = lab.directory / "files.squashfs"
    run(["mksquashfs", str(files), str(medium), "-noappend", "-quiet", "-noD"])
    subject = probe(V1, base=base, update=medium, by_boot_loader=True)
    subject.power_on()
    subject.runs(1)
    subject.shell("mkdir -p /tmp/new && mount -t squashfs /dev/vdb /tmp/new")
    stage = "updater stage --allow-unlocked /tmp/new/vmlinuz /tmp/new/updater.img"
    told = subject.command(stage, 180.0)
    assert "slot b holds the new updater" in told
    subject.restart()
    subject.vm.console.wait_for_text("slot b is tried, this once", MENU_S)
    subject.runs(1)
    assert slot(subject) == "b"
    assert "proven        slot a" in subject.command("updater status")
    assert "slot b proved itself" in subject.command("confirm")
    subject.restart()
    subject.runs(1)
    assert slot(subject) == "b"
    assert "nothing to confirm" in subject.command("confirm")


@FIRMWARES
def test_a_new_updater_that_panics_gives_way_to_the_old_one_by_itself(
    lab: Lab, probe: ProbeMaker, base: Machine
) -> None:
    bad = lab.directory / "bad.img"
    bad.write_bytes(b"070701" + bytes(4096))
    subject = probe(V1, base=base, by_boot_loader=True)
    stage_from_outside(subject, kernel(), bad)
    subject.power_on()
    subject.vm.console.wait_for_text("slot b is tried, this once", MENU_S)
    subject.vm.console.wait_for_bad(Bad.KERNEL_PANIC, BOOT_S)
    # Ten seconds, the firmware, and the whole start of the old one.
    subject.runs(1, expecting=(Bad.KERNEL_PANIC,), timeout=2 * BOOT_S)
    assert slot(subject) == "a"
    assert "slot b was tried and did not prove itself" in subject.command("updater status")


@pytest.mark.thorough
def test_a_new_updater_that_nobody_confirms_is_tried_only_once(probe: ProbeMaker) -> None:
    subject = probe(V1, by_boot_loader=True)
    stage_from_outside(subject, kernel(), updater())
    subject.power_on()
    subject.runs(1)
    assert slot(subject) == "b"
    subject.restart()
    subject.runs(1)
    assert slot(subject) == "a"


@pytest.mark.thorough
@FIRMWARES
def test_a_damaged_slot_falls_through_to_the_other(probe: ProbeMaker, base: Machine) -> None:
    subject = probe(V1, base=base, by_boot_loader=True)
    stage_from_outside(subject, kernel(), updater())
    # The mark of the try goes: only the damage brings the other slot.
    subject.change_boot_options("try=b\ntried=\n", "try=\ntried=b\n")
    damage_file(subject, kernel().read_bytes()[4_000_000:4_004_096])
    subject.power_on()
    subject.vm.console.wait_for_text("slot a is empty or damaged", MENU_S)
    subject.runs(1)
    assert slot(subject) == "b"


@pytest.mark.thorough
def test_damaged_marks_mean_the_proven_slot(probe: ProbeMaker) -> None:
    subject = probe(V1, by_boot_loader=True)
    stage_from_outside(subject, kernel(), updater())
    damage_file(subject, b"# GRUB Environment Block\ntry=b")
    subject.power_on()
    subject.runs(1)
    assert slot(subject) == "a"


@pytest.mark.thorough
def test_the_rescue_entry_starts_an_image_without_the_updater(probe: ProbeMaker) -> None:
    subject = probe(V1, by_boot_loader=True)
    subject.change_boot_options("set timeout=0", "set timeout=9")
    before = subject.status_partition()
    subject.power_on()
    choose(subject, 3)
    subject.vm.console.wait_for_text("the shell alone starts the image in backup", BOOT_S)
    hello = subject.vm.port.wait_hello(BOOT_S)
    assert (hello["version"], hello["area"]) == ("1", "backup")
    assert "identity" not in hello
    answer = subject.vm.port.ask("run bootsvc confirm", timeout=180.0)
    assert answer.status == ExitCode.CONFIRM_REFUSED
    assert "rescue entry" in subject.shell("cat /run/bootsvc/alarms")
    subject.vm.quit()
    assert subject.status_partition() == before
