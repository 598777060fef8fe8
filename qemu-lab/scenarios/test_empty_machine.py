"""A machine whose disk holds nothing of bootsvc installs itself, from a kernel and an initramfs."""

import random
from dataclasses import replace

import pytest

from bootsvc.disk.boot_menu import FIXED_OPTIONS
from bootsvc.errors import FormatError
from bootsvc.formats.gpt import parse_gpt
from bootsvc.units import MIB
from qemu_lab import Bad, Drive, Machine
from qemu_lab.disk import create_blank, read_range, write_range
from qemu_lab.image_server import GUEST_SEES, ImageServer
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import Subject

pytestmark = pytest.mark.vm

V1 = ProbeImage(1)
SIZE = 420 * MIB + 7 * 512
"""No whole MiB, as real disks have none."""
OTHER_SYSTEM = random.Random(5).randbytes(MIB)  # noqa: S311  # the same each time, on purpose
INSTALL_S = 240.0
"""Longest time until the first word of an image that is fetched and installed before."""


def test_an_empty_machine_gets_its_disk_and_its_image_whatever_cuts_it_off(lab: Lab) -> None:
    disk = lab.directory / "disk.img"
    drive = create_blank(disk, SIZE)
    write_range(disk, 0, OTHER_SYSTEM)
    options = f"{products.CONSOLE} {products.QUICK} {FIXED_OPTIONS} bootsvc.disk_wait_s=1"
    started = Machine(
        drives=(drive,),
        kernel=products.kernel("cloud").vmlinuz,
        initrd=products.installer("cloud"),
        append=options,
        network=True,
        updater_port=True,
    )
    told = f"{options} bootsvc.create-disk=only"
    vm = lab.vm(replace(started, append=told))
    with ImageServer({"v1.bimg": V1.path}) as server:
        # Another system is on the disk: nobody there may erase it.
        vm.start()
        with vm.console.expecting(Bad.HALT):
            vm.console.wait_for_text("the disk is not empty: /dev/vda", INSTALL_S)
            # Somebody is there, and is shown what he gives away.
            updater = vm.updater
            assert updater.hold()["has_installer"]
            (shown,) = updater.perform("create-disk").require().facts["disks"]
            assert (shown["disk"], shown["size"], shown["serial"]) == ("/dev/vda", SIZE, "lab0")
            for word in ("", "ERASE", "ERASE /dev/vdb"):
                assert not updater.perform("create-disk", word=word, disk="/dev/vda").is_done
            assert read_range(disk, 0, MIB) == OTHER_SYSTEM
            updater.send(
                b'{"do":"perform","action":"create-disk","word":"ERASE /dev/vda",'
                b'"arguments":{"disk":"/dev/vda"}}\n'
            )
            updater.wait("progress", INSTALL_S)
            vm.power_cut()
        with pytest.raises(FormatError):
            parse_gpt(lambda at, length: read_range(disk, at, length), SIZE)
        # What is left is an empty disk. A rack of such machines is told by one text for all.
        source = server.url("v1.bimg", GUEST_SEES)
        vm.machine = replace(started, append=f"{told} bootsvc.install={source}")
        vm.start()
        vm.console.wait_for_text("/dev/vda is a disk of bootsvc now", INSTALL_S)
        machine = Subject(vm, disk)
        machine.runs(1, trial=True, timeout=INSTALL_S)
        machine.confirm()
        machine.vm.quit()
    # Its own boot loader, its own updater, nothing from outside.
    machine.vm.machine = Machine(drives=(Drive(disk),))
    machine.power_on()
    machine.runs(1, timeout=INSTALL_S)
    assert machine.record().phase == "idle"
