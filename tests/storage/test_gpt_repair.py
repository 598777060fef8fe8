"""A partition table that was lost at the disk's beginning comes back from the spare."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bootsvc.errors import DeviceError, FieldError, FormatError, LayoutError, ReadBackError
from bootsvc.formats.gpt import parse_gpt
from bootsvc.storage.gpt_repair import repair_first_table
from tests.formats.tables import write_gpt
from tests.formats.test_gpt import SYSTEM, made_by_sfdisk, parsed
from tests.storage.memory import Flushed, MemoryDevice, Operation, Written

HURTS: dict[str, Callable[[int], range]] = {
    "header": lambda sector: range(sector, sector + 92),
    "entries": lambda sector: range(2 * sector, 2 * sector + 700),
    "table": lambda sector: range(sector, 34 * 512 if sector == 512 else 6 * sector),
    "first MiB": lambda _: range(1 << 20),
}


def hurt(whole: bytes, where: range) -> bytearray:
    disk = bytearray(whole)
    disk[where.start : where.stop] = bytes(len(where))
    return disk


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("what", HURTS)
def test_the_table_is_again_as_sfdisk_made_it(what: str, sector_size: int) -> None:
    whole = made_by_sfdisk(sector_size)
    device = MemoryDevice(hurt(whole, HURTS[what](sector_size)), sector_size=sector_size)
    table = repair_first_table(device)
    assert not table.is_spare
    assert table == parsed(whole, sector_size)
    head = 2 * sector_size + 128 * 128
    assert device.bytes[sector_size:head] == whole[sector_size:head]
    assert device.bytes[-(1 << 20) :] == whole[-(1 << 20) :], "the spare is not touched"


def test_sfdisk_finds_nothing_wrong_with_a_repaired_disk(tmp_path: Path) -> None:
    device = MemoryDevice(hurt(made_by_sfdisk(512), range(1 << 20)))
    repair_first_table(device)
    path = tmp_path / "disk"
    path.write_bytes(device.bytes)
    sfdisk = shutil.which("sfdisk", path=SYSTEM)
    assert sfdisk, "sfdisk is missing: apt-get install fdisk"
    done = subprocess.run([sfdisk, "--verify", path], capture_output=True, text=True, check=True)
    assert "No errors detected" in done.stdout + done.stderr
    assert "corrupt" not in done.stderr


def test_boot_code_stays_and_a_protected_disk_keeps_its_sector_0() -> None:
    disk = hurt(made_by_sfdisk(512), range(512, 604))
    disk[:440] = b"\xeb" * 440
    before = bytes(disk[:512])
    device = MemoryDevice(disk)
    repair_first_table(device)
    assert device.bytes[:512] == before
    disk[510:512] = b"\0\0"
    disk[512:604] = bytes(92)
    device = MemoryDevice(disk)
    repair_first_table(device)
    assert device.bytes[:440] == before[:440]
    assert device.bytes[446:512] == before[446:512], "the entry that sfdisk wrote"


def test_a_whole_table_is_left_alone() -> None:
    device = MemoryDevice(made_by_sfdisk(512))
    with pytest.raises(LayoutError, match="is whole"):
        repair_first_table(device)
    assert not device.writes()


def test_without_a_spare_nothing_is_written() -> None:
    device = MemoryDevice(bytes(1 << 20))
    with pytest.raises(FormatError):
        repair_first_table(device)
    assert not device.writes()


def test_a_partition_where_the_table_would_go_is_not_overwritten() -> None:
    disk = bytearray(64 * 512)
    write_gpt(disk, {"status": range(17 * 512, 18 * 512)})
    spare = len(disk) - 512
    disk[spare + 40 : spare + 48] = (3).to_bytes(8, "little")  # the first usable sector
    disk[spare + 16 : spare + 20] = bytes(4)
    crc = zlib.crc32(disk[spare : spare + 92])
    disk[spare + 16 : spare + 20] = crc.to_bytes(4, "little")
    disk[512:1024] = bytes(512)
    device = MemoryDevice(disk)
    with pytest.raises(FieldError, match="no room"):
        repair_first_table(device)
    assert not device.writes()


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("what", HURTS)
def test_a_power_cut_leaves_the_disk_on_its_spare_or_repaired(what: str, sector_size: int) -> None:
    whole = made_by_sfdisk(sector_size)
    start = bytes(hurt(whole, HURTS[what](sector_size)))
    device = MemoryDevice(start, sector_size=sector_size)
    repair_first_table(device)
    wanted = parsed(whole, sector_size)
    left = cuts(start[:HEAD], device.log, sector_size)
    tables = {head: parse_gpt(reader(head, whole), len(whole), sector_size) for head in left}
    for table in tables.values():
        assert table.partitions == wanted.partitions
        assert table.layout_hash() == wanted.layout_hash()
    assert {table.is_spare for table in tables.values()} == {True, False}
    on_spare = [head for head, table in tables.items() if table.is_spare]
    for head in on_spare[:: max(1, len(on_spare) // 5)]:
        again = MemoryDevice(head + whole[HEAD:], sector_size=sector_size)
        assert repair_first_table(again) == wanted


HEAD = 32 * 4096
"""All that a repair may write to lies before this byte."""


def reader(head: bytes, whole: bytes) -> Callable[[int, int], bytes]:
    """Reads a disk that begins with ``head`` and goes on as ``whole``."""

    def read(offset: int, length: int) -> bytes:
        return (head if offset + length <= HEAD else whole)[offset : offset + length]

    return read


def cuts(start: bytes, log: list[Operation], sector_size: int) -> list[bytes]:
    """Every beginning of the disk that a cut may leave: what was flushed, and of what was not each
    sector alone, all sectors but one, and the first ones."""
    durable = bytearray(start)
    found = {bytes(start): None}
    epoch: list[tuple[int, bytes]] = []
    for one in log:
        if isinstance(one, Written):
            epoch += [
                (one.offset + at, one.data[at : at + sector_size])
                for at in range(0, len(one.data), sector_size)
            ]
        elif isinstance(one, Flushed):
            count = range(len(epoch))
            kept = [epoch[:number] for number in count] + [[epoch[number]] for number in count]
            kept += [epoch[:number] + epoch[number + 1 :] for number in count] + [epoch]
            for chosen in kept:
                disk = bytearray(durable)
                for offset, data in chosen:
                    disk[offset : offset + len(data)] = data
                found[bytes(disk)] = None
            durable, epoch = disk, []
    assert not epoch, "what is not flushed at the end may be lost"
    return list(found)


@pytest.mark.parametrize("part", [range(512), range(512, 1024), range(1024, 4096)])
def test_a_disk_whose_beginning_cannot_be_written_stays_on_its_spare(part: range) -> None:
    whole = made_by_sfdisk(512)
    for spoil, error in (("bad_writes", DeviceError), ("flips", ReadBackError)):
        device = MemoryDevice(hurt(whole, range(1 << 20)))
        setattr(device, spoil, [part])
        with pytest.raises(error):
            repair_first_table(device)
        device.bad_writes, device.flips = [], []
        table = parse_gpt(device.read_at, device.size)
        assert table.partitions == parsed(whole).partitions
        assert table.is_spare
