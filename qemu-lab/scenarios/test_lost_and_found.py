"""Machines that lost something, or have something twice: reached from a stick or over the network,
and told what to do."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.disk.create import DiskContents
from bootsvc.disk.create_on_disk import create_on_disk
from bootsvc.disk.partition import plan
from bootsvc.disk.stick import StickContents, make_stick_file
from bootsvc.units import MIB
from qemu_lab import Bad, Drive, Machine, Stage
from qemu_lab.disk import read_range, write_range
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import Subject
from qemu_lab.updater_port import UpdaterPort

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
CONNECTED = Machine(updater_port=True)
SIZE = 380 * MIB + 7 * 512
"""No whole MiB, as real disks have none."""


def disk_made_over_rubbish(path: Path, image: ProbeImage) -> Path:
    """A disk with ``image``, made in the way of a real disk that was used before."""
    rubbish = random.Random(3).randbytes(MIB)  # noqa: S311  # the same each time, on purpose
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(rubbish)
        file.write(rubbish[: SIZE % MIB])
    found = products.kernel("cloud")
    contents = DiskContents(
        image=image.path,
        kernel=found.vmlinuz,
        initramfs=products.updater("cloud"),
        confirmed=True,
        options=f"{products.CONSOLE} {products.QUICK}",
        menu_seconds=0,
    )
    create_on_disk(path, plan(area_size=products.PROBE_AREA, size=SIZE), contents)
    return path


def machine_with(lab: Lab, disk: Path, *before: Path, base: Machine = CONNECTED) -> Subject:
    """A machine with ``disk`` behind others, from the first of which it starts."""
    drives = tuple(Drive(path) for path in (*before, disk))
    return Subject(lab.vm(replace(base, drives=drives)), disk)


def lose_table(disk: Path, first: int = 512) -> None:
    """The partition table at the disk's beginning is overwritten, from byte ``first`` on."""
    write_range(disk, first, b"\xaa" * (34 * 512 - first))


def is_sound(disk: Path) -> bool:
    done = subprocess.run(["sfdisk", "--verify", disk], capture_output=True, text=True, check=False)
    return "No errors detected" in done.stdout and not done.stderr


def held_as_broken(updater: UpdaterPort) -> list[str]:
    """Stop a start that cannot go on; returns its alarms."""
    facts = updater.hold(expecting={Bad.HALT})
    assert facts["problem"]
    alarms: list[str] = facts["alarms"]
    return alarms


def test_a_stick_repairs_the_table_and_installs_an_image_where_nothing_was_left(lab: Lab) -> None:
    disk = disk_made_over_rubbish(lab.directory / "disk.img", V1)
    stick = lab.directory / "stick.img"
    contents = StickContents(
        products.kernel("cloud").vmlinuz,
        products.updater("cloud"),
        (V2.path,),
        f"{products.CONSOLE} bootsvc.progress_s=1",
        menu_seconds=0,
    )
    make_stick_file(stick, contents)
    machine = machine_with(lab, disk, stick)
    for partition in ("bootsvc-status", "bootsvc-primary", "bootsvc-backup"):
        start, size = machine.range_of(partition)
        write_range(disk, start, b"\x55" * (3 * MIB))
        write_range(disk, start + size - MIB, b"\x55" * MIB)
    lose_table(disk)
    machine.power_on()
    updater = machine.vm.updater
    with machine.vm.console.expecting(Bad.HALT):
        facts = updater.hold()
        assert any("partition table" in alarm for alarm in facts["alarms"])
        assert facts["status"] is None
        refused = updater.perform("repair-gpt")
        assert not refused.is_done, "without its word"
        updater.perform("repair-gpt", word="REPAIR").require()
        assert is_sound(disk)
        # The sequence looks for itself first, and finds nothing.
        updater.perform("go-on").require()
        assert updater.hold()["problem"]
        listed = updater.perform("install").require()
        assert "probe-2" in " ".join(listed.lines)
        updater.perform("install", source="1").require()
    machine.runs(2, trial=True)
    machine.confirm()
    # Without the stick: its own boot loader, its own updater, its own table; the backup is filled.
    machine.vm.quit()
    machine.vm.machine = replace(machine.vm.machine, drives=(Drive(disk),))
    machine.power_on()
    machine.wait(Stage.BACKUP)
    machine.runs(2, timeout=180)


@pytest.mark.thorough
def test_a_machine_that_a_bios_finds_nothing_on_is_reached_over_the_network(lab: Lab) -> None:
    disk = disk_made_over_rubbish(lab.directory / "disk.img", V1)
    served = lab.directory / "tftp"
    served.mkdir()
    shutil.copy(products.kernel("cloud").vmlinuz, served / "vmlinuz")
    shutil.copy(products.updater("cloud"), served / "updater.img")
    (served / "boot.ipxe").write_text(
        "#!ipxe\n"
        f"kernel vmlinuz {products.CONSOLE} gpt rdinit=/init panic=10 bootsvc.repair\n"
        "initrd updater.img\n"
        "boot\n"
    )
    network = (
        "-netdev",
        f"user,id=net,tftp={served},bootfile=boot.ipxe",
        "-device",
        "virtio-net-pci,netdev=net,bootindex=9",
    )
    machine = machine_with(lab, disk, base=replace(CONNECTED, extra=network))
    boot_code = read_range(disk, 0, 440)
    lose_table(disk, first=0)
    machine.power_on()
    updater = machine.vm.updater
    facts = updater.hold(180)
    assert any("partition table" in alarm for alarm in facts["alarms"])
    assert facts["slot"] == ""
    updater.perform("repair-gpt", word="REPAIR").require()
    assert is_sound(disk)
    updater.perform("go-on")
    machine.runs(1)
    # The table is back, GRUB's first sector is not: that is said in RECOVERY.md.
    assert read_range(disk, 0, 440) != boot_code
    assert machine.record().phase == "idle"


@pytest.mark.thorough
def test_of_several_disks_a_person_chooses_and_never_between_copies(lab: Lab) -> None:
    one = products.lab_disk(lab.directory / "one.img", V1.path)
    copy = Path(shutil.copy(one, lab.directory / "copy.img"))
    other = products.lab_disk(lab.directory / "other.img", V2.path)
    machine = machine_with(lab, other, one, copy)
    records = [read_range(path, 0, path.stat().st_size) for path in (one, copy)]
    machine.power_on()
    updater = machine.vm.updater
    with machine.vm.console.expecting(Bad.HALT):
        held_as_broken(updater)
        listed = updater.perform("choose-disk").require()
        assert listed.facts["disks"] == ["/dev/vda", "/dev/vdb", "/dev/vdc"]
        assert "serial lab2" in listed.lines[2]
        refused = updater.perform("choose-disk", disk="/dev/vda")
        assert not refused.is_done
        assert "copies of each other" in " ".join(refused.lines)
        updater.perform("choose-disk", disk="/dev/vdc").require()
        machine.runs(2)
    assert [read_range(path, 0, path.stat().st_size) for path in (one, copy)] == records
