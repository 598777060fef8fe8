"""The partition table: sfdisk's own tables, the spare header, garbage."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import ChecksumError, DeviceError, FormatError, LayoutError, MagicError
from bootsvc.formats.gpt import NAMES, TYPE_GUIDS, Gpt, parse_gpt
from bootsvc.storage.disk import disk_on
from bootsvc.units import MIB
from tests.formats.tables import write_gpt
from tests.storage.memory import MemoryDevice

SYSTEM = "/usr/sbin:/sbin:/usr/bin:/bin"
SIZE = 16 * MIB


@cache
def made_by_sfdisk(sector_size: int) -> bytes:
    """A disk with one MiB for every role, but four for status and for data.

    Only fdisk can be told a sector size (util-linux 2.38); it reads the same script.
    """
    program = shutil.which("sfdisk" if sector_size == 512 else "fdisk", path=SYSTEM)
    assert program, "sfdisk is missing: apt-get install fdisk"
    with TemporaryDirectory() as directory:
        path, script = Path(directory) / "disk", Path(directory) / "script"
        path.write_bytes(bytes(SIZE))
        script.write_text(script_of(sector_size))
        words = [] if sector_size == 512 else ["-b", str(sector_size)]
        subprocess.run(
            [program, *words, path],
            input=script.read_text() if sector_size == 512 else f"I\n{script}\nw\n",
            text=True,
            check=True,
            capture_output=True,
        )
        return path.read_bytes()


def script_of(sector_size: int) -> str:
    lines = ["label: gpt", "label-id: 11111111-2222-4333-8444-555555555555", "unit: sectors", ""]
    at = MIB // sector_size
    for role in TYPE_GUIDS:
        size = (4 if role in ("status", "data") else 1) * MIB // sector_size
        lines.append(f'start={at}, size={size}, type={TYPE_GUIDS[role]}, name="{NAMES[role]}"')
        at += size
    return "\n".join(lines) + "\n"


def parsed(disk: bytes | bytearray, sector_size: int = 512) -> Gpt:
    device = MemoryDevice(disk, sector_size=sector_size)
    return parse_gpt(device.read_at, device.size, sector_size)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_a_table_made_by_sfdisk_is_read_as_it_was_asked_for(sector_size: int) -> None:
    table = parsed(made_by_sfdisk(sector_size), sector_size)
    assert table.disk_guid == "11111111-2222-4333-8444-555555555555"
    assert [part.name for part in table.partitions] == list(NAMES.values())
    assert [part.type_guid for part in table.partitions] == list(TYPE_GUIDS.values())
    assert [part.index for part in table.partitions] == list(range(1, 8))
    assert [part.offset // MIB for part in table.partitions] == [1, 2, 3, 7, 8, 9, 10]
    assert [part.size // MIB for part in table.partitions] == [1, 1, 4, 1, 1, 1, 4]
    assert not table.is_spare


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("hurt", ["header", "entries", "all of it"])
def test_the_spare_header_serves_where_the_first_is_damaged(sector_size: int, hurt: str) -> None:
    whole = made_by_sfdisk(sector_size)
    disk = bytearray(whole)
    at = {"header": sector_size + 60, "entries": 2 * sector_size + 5, "all of it": 0}[hurt]
    length = 40 * 512 if hurt == "all of it" else 1
    disk[at : at + length] = bytes(byte ^ 0xFF for byte in disk[at : at + length])
    table = parsed(disk, sector_size)
    assert table.is_spare
    assert table.partitions == parsed(whole, sector_size).partitions
    assert table.layout_hash() == parsed(whole, sector_size).layout_hash()


def test_the_spare_header_serves_where_the_first_cannot_be_read() -> None:
    device = MemoryDevice(made_by_sfdisk(512))
    device.bad_reads = [range(512, 1024)]
    assert parse_gpt(device.read_at, device.size).is_spare
    device.bad_reads.append(range(device.size - 512, device.size))
    with pytest.raises(DeviceError):
        parse_gpt(device.read_at, device.size)


def test_with_both_headers_damaged_the_first_ones_error_is_told() -> None:
    disk = bytearray(made_by_sfdisk(512))
    disk[600] ^= 1
    disk[-440] ^= 1
    with pytest.raises(ChecksumError, match="LBA 1"):
        parsed(disk)
    with pytest.raises(MagicError):
        parsed(bytes(SIZE))


@pytest.mark.parametrize("size", [0, 1, 512, 1023, 1024, 2048])
def test_a_disk_too_small_for_a_table_is_a_format_error(size: int) -> None:
    with pytest.raises(FormatError):
        parsed(bytes(size))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=512), st.binary(max_size=300), st.booleans())
def test_garbage_is_a_format_error_and_nothing_else(
    header: bytes, entries: bytes, is_magic: bool
) -> None:
    disk = bytearray(64 * 512)
    disk[512 : 512 + len(header)] = header
    disk[1024 : 1024 + len(entries)] = entries
    if is_magic:
        disk[512:524] = b"EFI PART" + struct.pack("<HH", 0, 1)
        struct.pack_into("<II", disk, 524, 92, 0)
        struct.pack_into("<Q", disk, 536, 1)
        struct.pack_into("<I", disk, 528, zlib.crc32(disk[512:604]))
    with pytest.raises(FormatError):
        parsed(disk)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_partition_outside_the_disk_is_refused_in_spite_of_right_checksums(
    first: int, last: int
) -> None:
    disk = bytearray(64 * 512)
    write_gpt(disk, {"status": range(17408, 20480)})
    disk[-512:] = bytes(512)
    struct.pack_into("<QQ", disk, 1024 + 32, first, last)
    struct.pack_into("<I", disk, 512 + 88, zlib.crc32(disk[1024 : 1024 + 128 * 128]))
    struct.pack_into("<I", disk, 512 + 16, 0)
    struct.pack_into("<I", disk, 512 + 16, zlib.crc32(disk[512 : 512 + 92]))
    if first <= last < 64:
        assert parsed(disk).partitions[0].size == (last + 1 - first) * 512
    else:
        with pytest.raises(FormatError):
            parsed(disk)


def test_the_layout_hash_changes_with_any_partition_that_the_record_belongs_to() -> None:
    before = parsed(made_by_sfdisk(512)).layout_hash()
    parts = {
        part.name.removeprefix("bootsvc-"): part for part in parsed(made_by_sfdisk(512)).partitions
    }
    for role in ("status", "primary", "backup", "staging"):
        moved = {
            name: range(part.offset, part.offset + part.size - (512 if name == role else 0))
            for name, part in parts.items()
        }
        disk = bytearray(SIZE)
        write_gpt(disk, moved)
        assert parsed(disk).layout_hash() != before


def test_partitions_are_found_by_type_and_name_together_and_only_once_each() -> None:
    disk = bytearray(made_by_sfdisk(512))
    device = MemoryDevice(disk)
    assert disk_on(device).partition("primary").offset == 7 * MIB
    for other in ({}, {"primary": range(7 * MIB, 8 * MIB)}):
        blank = bytearray(SIZE)
        write_gpt(blank, other)
        with pytest.raises(LayoutError, match="bootsvc-"):
            disk_on(MemoryDevice(blank))
