"""Several disks with the same names: what tells them apart, and when nobody can choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.boot import disk_choice, disks
from bootsvc.boot.disk_choice import choose, describe_disk, found_disks, refusal_of
from bootsvc.errors import LayoutError
from bootsvc.formats.boot_status import Area
from bootsvc.storage import disk as storage_disk
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import Disk
from tests.bench import Bench


class Machine:
    """Disk files with entries in a made-up /sys/block."""

    def __init__(self, base: Path) -> None:
        self.base = base
        (base / "block").mkdir()

    def add(self, name: str, *, model: str = "", serial: str = "", twin: bool = True) -> Path:
        path = self.base / name
        Bench(path)
        if not twin:
            give_guids_of_its_own(path)
        entry = self.base / "block" / name
        (entry / "device").mkdir(parents=True)
        if model:
            (entry / "device/model").write_text(f"{model}   \n")
        if serial:
            (entry / "serial").write_text(f"{serial}\n")
        return path

    def open(self, path: Path, *, writable: bool) -> DirectDevice:
        device = DirectDevice(self.base / path.name, writable=writable)
        device.name = str(path)
        return device

    @contextmanager
    def open_disk(self, path: Path, *, writable: bool) -> Iterator[Disk]:
        with storage_disk.open_disk(self.base / path.name, writable=writable) as disk:
            yield disk


def give_guids_of_its_own(path: Path) -> None:
    """Every GUID in both tables gets another first byte, and the checksums follow."""
    import zlib

    content = bytearray(path.read_bytes())
    last = len(content) // 512 - 1
    for lba in (1, last):
        at = lba * 512
        entries = int.from_bytes(content[at + 72 : at + 80], "little") * 512
        for number in range(128):
            where = entries + number * 128
            if any(content[where : where + 16]):
                content[where + 16] ^= 0xFF
        content[at + 56] ^= 0xFF
        crc = zlib.crc32(content[entries : entries + 128 * 128])
        content[at + 88 : at + 92] = crc.to_bytes(4, "little")
        content[at + 16 : at + 20] = bytes(4)
        content[at + 16 : at + 20] = zlib.crc32(content[at : at + 92]).to_bytes(4, "little")
    path.write_bytes(content)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(disks, "SYS_BLOCK", tmp_path / "block")
    monkeypatch.setattr(disk_choice, "open_disk", made.open_disk)
    monkeypatch.setattr(disk_choice, "DirectDevice", made.open)
    return made


def test_each_disk_is_described_by_what_stands_on_it_and_on_its_label(machine: Machine) -> None:
    machine.add("sda", model="FAST SSD", serial="A-17")
    machine.add("sdb", twin=False)
    (machine.base / "block/sdc").mkdir()
    (machine.base / "sdc").write_bytes(bytes(1 << 20))
    one, other = found_disks()
    assert (one.node, one.model, one.serial) == ("/dev/sda", "FAST SSD", "A-17")
    assert (other.node, other.model, other.serial) == ("/dev/sdb", "", "")
    assert one.sequence > 0
    line = describe_disk(one)
    assert line.startswith("/dev/sda: FAST SSD, serial A-17, ")
    assert f"record {one.sequence}; next: start primary" in line
    assert describe_disk(other).startswith("/dev/sdb: ")


def test_a_disk_whose_record_is_lost_is_listed_and_says_so(machine: Machine) -> None:
    path = machine.add("sda")
    with storage_disk.open_disk(path, writable=True) as disk:
        for offset in (0, 2 << 20):
            disk.status.device.write_at(offset, bytes(4096))
    (one,) = found_disks()
    assert one.sequence == 0
    assert "its record is lost" in describe_disk(one)


def test_the_disk_that_a_person_names_is_the_one_that_is_used(machine: Machine) -> None:
    machine.add("sda")
    machine.add("sdb", twin=False)
    disk = choose("/dev/sdb")
    assert disk.device.name == "/dev/sdb"
    assert set(disk.areas) == {Area.PRIMARY, Area.BACKUP, Area.STAGING}


def test_copies_of_each_other_cannot_be_chosen_between(machine: Machine) -> None:
    machine.add("sda")
    machine.add("sdb")
    machine.add("sdc", twin=False)
    with pytest.raises(LayoutError, match="/dev/sda and /dev/sdb are copies") as caught:
        choose("/dev/sda")
    assert caught.value.hint == "unplug one"
    assert choose("/dev/sdc").device.name == "/dev/sdc"


def test_one_shared_guid_is_enough_to_be_a_copy(machine: Machine) -> None:
    machine.add("sda")
    machine.add("sdb", twin=False)
    one, other = found_disks()
    assert refusal_of(one, (one, other)) == ""
    shared = replace(other, guids=other.guids | {min(one.guids)})
    assert "copies of each other" in refusal_of(one, (one, shared))


def test_a_name_that_is_none_of_them_is_refused_with_those_there_are(machine: Machine) -> None:
    machine.add("sda")
    with pytest.raises(LayoutError, match="/dev/sdq") as caught:
        choose("/dev/sdq")
    assert "/dev/sda" in caught.value.hint
