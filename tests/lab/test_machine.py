"""QEMU command lines from machine descriptions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from bootsvc.boot import program_peer
from qemu_lab.machine import (
    PORT_NAME,
    PSTORE_BYTES,
    UPDATER_PORT_NAME,
    Drive,
    Machine,
    Wiring,
    compose,
    compose_interactive,
    describe,
)

WIRING = Wiring(qmp_fd=5, serial_fd=7, port_fd=9)


def _command(machine: Machine, wiring: Wiring = WIRING, accel: str = "tcg") -> list[str]:
    return compose(machine, wiring, accel=accel)


def _values(command: list[str], option: str) -> list[str]:
    return [command[i + 1] for i, word in enumerate(command[:-1]) if word == option]


def _devices(command: list[str]) -> list[dict[str, object]]:
    return [json.loads(value) for value in _values(command, "-device") if value.startswith("{")]


def test_a_plain_machine_is_small_and_bare() -> None:
    command = _command(Machine())
    assert _values(command, "-m") == ["256M"]
    assert _values(command, "-cpu") == ["qemu64"]
    assert _values(command, "-accel") == ["tcg"]
    assert _values(command, "-machine") == ["pc,graphics=off"]
    assert "-nodefaults" in command
    for absent in ("-kernel", "-S", "-incoming", "-netdev", "-no-reboot", "-no-shutdown"):
        assert absent not in command


def test_the_three_channels_use_the_given_descriptors() -> None:
    chardevs = _values(_command(Machine()), "-chardev")
    assert chardevs == ["socket,id=qmp,fd=5", "socket,id=console,fd=7", "socket,id=port,fd=9"]
    assert any(PORT_NAME in value for value in _values(_command(Machine()), "-device"))


def test_the_updaters_port_is_there_only_where_a_machine_has_one() -> None:
    machine = Machine(updater_port=True)
    command = _command(machine, replace(WIRING, updater_fd=11))
    assert "socket,id=updater,fd=11" in _values(command, "-chardev")
    assert any(UPDATER_PORT_NAME in value for value in _values(command, "-device"))
    assert not any(UPDATER_PORT_NAME in value for value in _command(Machine()))
    assert UPDATER_PORT_NAME == program_peer.PORT_NAME


def test_a_drive_can_be_reopened_and_reports_errors_to_the_guest() -> None:
    drive = Drive(Path("/disks/a,b c.qcow2"), format="qcow2")
    command = _command(Machine(drives=(drive,)))
    (node,) = (json.loads(value) for value in _values(command, "-blockdev"))
    assert (node["driver"], node["node-name"]) == ("raw", "disk0")
    assert (node["file"]["driver"], node["file"]["node-name"]) == ("qcow2", "disk0-format")
    assert node["file"]["file"]["filename"] == "/disks/a,b c.qcow2"
    (device,) = _devices(command)
    assert device["drive"] == "disk0"
    assert (device["werror"], device["rerror"]) == ("report", "report")
    assert device["bootindex"] == 0


def test_a_recorded_drive_keeps_its_log_below_the_format() -> None:
    command = _command(Machine(drives=(Drive(Path("/d"), write_log=Path("/log")),)))
    (node,) = (json.loads(value) for value in _values(command, "-blockdev"))
    recorder = node["file"]["file"]
    assert recorder["driver"] == "blklogwrites"
    assert recorder["file"]["filename"] == "/d"
    assert recorder["log"]["filename"] == "/log"


def test_only_a_raw_drive_can_be_recorded() -> None:
    drive = Drive(Path("/d"), format="qcow2", write_log=Path("/log"))
    with pytest.raises(ValueError, match="only a raw disk can be recorded"):
        _command(Machine(drives=(drive,)))


def test_each_bus_has_its_device_and_sector_size() -> None:
    buses: tuple[Literal["virtio", "nvme", "ide", "sata"], ...] = ("virtio", "nvme", "ide", "sata")
    drives = tuple(Drive(Path(f"/d/{bus}"), bus=bus, sector_bytes=4096) for bus in buses)
    command = _command(Machine(drives=drives))
    devices = _devices(command)
    assert [device["driver"] for device in devices] == [
        "virtio-blk-pci",
        "nvme",
        "ide-hd",
        "ide-hd",
    ]
    assert {device["logical_block_size"] for device in devices} == {4096}
    assert [device["bootindex"] for device in devices] == [0, 1, 2, 3]
    assert "werror" not in devices[1]  # nvme has no such property
    assert "ahci,id=ahci" in _values(command, "-device")


def test_direct_boot_leaves_the_boot_order_to_the_kernel() -> None:
    machine = Machine(
        drives=(Drive(Path("/d")),),
        kernel=Path("/k"),
        initrd=Path("/i"),
        append="console=ttyS0 quiet",
    )
    command = _command(machine)
    assert _values(command, "-kernel") == ["/k"]
    assert _values(command, "-initrd") == ["/i"]
    assert _values(command, "-append") == ["console=ttyS0 quiet"]
    assert "bootindex" not in _devices(command)[0]


def test_a_watchdog_comes_with_its_action() -> None:
    command = _command(Machine(watchdog="i6300esb", watchdog_action="pause"))
    assert "i6300esb,id=watchdog" in _values(command, "-device")
    assert _values(command, "-action") == ["watchdog=pause"]


def test_pstore_is_backed_by_its_file() -> None:
    command = _command(Machine(pstore=Path("/p"), rng=False))
    (store,) = (json.loads(value) for value in _values(command, "-object"))
    assert store["mem-path"] == "/p"
    assert store["size"] == PSTORE_BYTES
    assert store["share"] is True
    assert "acpi-erst,memdev=erst" in _values(command, "-device")


def test_a_paused_and_a_continued_start_are_asked_for() -> None:
    assert "-S" in _command(Machine(), replace(WIRING, paused=True))
    assert _values(_command(Machine(), replace(WIRING, incoming=True)), "-incoming") == ["defer"]


def test_extra_options_come_last() -> None:
    assert _command(Machine(extra=("-d", "int")))[-2:] == ["-d", "int"]


def test_the_interactive_machine_is_the_same_board_on_the_terminal() -> None:
    machine = Machine(drives=(Drive(Path("/d")),), watchdog="i6300esb")
    interactive = compose_interactive(machine, accel="tcg")
    assert _values(interactive, "-serial") == ["mon:stdio"]
    for option in ("-machine", "-cpu", "-m", "-blockdev", "-action"):
        assert _values(interactive, option) == _values(_command(machine), option)


@pytest.mark.parametrize(
    "machine",
    [
        Machine(),
        Machine(
            drives=(
                Drive(Path("/a"), write_log=Path("/log")),
                Drive(Path("/b"), format="qcow2", bus="nvme"),
            ),
            memory_mib=128,
            watchdog="i6300esb",
            kernel=Path("/k"),
            initrd=Path("/i"),
            pstore=Path("/p"),
            extra=("-d", "int"),
        ),
    ],
)
def test_a_description_survives_json(machine: Machine) -> None:
    assert Machine.from_json(machine.to_json()) == machine


def test_a_machine_is_described_in_one_line() -> None:
    text = describe(Machine(drives=(Drive(Path("/x/disk.img")),), watchdog="i6300esb"))
    assert text == "256 MiB, 1 x qemu64, pc, virtio disk.img, i6300esb"
