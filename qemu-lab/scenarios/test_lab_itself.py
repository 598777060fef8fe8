"""The lab tested on a tiny guest: what every other scenario relies on."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from qemu_lab import (
    Bad,
    BadOutputError,
    DeadlineError,
    Drive,
    LostVMError,
    Machine,
    Stage,
    VMLaunchFailure,
    disk,
    tiny_guest,
)
from qemu_lab.pytest_plugin import Lab
from qemu_lab.tiny_guest import TinyGuest

pytestmark = pytest.mark.vm

MIB = 1024 * 1024
BUSES: tuple[tuple[Literal["virtio", "nvme", "ide", "sata"], Literal[512, 4096]], ...] = (
    ("virtio", 4096),
    ("nvme", 512),
    ("ide", 512),
    ("sata", 512),
)
BOOT = 60
"""Seconds within which the tiny guest must be up (it needs 3 to 7 under emulation)."""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> TinyGuest:
    return tiny_guest.build(tmp_path_factory.mktemp("tiny"), version="7")


def _machine(guest: TinyGuest, *drives: Drive) -> Machine:
    return Machine(
        drives=drives,
        memory_mib=128,
        kernel=guest.kernel,
        initrd=guest.initrd,
        append=guest.append,
    )


def test_a_guest_says_hello_and_answers(lab: Lab, guest: TinyGuest) -> None:
    vm = lab.vm(_machine(guest))
    vm.start()
    vm.console.wait_for(Stage.FIRMWARE, BOOT)
    vm.console.wait_for(Stage.KERNEL, BOOT)
    assert vm.port.wait_hello(BOOT) == {"version": "7"}
    vm.console.wait_for(Stage.OS_UP, BOOT)

    assert vm.port.ask("version").text == "7"
    reply = vm.port.ask("run echo one; echo ' two'; printf three; exit 5")
    assert reply.lines == ("one", " two", "three")
    assert reply.status == 5

    vm.port.ask("poweroff").require()
    vm.wait_off(BOOT)
    assert not vm.running


def test_a_power_cut_keeps_completed_writes_and_a_reset_keeps_the_console(
    lab: Lab, guest: TinyGuest
) -> None:
    drive = disk.create_blank(lab.directory / "data.img", 8 * MIB)
    vm = lab.vm(_machine(guest, drive))
    vm.start()
    vm.port.wait_hello(BOOT)
    vm.port.run("yes bootsvc | dd of=/dev/vda bs=4096 count=4 iflag=fullblock oflag=direct")
    in_guest = vm.port.ask("sha256 /dev/vda 4096 8192").require().text
    vm.power_cut()
    with pytest.raises(LostVMError):
        vm.port.ask("version", 1)
    assert disk.sha256_range(drive.path, 4096, 8192) == in_guest

    vm.start()
    vm.port.wait_hello(BOOT)
    vm.reset()
    vm.console.wait_for(Stage.KERNEL, BOOT)
    vm.port.wait_hello(BOOT)
    vm.console.wait_for(Stage.OS_UP, BOOT)
    transcript = vm.console.transcript.path.read_text()
    assert transcript.count("lab: responder up") == 3
    assert transcript.count("=== power on") == 2
    assert "=== reset by the lab" in transcript


def test_a_machine_that_vanishes_is_lost_and_not_a_failed_expectation(
    lab: Lab, guest: TinyGuest
) -> None:
    vm = lab.vm(_machine(guest))
    vm.start()
    vm.console.wait_for(Stage.KERNEL, BOOT)
    os.kill(vm.pid, signal.SIGKILL)
    with pytest.raises(LostVMError, match="status -9"):
        vm.console.wait_for(Stage.OS_UP, BOOT)
    with pytest.raises(LostVMError, match="status -9"):
        vm.port.wait_hello(BOOT)


def test_a_machine_that_cannot_be_made_shows_command_and_output(lab: Lab, guest: TinyGuest) -> None:
    vm = lab.vm(_machine(guest, Drive(Path("/nowhere/disk.img"))))
    with pytest.raises(VMLaunchFailure, match="No such file") as caught:
        vm.start()
    assert caught.value.exit_code == 1
    assert "-blockdev" in caught.value.command


def test_every_piece_of_equipment_is_accepted_by_qemu(lab: Lab) -> None:
    drives = tuple(
        replace(
            disk.create_blank(lab.directory / f"{bus}.img", 8 * MIB), bus=bus, sector_bytes=size
        )
        for bus, size in BUSES
    )
    machine = Machine(
        drives=drives,
        memory_mib=32,
        smp=2,
        watchdog="i6300esb",
        pstore=lab.directory / "pstore",
        network=True,
    )
    vm = lab.vm(machine)
    vm.start(paused=True)
    for index in range(len(drives)):
        vm.faults.io_error(index, 0, MIB).remove()
    with pytest.raises(DeadlineError, match="RESUME"):
        vm.wait_event("RESUME", 0.1)
    vm.resume()
    vm.wait_event("RESUME", 5)
    vm.quit()
    assert not vm.running


def test_a_disk_can_be_taken_out_while_the_guest_runs(lab: Lab, guest: TinyGuest) -> None:
    vm = lab.vm(_machine(guest, disk.create_blank(lab.directory / "data.img", 8 * MIB)))
    vm.start()
    vm.port.wait_hello(BOOT)
    vm.port.run("test -b /dev/vda")
    vm.unplug(0)
    vm.port.run("test ! -e /dev/vda")


def test_a_panic_fails_a_wait_unless_it_was_declared(lab: Lab, guest: TinyGuest) -> None:
    vm = lab.vm(_machine(guest))
    vm.start()
    vm.port.wait_hello(BOOT)
    vm.console.wait_for(Stage.OS_UP, BOOT)
    vm.port.ask("panic").require()
    with pytest.raises(BadOutputError, match="kernel panic") as caught:
        vm.console.wait_for(Stage.OS_UP, BOOT)
    assert str(vm.console.transcript.path) in str(caught.value)
    # panic=5 on its command line: it comes back by itself.
    vm.wait_event("RESET", BOOT, expecting={Bad.KERNEL_PANIC})
    vm.port.wait_hello(BOOT)


def test_an_injected_error_reaches_the_guest_and_goes_again(lab: Lab, guest: TinyGuest) -> None:
    base = disk.create_blank(lab.directory / "base.img", 8 * MIB)
    vm = lab.vm(_machine(guest, disk.create_overlay(base.path, lab.directory / "top.qcow2")))
    vm.start()
    vm.port.wait_hello(BOOT)
    read_inside = "run dd if=/dev/vda bs=4096 skip=511 count=2 iflag=direct of=/dev/null"
    read_before = "run dd if=/dev/vda bs=4096 skip=510 count=2 iflag=direct of=/dev/null"
    write_inside = "run dd if=/dev/zero of=/dev/vda bs=4096 seek=600 count=1 oflag=direct"

    with vm.faults.io_error(0, 2 * MIB, MIB, error=errno.EIO):
        assert "Input/output error" in vm.port.ask(read_inside).text
        assert "Input/output error" in vm.port.ask(write_inside).text
        vm.port.ask(read_before).require()
        assert vm.wait_event("BLOCK_IO_ERROR", 5).data["action"] == "report"
    vm.port.ask(read_inside).require()
    vm.port.ask(write_inside).require()

    with vm.faults.throttle(0, bytes_per_second=MIB), vm.faults.io_error(0, 0, 4096):
        began = time.monotonic()
        vm.port.run("dd if=/dev/zero of=/dev/vda bs=1M seek=4 count=3 oflag=direct")
        assert time.monotonic() - began > 1  # two seconds' worth beyond the first burst
        assert not vm.port.ask("run dd if=/dev/vda bs=4096 count=1 of=/dev/null").ok
    vm.port.ask("run dd if=/dev/vda bs=4096 count=1 of=/dev/null").require()


def test_a_saved_state_starts_twice_where_it_was_left(lab: Lab, guest: TinyGuest) -> None:
    drive = disk.create_blank(lab.directory / "data.img", 8 * MIB)
    vm = lab.vm(_machine(guest, drive))
    vm.start()
    vm.port.wait_hello(BOOT)
    vm.port.run("echo remembered >/run/note; echo on-disk | dd of=/dev/vda conv=fsync")
    state = vm.save_state(lab.directory / "state")
    assert not vm.running

    for name in ("first", "second"):
        again = lab.vm_from_state(state, name)
        again.start()
        # Both see the same moment: what the first one wrote is not there for the second.
        assert again.port.run("cat /run/note") == "remembered"
        assert again.port.run("head -c 7 /dev/vda") == "on-disk"
        again.port.run("echo changed | dd of=/dev/vda conv=fsync; echo changed >/run/note")
        again.power_cut()
    # A power cut ends the state: the next start is an ordinary boot from what is on the disk.
    again.start()
    again.port.wait_hello(BOOT)
    assert again.port.run("head -c 7 /dev/vda") == "changed"
