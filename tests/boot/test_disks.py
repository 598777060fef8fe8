"""The updater's disk among others, in a made-up /sys/block."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootsvc.boot import disks
from bootsvc.boot.disks import find_disk, partition_node
from bootsvc.errors import LayoutError, SeveralDisksError
from bootsvc.formats.boot_status import Area
from bootsvc.storage.device import DirectDevice
from tests.bench import DISK_SIZE, PARTS
from tests.formats.tables import write_gpt


class Machine:
    """Block devices: files below ``dev`` with entries in a made-up /sys/block."""

    def __init__(self, base: Path) -> None:
        self.sys_block, self.dev = base / "block", base / "dev"
        self.sys_block.mkdir()
        self.dev.mkdir()
        self.slept = 0

    def add(self, name: str, content: bytes | None) -> None:
        (self.sys_block / name).mkdir()
        if content is not None:
            (self.dev / name).write_bytes(content)

    def open(self, path: Path, *, writable: bool) -> DirectDevice:
        assert path.parent == Path("/dev")
        return DirectDevice(self.dev / path.name, writable=writable)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(disks, "SYS_BLOCK", made.sys_block)
    monkeypatch.setattr(disks, "DirectDevice", made.open)
    return made


def ours(without: str = "") -> bytes:
    content = bytearray(DISK_SIZE)
    write_gpt(content, {role: part for role, part in PARTS.items() if role != without})
    return bytes(content)


def test_the_disk_is_found_among_others_by_its_partitions(machine: Machine) -> None:
    machine.add("vda", bytes(1 << 20))
    machine.add("vdb", ours())
    machine.add("sr0", None)
    machine.add("loop0", ours())  # a mapped file may hold a copy of the disk
    disk = find_disk(0)
    assert Path(disk.device.name).name == "vdb"
    assert set(disk.areas) == {Area.PRIMARY, Area.BACKUP, Area.STAGING}


def test_of_two_disks_neither_is_taken_and_both_are_named(machine: Machine) -> None:
    machine.add("vda", ours())
    machine.add("vdb", ours())
    with pytest.raises(SeveralDisksError, match=r"several disks .*/vda, .*/vdb$") as caught:
        find_disk(0)
    assert "unplug one, or choose one at the console" in caught.value.hint


def test_without_a_disk_each_candidate_says_what_it_lacks(machine: Machine) -> None:
    machine.add("vda", bytes(1 << 20))
    machine.add("vdb", ours(without="staging"))
    machine.add("vdc", None)
    with pytest.raises(LayoutError, match="no disk with bootsvc's partitions") as caught:
        find_disk(0)
    said = str(caught.value)
    assert "vdb: " in said
    assert "bootsvc-staging" in said
    assert "vdc: " in said
    assert "bootsvc disk create" in caught.value.hint


def test_a_disk_that_appears_late_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(_: float) -> None:
        machine.slept += 1
        if machine.slept == 3:
            machine.add("nvme0n1", ours())

    monkeypatch.setattr("time.sleep", sleep)
    looked: list[int] = []
    disk = find_disk(30, lambda: looked.append(machine.slept))
    assert Path(disk.device.name).name == "nvme0n1"
    assert looked == [0, 1, 2], "a long wait is no hang"


def test_a_partitions_node_is_the_one_that_the_kernel_shows(machine: Machine) -> None:
    machine.add("nvme0n1", ours())
    disk = find_disk(0)
    for number in (1, 2, 3, 11):
        entry = machine.sys_block / "nvme0n1" / f"nvme0n1p{number}"
        entry.mkdir()
        (entry / "partition").write_text(f"{number}\n")
    (machine.sys_block / "nvme0n1" / "queue").mkdir()
    roles = list(PARTS)
    assert partition_node(disk, roles[0]) == Path("/dev/nvme0n1p1")
    assert partition_node(disk, roles[1]) == Path("/dev/nvme0n1p2")
    with pytest.raises(LayoutError, match=r"no partition 4 \(staging\)") as caught:
        partition_node(disk, "staging")
    assert "kernel option gpt" in caught.value.hint
    with pytest.raises(LayoutError, match="0 partitions named bootsvc-data"):
        partition_node(disk, "data")
