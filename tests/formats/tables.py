"""Partition tables written with ``struct`` alone: the tests' own opinion of the format."""

import struct
import uuid
import zlib

from bootsvc.formats.gpt import NAMES, TYPE_GUIDS

ENTRIES = 128


def write_gpt(disk: bytearray, parts: dict[str, range], sector_size: int = 512) -> None:
    """Write both headers for ``parts`` (role -> bytes) onto ``disk``."""
    last = len(disk) // sector_size - 1
    sectors = -(-ENTRIES * 128 // sector_size)
    entries = b"".join(_entry(role, where, sector_size) for role, where in parts.items())
    entries += bytes(ENTRIES * 128 - len(entries))
    for lba, other, entries_lba in ((1, last, 2), (last, 1, last - sectors)):
        header = _header(lba, other, entries_lba, last, entries)
        disk[lba * sector_size : lba * sector_size + len(header)] = header
        disk[entries_lba * sector_size : entries_lba * sector_size + len(entries)] = entries


def guid(text: str) -> bytes:
    return uuid.UUID(text).bytes_le


def _entry(role: str, where: range, sector_size: int) -> bytes:
    own = uuid.uuid5(uuid.NAMESPACE_DNS, role).bytes_le
    first, last = where.start // sector_size, where.stop // sector_size - 1
    name = NAMES[role].encode("utf-16-le").ljust(72, b"\0")
    return guid(TYPE_GUIDS[role]) + own + struct.pack("<QQQ", first, last, 0) + name


def _header(lba: int, other: int, entries_lba: int, last: int, entries: bytes) -> bytes:
    def packed(crc: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x10000,
            92,
            crc,
            0,
            lba,
            other,
            34,
            last - 33,
            uuid.uuid5(uuid.NAMESPACE_DNS, "disk").bytes_le,
            entries_lba,
            ENTRIES,
            128,
            zlib.crc32(entries),
        )

    return packed(zlib.crc32(packed(0)))
