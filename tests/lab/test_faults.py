"""Faults: which sectors become bad, and what QEMU is told."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from qemu_lab.errors import LabError
from qemu_lab.faults import MAX_RULES, Faults, bad_sectors
from qemu_lab.machine import Drive, Machine


def test_every_request_of_a_step_in_the_range_meets_a_bad_sector() -> None:
    sectors = bad_sectors(1024 * 1024, 10 * 4096)
    for request in range(1024 * 1024, 1024 * 1024 + 10 * 4096, 4096):
        assert any(request <= sector * 512 < request + 4096 for sector in sectors)


def test_no_sector_outside_the_range_is_bad() -> None:
    sectors = bad_sectors(4096, 8192)
    assert min(sectors) * 512 >= 4096
    assert max(sectors) * 512 < 4096 + 8192


def test_the_last_sector_of_the_range_is_bad_even_off_step() -> None:
    assert bad_sectors(0, 4096 + 512) == [0, 8]
    assert bad_sectors(0, 4096) == [0, 7]
    assert bad_sectors(512, 1) == [1]


def test_a_step_of_one_sector_makes_all_bad() -> None:
    assert bad_sectors(1024, 2048, step=512) == [2, 3, 4, 5]


@pytest.mark.parametrize(("offset", "length", "step"), [(0, 0, 4096), (-1, 5, 4096), (0, 5, 100)])
def test_ranges_that_make_no_sense_are_refused(offset: int, length: int, step: int) -> None:
    with pytest.raises(ValueError, match="range"):
        bad_sectors(offset, length, step)


def test_a_range_with_too_many_rules_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="widen step"):
        bad_sectors(0, (MAX_RULES + 2) * 4096)


class _Qemu:
    """Keeps the block graph as QEMU would: nodes by name, with their child."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.child = {"disk0": "disk0-format", "disk1": "disk1-format"}
        self.objects: set[str] = set()

    def __call__(self, command: str, arguments: dict[str, Any]) -> None:
        self.commands.append((command, arguments))
        if command == "blockdev-add":
            self.child[arguments["node-name"]] = arguments.get("image") or arguments["file"]
        elif command == "blockdev-reopen":
            for options in arguments["options"]:
                assert options["file"] in {*self.child, "disk0-format", "disk1-format"}
                self.child[options["node-name"]] = options["file"]
        elif command == "blockdev-del":
            name = arguments["node-name"]
            assert name not in self.child.values(), f"{name} is in use"
            del self.child[name]
        elif command == "object-add":
            self.objects.add(arguments["id"])
        elif command == "object-del":
            self.objects.remove(arguments["id"])

    def below(self, node: str) -> list[str]:
        chain = []
        while node in self.child:
            node = self.child[node]
            chain.append(node)
        return chain


@pytest.fixture
def qemu() -> _Qemu:
    return _Qemu()


@pytest.fixture
def faults(qemu: _Qemu) -> Faults:
    return Faults(qemu, Machine(drives=(Drive(Path("/a")), Drive(Path("/b")))))


def test_an_error_is_put_between_guest_and_disk_and_taken_out(qemu: _Qemu, faults: Faults) -> None:
    with faults.io_error(0, 0, 4096, operations=("read",), error=errno.ENOSPC) as fault:
        assert qemu.below("disk0") == [fault.node, "disk0-format"]
        assert qemu.below("disk1") == ["disk1-format"]
        rules = qemu.commands[0][1]["inject-error"]
        assert {rule["errno"] for rule in rules} == {errno.ENOSPC}
        assert {rule["iotype"] for rule in rules} == {"read"}
        assert [rule["sector"] for rule in rules] == [0, 7]
    assert qemu.child == {"disk0": "disk0-format", "disk1": "disk1-format"}


def test_a_flush_error_has_no_sector(qemu: _Qemu, faults: Faults) -> None:
    faults.io_error(0, 0, 4096, operations=("flush",))
    (rule,) = qemu.commands[0][1]["inject-error"]
    assert "sector" not in rule


def test_faults_of_one_drive_add_up_and_go_in_any_order(qemu: _Qemu, faults: Faults) -> None:
    first = faults.io_error(0, 0, 4096)
    slow = faults.throttle(0, bytes_per_second=1000)
    last = faults.io_error(0, 8192, 4096)
    assert qemu.below("disk0") == [last.node, slow.node, first.node, "disk0-format"]
    slow.remove()
    assert qemu.below("disk0") == [last.node, first.node, "disk0-format"]
    assert qemu.objects == set()
    slow.remove()  # harmless
    first.remove()
    assert qemu.below("disk0") == [last.node, "disk0-format"]
    last.remove()
    assert qemu.below("disk0") == ["disk0-format"]


def test_a_throttle_has_its_limits(qemu: _Qemu, faults: Faults) -> None:
    faults.throttle(0, bytes_per_second=1000, requests_per_second=5)
    command, arguments = qemu.commands[0]
    assert command == "object-add"
    assert arguments["limits"] == {"bps-total": 1000, "iops-total": 5}


def test_a_drive_that_hangs_passes_less_than_any_request(qemu: _Qemu, faults: Faults) -> None:
    with faults.hang(1):
        assert qemu.commands[0][1]["limits"] == {"bps-total": 1}
        assert qemu.below("disk0") == ["disk0-format"]
    assert qemu.objects == set()


def test_a_power_cut_takes_all_faults_out(faults: Faults) -> None:
    fault = faults.io_error(0, 0, 4096)
    faults.restart(Machine(drives=(Drive(Path("/c")),)))
    assert not faults.active
    fault.remove()  # there is no QEMU to tell


def test_a_drive_that_the_machine_does_not_have_is_refused(faults: Faults) -> None:
    with pytest.raises(LabError, match="drive 2"):
        faults.throttle(2, bytes_per_second=1)
    faults.restart(Machine(drives=(Drive(Path("/c")),)))
    with pytest.raises(LabError, match="drive 1: this machine has 1"):
        faults.throttle(1, bytes_per_second=1)
