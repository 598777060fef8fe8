"""FAT32 (Microsoft's specification 1.03), as far as the updater's slots need it. Pure.

A volume that mkfs.vfat made is described by its first sector: where its two allocation tables and
its clusters lie. Files are written by ``storage.updater_slots`` in one piece, so a chain is a run
of neighbouring clusters; names have the form 8.3.

    first sector    offset size field             folder entry   offset size field
                       11    2 bytes a sector                       0   11 name, padded with blanks
                       13    1 sectors a cluster                   11    1 0x10 folder, 0x08 label
                       14    2 sectors before the tables           12    1 0x18 show in lower case
                       16    1 number of tables                    20    2 first cluster, upper half
                       17    2 0: FAT32                            24    2 date of the last change
                       19    2 sectors in all, or 0                26    2 first cluster, lower half
                       22    2 0: FAT32                            28    4 bytes; 0 for a folder
                       32    4 sectors in all where that is 0
                       36    4 sectors of a table
                       44    4 first cluster of the top folder
                       48    2 sector of the free count
                      510    2 0x55 0xAA
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from construct import Bytes, Const, Int8ul, Int16ul, Int32ul, Padding, Struct

from bootsvc.errors import FieldError
from bootsvc.formats._codec import parse_struct

ENTRY_SIZE = 32
FAT_ENTRY_SIZE = 4
FIRST_CLUSTER = 2
"""Clusters are counted from 2 (the table's first two entries mean something else)."""

FREE_COUNT_OFFSET = 488
"""Where the sector of the free count holds it: u32; 0xFFFFFFFF = unknown."""

_LAST = 0x0FFFFFFF
_FOLDER = 0x10
_LABEL = 0x08
_LOWER_CASE = 0x18
_FIRST_DAY = 0x21
"""1980-01-01: what is written in place has no other date."""

_BOOT_SECTOR = Struct(
    Padding(11),
    "sector_size" / Int16ul,
    "cluster_sectors" / Int8ul,
    "reserved_sectors" / Int16ul,
    "tables" / Int8ul,
    "old_root_entries" / Const(0, Int16ul),
    "few_sectors" / Int16ul,
    Padding(1),
    "old_table_sectors" / Const(0, Int16ul),
    Padding(8),
    "sectors" / Int32ul,
    "table_sectors" / Int32ul,
    Padding(4),
    "root_cluster" / Int32ul,
    "free_count_sector" / Int16ul,
    Padding(460),
    "signature" / Const(b"\x55\xaa"),
)

_ENTRY = Struct(
    "name" / Bytes(11),
    "attributes" / Int8ul,
    "case" / Int8ul,
    Padding(7),
    "cluster_high" / Int16ul,
    Padding(2),
    "date" / Int16ul,
    "cluster_low" / Int16ul,
    "size" / Int32ul,
)


@dataclass(frozen=True)
class Geometry:
    """Where everything lies on a volume, in bytes from its beginning.

    Attributes:
        tables: offset of each allocation table; table_size: bytes of one.
        data_offset: the first cluster, which has the number 2.
        clusters: how many there are.
        free_count: offset of the sector that holds the number of free clusters.
    """

    sector_size: int
    cluster_size: int
    tables: tuple[int, ...]
    table_size: int
    data_offset: int
    clusters: int
    root_cluster: int
    free_count: int

    def offset_of(self, cluster: int) -> int:
        """Where cluster number ``cluster`` begins."""
        return self.data_offset + (cluster - FIRST_CLUSTER) * self.cluster_size

    @property
    def entries_a_sector(self) -> int:
        """Clusters that one sector of a table describes."""
        return self.sector_size // FAT_ENTRY_SIZE


@dataclass(frozen=True)
class Run:
    """Neighbouring clusters: the first one's number, and how many."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The number behind the last one."""
        return self.first + self.count


@dataclass(frozen=True)
class Entry:
    """One name in a folder, in lower case; ``size`` is in bytes, 0 for a folder."""

    name: str
    cluster: int
    size: int = 0
    is_folder: bool = False


def parse_geometry(sector: bytes) -> Geometry:
    """The volume that begins with ``sector``, 512 bytes or more.

    Raises:
        FormatError: it is none of FAT32.
    """
    what = "first sector of the ESP"
    boot = parse_struct(_BOOT_SECTOR, sector, what)
    size = boot.sector_size
    if size not in (512, 1024, 2048, 4096) or not boot.cluster_sectors or not boot.tables:
        raise FieldError(f"{what}: {size}-byte sectors, {boot.tables} tables")
    data = boot.reserved_sectors + boot.tables * boot.table_sectors
    sectors = boot.few_sectors or boot.sectors
    clusters = (sectors - data) // boot.cluster_sectors
    if clusters < 1 or (clusters + FIRST_CLUSTER) * FAT_ENTRY_SIZE > boot.table_sectors * size:
        raise FieldError(f"{what}: its tables do not fit its {sectors} sectors")
    return Geometry(
        sector_size=size,
        cluster_size=boot.cluster_sectors * size,
        tables=tuple(
            (boot.reserved_sectors + number * boot.table_sectors) * size
            for number in range(boot.tables)
        ),
        table_size=boot.table_sectors * size,
        data_offset=data * size,
        clusters=clusters,
        root_cluster=boot.root_cluster,
        free_count=boot.free_count_sector * size,
    )


def build_chains(runs: Iterable[Run]) -> bytes:
    """The table's entries for files that lie in ``runs``, one behind the other without a gap."""
    entries: list[int] = []
    for run in runs:
        entries += range(run.first + 1, run.end)
        entries.append(_LAST)
    return struct.pack(f"<{len(entries)}I", *entries)


def build_folder(entries: Iterable[Entry], size: int) -> bytes:
    """A folder of ``size`` bytes. Raises FieldError: it has no room for so many."""
    data = b"".join(map(_build_entry, entries))
    if len(data) >= size:
        raise FieldError(f"{len(data) // ENTRY_SIZE} names do not fit a folder of {size} bytes")
    return data + bytes(size - len(data))


def parse_folder(data: bytes) -> tuple[Entry, ...]:
    """The short names in a folder's bytes; long names and the label are left out."""
    found = []
    for at in range(0, len(data) - ENTRY_SIZE + 1, ENTRY_SIZE):
        raw = data[at : at + ENTRY_SIZE]
        if raw[0] == 0:
            break
        entry = parse_struct(_ENTRY, raw, "folder entry")
        if raw[0] == 0xE5 or entry.attributes & _LABEL:
            continue
        base, extension = (
            part.decode("ascii", "replace").rstrip() for part in (entry.name[:8], entry.name[8:])
        )
        name = f"{base}.{extension}" if extension else base
        found.append(
            Entry(
                name.lower(),
                entry.cluster_high << 16 | entry.cluster_low,
                entry.size,
                is_folder=bool(entry.attributes & _FOLDER),
            )
        )
    return tuple(found)


def with_entry(folder: bytes, entry: Entry) -> bytes:
    """A folder's bytes with one more name at its end. Raises FieldError: it is full."""
    for at in range(0, len(folder) - ENTRY_SIZE + 1, ENTRY_SIZE):
        if folder[at] == 0:
            return folder[:at] + _build_entry(entry) + folder[at + ENTRY_SIZE :]
    raise FieldError("the folder has no room for another name")


def _build_entry(entry: Entry) -> bytes:
    if entry.name in (".", ".."):
        name = entry.name.ljust(11)
    else:
        base, _, extension = entry.name.upper().partition(".")
        name = base.ljust(8) + extension.ljust(3)
    built: bytes = _ENTRY.build(
        {
            "name": name.encode("ascii"),
            "attributes": _FOLDER if entry.is_folder else 0,
            "case": _LOWER_CASE,
            "cluster_high": entry.cluster >> 16,
            "date": _FIRST_DAY,
            "cluster_low": entry.cluster & 0xFFFF,
            "size": entry.size,
        }
    )
    return built
