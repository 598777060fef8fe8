"""The GUID partition table (UEFI specification 2.10, section 5.3).

The updater finds its partitions by type GUID and name in the disk's own table, never by number or
by the order of /dev (DESIGN 2). Tables are made by sfdisk; here a lost one at the disk's beginning
is made again from the spare at its end.

    LBA 1: header  offset size field           LBA 2..: entries  offset size field
                        0    8 "EFI PART"                             0   16 type GUID
                       12    4 header size (92)                      16   16 unique GUID
                       16    4 CRC-32 of the header                  32    8 first LBA
                       24    8 this LBA                              40    8 last LBA
                       56   16 disk GUID                             56   72 name, UTF-16LE
                       72    8 first LBA of the entries
                       80    4 number of entries      The spare header stands in the last LBA.
                       84    4 size of an entry
                       88    4 CRC-32 of the entries
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from construct import Bytes, Const, Container, Int32ul, Int64ul, Padding, Struct

from bootsvc.errors import ChecksumError, FieldError, FormatError, MagicError, StorageError
from bootsvc.formats._codec import crc32, parse_struct

HEADER_SIZE = 92
MAX_ENTRIES = 1024
ENTRY_SIZE = 128

TYPE_GUIDS = {
    "bios-grub": "21686148-6449-6e6f-744e-656564454649",
    "esp": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    "status": "b0075c00-0001-4b5a-8f3e-6d1c52a90001",
    "primary": "b0075c00-0002-4b5a-8f3e-6d1c52a90001",
    "backup": "b0075c00-0003-4b5a-8f3e-6d1c52a90001",
    "staging": "b0075c00-0004-4b5a-8f3e-6d1c52a90001",
    "data": "b0075c00-0005-4b5a-8f3e-6d1c52a90001",
}
"""Partition role -> GPT type GUID."""

NAMES = {role: role if role in ("bios-grub", "esp") else f"bootsvc-{role}" for role in TYPE_GUIDS}
"""Partition role -> GPT name."""

LAYOUT_ROLES = ("status", "primary", "backup", "staging")
"""The partitions that the boot-status record belongs to (``layout_hash``)."""

_MBR_ENTRIES = 446
_MBR_ENTRY_SIZE = 16
_MBR_MAGIC = 510

_HEADER = Struct(
    "signature" / Const(b"EFI PART"),
    "revision" / Int32ul,
    "header_size" / Int32ul,
    "header_crc" / Int32ul,
    Padding(4),
    "my_lba" / Int64ul,
    "alternate_lba" / Int64ul,
    "first_usable_lba" / Int64ul,
    "last_usable_lba" / Int64ul,
    "disk_guid" / Bytes(16),
    "entries_lba" / Int64ul,
    "entries_count" / Int32ul,
    "entry_size" / Int32ul,
    "entries_crc" / Int32ul,
)

_ENTRY = Struct(
    "type_guid" / Bytes(16),
    "guid" / Bytes(16),
    "first_lba" / Int64ul,
    "last_lba" / Int64ul,
    "attributes" / Int64ul,
    "name" / Bytes(72),
)


@dataclass(frozen=True)
class Partition:
    """One partition; ``index`` counts from 1 as in /dev/vda1, offset and size are bytes."""

    index: int
    type_guid: str
    guid: str
    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Gpt:
    """A disk's partition table; ``is_spare`` where only the spare header was readable."""

    disk_guid: str
    partitions: tuple[Partition, ...]
    sector_size: int
    is_spare: bool = False

    def by_role(self, role: str) -> tuple[Partition, ...]:
        """The partitions with the type GUID and the name of ``role``."""
        return tuple(
            part
            for part in self.partitions
            if part.type_guid == TYPE_GUIDS[role] and part.name == NAMES[role]
        )

    def layout_hash(self) -> bytes:
        """32 bytes that change when this is another disk or was partitioned anew (DESIGN 3)."""
        facts = [self.disk_guid]
        for role in LAYOUT_ROLES:
            facts += [f"{role} {p.guid} {p.offset} {p.size}" for p in self.by_role(role)]
        return hashlib.sha256("\n".join(facts).encode()).digest()


def parse_gpt(read: Callable[[int, int], bytes], size: int, sector_size: int = 512) -> Gpt:
    """The table of a disk of ``size`` bytes, from its first header or else from the spare one.

    Args:
        read: offset and length in bytes -> bytes.

    Raises:
        FormatError, StorageError: neither header is valid or readable; the message is that of
            the first.
    """
    try:
        return _parse_at(read, size, sector_size, lba=1)
    except (FormatError, StorageError) as first_error:
        try:
            return _parse_at(read, size, sector_size, lba=size // sector_size - 1)
        except (FormatError, StorageError):
            raise first_error from None


@dataclass(frozen=True)
class FirstSectors:
    """What stands at a disk's beginning, in whole sectors; offsets in bytes.

    Attributes:
        mbr: sector 0, with the boot code that was there and the entry that protects the disk from
            programs that know no GPT.
        header: of the partition table, for sector 1.
        entries: of the partition table.
        entries_offset: where they go.
    """

    mbr: bytes
    header: bytes
    entries: bytes
    entries_offset: int


def first_sectors_from_spare(
    read: Callable[[int, int], bytes], size: int, sector_size: int = 512
) -> FirstSectors:
    """What the beginning of a disk of ``size`` bytes must hold, by the spare table at its end.

    Args:
        read: offset and length in bytes -> bytes.

    Raises:
        FormatError, StorageError: the spare cannot be used, or a partition stands where the table
            would go.
    """
    spare, entries = _read_table(read, size, sector_size, lba=size // sector_size - 1)
    padded = entries + bytes(-len(entries) % sector_size)
    entries_lba = 2
    if entries_lba + len(padded) // sector_size > spare.first_usable_lba:
        raise FieldError("no room for a partition table at the disk's beginning")
    fields = {
        **spare,
        "header_crc": 0,
        "my_lba": 1,
        "alternate_lba": spare.my_lba,
        "entries_lba": entries_lba,
    }
    fields["header_crc"] = crc32(_HEADER.build(fields))
    try:
        mbr = read(0, sector_size)
    except StorageError:
        mbr = bytes(sector_size)
    return FirstSectors(
        mbr=_protected(mbr, size // sector_size),
        header=_HEADER.build(fields).ljust(sector_size, b"\0"),
        entries=padded,
        entries_offset=entries_lba * sector_size,
    )


def _protected(mbr: bytes, sectors: int) -> bytes:
    """Sector 0 with one entry of type 0xEE over the whole disk (UEFI 2.10, 5.2.3)."""
    types = mbr[_MBR_ENTRIES + 4 : _MBR_MAGIC : _MBR_ENTRY_SIZE]
    if mbr[_MBR_MAGIC : _MBR_MAGIC + 2] == b"\x55\xaa" and 0xEE in types:
        return mbr
    length = min(sectors - 1, 0xFFFFFFFF).to_bytes(4, "little")
    entry = b"\0\0\x02\0" + b"\xee\xff\xff\xff" + b"\x01\0\0\0" + length
    table = entry.ljust(_MBR_MAGIC - _MBR_ENTRIES, b"\0")
    return mbr[:_MBR_ENTRIES] + table + b"\x55\xaa" + mbr[_MBR_MAGIC + 2 :]


def _parse_at(read: Callable[[int, int], bytes], size: int, sector_size: int, lba: int) -> Gpt:
    header, entries = _read_table(read, size, sector_size, lba)
    return Gpt(
        disk_guid=_guid_text(header.disk_guid),
        partitions=tuple(_partitions(entries, size, sector_size)),
        sector_size=sector_size,
        is_spare=lba != 1,
    )


def _read_table(
    read: Callable[[int, int], bytes], size: int, sector_size: int, lba: int
) -> tuple[Container, bytes]:
    """The header at ``lba`` and the bytes of its entries, both checked."""
    what = f"GPT header at LBA {lba}"
    if not 0 < lba < size // sector_size:
        raise FieldError(f"{what}: the disk has only {size} bytes")
    sector = read(lba * sector_size, sector_size)
    if not sector.startswith(b"EFI PART"):
        raise MagicError(f"{what}: magic not found")
    header = parse_struct(_HEADER, sector, what)
    unsummed = sector[:16] + bytes(4) + sector[20:HEADER_SIZE]
    if header.header_size != HEADER_SIZE or header.my_lba != lba:
        raise FieldError(f"{what}: header size or own address is wrong")
    if header.header_crc != crc32(unsummed):
        raise ChecksumError(f"{what}: CRC-32 does not fit")
    if header.entry_size != ENTRY_SIZE or header.entries_count > MAX_ENTRIES:
        raise FieldError(f"{what}: {header.entries_count} entries of {header.entry_size} bytes")
    length = header.entries_count * ENTRY_SIZE
    start = header.entries_lba * sector_size
    if start + length > size:
        raise FieldError(f"{what}: its entries lie beyond the disk's end")
    entries = read(start, length)
    if header.entries_crc != crc32(entries):
        raise ChecksumError(f"{what}: CRC-32 of the entries does not fit")
    return header, entries


def _partitions(entries: bytes, size: int, sector_size: int) -> list[Partition]:
    found = []
    for index in range(len(entries) // ENTRY_SIZE):
        raw = entries[index * ENTRY_SIZE : (index + 1) * ENTRY_SIZE]
        if raw.startswith(bytes(16)):
            continue
        entry = parse_struct(_ENTRY, raw, f"GPT entry {index + 1}")
        offset = entry.first_lba * sector_size
        end = (entry.last_lba + 1) * sector_size
        if not offset < end <= size:
            raise FieldError(f"GPT entry {index + 1}: it ends before it begins or beyond the disk")
        name = entry.name.decode("utf-16-le", "replace").split("\0", 1)[0]
        found.append(
            Partition(
                index + 1,
                _guid_text(entry.type_guid),
                _guid_text(entry.guid),
                name,
                offset,
                end - offset,
            )
        )
    return found


def _guid_text(raw: bytes) -> str:
    """A GUID's usual spelling; its first three fields are little-endian on disk."""
    parts = (raw[3::-1], raw[5:3:-1], raw[7:5:-1], raw[8:10], raw[10:16])
    return "-".join(part.hex() for part in parts)
