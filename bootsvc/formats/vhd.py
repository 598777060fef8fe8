"""VHD, the older of Microsoft's disk formats (Virtual Hard Disk Image Format Specification 1.0).

All numbers are big-endian. Fixed: the disk's bytes, then the footer. Dynamic and differencing: a
copy of the footer, the header, the block table, the blocks, the footer. Each block begins with a
bitmap, one bit a sector, the highest bit of a byte first; in a differencing disk a sector whose
bit is not set is the parent's.

    footer, 512 bytes: 0 cookie | 16 data_offset u64, of the header | 48 current_size u64 |
                       60 kind u32 | 64 checksum u32 | 68 unique_id 16 bytes
    header, 1024:      0 cookie | 16 table_offset u64 | 28 entries u32 | 32 block_size u32 |
                       36 checksum u32 | 40 parent_id 16 | 64 parent_name, UTF-16, 512 bytes
    table:             entries times the sector where the block begins, u32; all ones: none

Read by hand, because no tool at hand reads a differencing disk rightly: qemu-img 7.2 takes what
is the parent's for zeros, libvhdi 20210425 takes up to seven sectors behind a changed one from the
child.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby

from construct import Bytes, Const, Int32ub, Int64ub, Padding, Struct

from bootsvc.errors import ChecksumError, FieldError
from bootsvc.formats._codec import parse_struct
from bootsvc.units import MIB, SECTOR_SIZE, round_up

COOKIE = b"conectix"
HEADER_COOKIE = b"cxsparse"
FOOTER_SIZE = 512
HEADER_SIZE = 1024
NO_BLOCK = 0xFFFFFFFF
MAX_SIZE = 2040 << 30
"""The format's own limit, 2040 GiB."""

_FOOTER = Struct(
    "cookie" / Const(COOKIE),
    Padding(8),
    "data_offset" / Int64ub,
    Padding(24),
    "current_size" / Int64ub,
    Padding(4),
    "kind" / Int32ub,
    "checksum" / Int32ub,
    "unique_id" / Bytes(16),
    Padding(428),
)

_HEADER = Struct(
    "cookie" / Const(HEADER_COOKIE),
    Padding(8),
    "table_offset" / Int64ub,
    Padding(4),
    "entries" / Int32ub,
    "block_size" / Int32ub,
    "checksum" / Int32ub,
    "parent_id" / Bytes(16),
    Padding(8),
    "parent_name" / Bytes(512),
    Padding(448),
)


class Kind(IntEnum):
    """The kinds of VHD that can be read."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True)
class Footer:
    """The end of a VHD. Sizes are bytes; ``unique_id`` has 16."""

    kind: Kind
    current_size: int
    data_offset: int
    unique_id: bytes


@dataclass(frozen=True)
class Header:
    """What a dynamic or differencing VHD has beside: where its blocks are, and its parent.

    Attributes:
        table_offset: of the block table, in bytes; ``entries`` of 4 bytes each.
        block_size: bytes of data in a block.
        parent_id: the parent's ``unique_id``; ``parent_name`` its file name.
    """

    table_offset: int
    entries: int
    block_size: int
    parent_id: bytes
    parent_name: str

    @property
    def bitmap_size(self) -> int:
        """Bytes of the bitmap before each block's data, whole sectors."""
        return round_up(self.block_size // SECTOR_SIZE // 8, SECTOR_SIZE)


def parse_footer(data: bytes) -> Footer:
    """The footer in ``data`` (512 bytes).

    Raises:
        FormatError: another format, a wrong checksum, or an unknown kind.
    """
    fields = parse_struct(_FOOTER, data, "VHD footer")
    _check_sum(data, 64, fields.checksum, "footer")
    if fields.kind not in Kind.__members__.values():
        raise FieldError(f"VHD footer: kind {fields.kind} is neither fixed, dynamic, differencing")
    size = fields.current_size
    if not 0 < size <= MAX_SIZE or size % SECTOR_SIZE:
        raise FieldError(f"VHD footer: current_size {size}: whole sectors up to 2040 GiB expected")
    return Footer(Kind(fields.kind), size, fields.data_offset, fields.unique_id)


def parse_header(data: bytes, disk_size: int) -> Header:
    """The header in ``data`` (1024 bytes) of a disk of ``disk_size`` bytes.

    Raises:
        FormatError: another format, a wrong checksum, or sizes that contradict each other.
    """
    fields = parse_struct(_HEADER, data, "VHD header")
    _check_sum(data, 36, fields.checksum, "header")
    block_size = fields.block_size
    if not SECTOR_SIZE * 8 <= block_size <= 256 * MIB or block_size & (block_size - 1):
        raise FieldError(f"VHD header: block_size {block_size}: a power of two up to 256 MiB")
    needed = -(-disk_size // block_size)
    if not needed <= fields.entries <= 2 * needed + 1024:
        raise FieldError(f"VHD header: {fields.entries} blocks, the disk has {needed}")
    name = fields.parent_name.decode("utf-16-be", errors="replace").split("\0")[0]
    return Header(fields.table_offset, needed, block_size, fields.parent_id, name)


def parse_table(data: bytes) -> tuple[int, ...]:
    """The sector where each block begins, or ``NO_BLOCK``."""
    return struct.unpack(f">{len(data) // 4}I", data)


def runs(bitmap: bytes, first: int, count: int) -> Iterator[tuple[bool, int]]:
    """Runs of equal bits among ``count`` of them, beginning with number ``first``: the bit, and
    how many."""
    bits = (bool(bitmap[at >> 3] & 0x80 >> (at & 7)) for at in range(first, first + count))
    return ((bit, sum(1 for _ in run)) for bit, run in groupby(bits))


def checksum_of(data: bytes, at: int) -> int:
    """One's complement of the sum of all bytes but the four at ``at``."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF


def _check_sum(data: bytes, at: int, found: int, what: str) -> None:
    if checksum_of(data, at) != found:
        raise ChecksumError(f"VHD {what}: its checksum does not fit")
