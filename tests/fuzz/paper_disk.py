"""A disk of which only its beginning and its end are written down: room for both GPT headers."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from bootsvc.errors import OutOfBoundsError
from bootsvc.units import MIB

SIZE = 8 * MIB
"""Bytes of the disk; between what is written down it holds zeros."""

_HEADER_SIZE = 92
_MOST_SUMMED = 1024 * 128


@dataclass
class PaperDisk:
    """A ``storage.device.Device`` that is only read; a parser never writes."""

    head: bytes
    tail: bytes
    sector_size: int
    name: str = "paper"
    size: int = SIZE

    def read_at(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OutOfBoundsError(f"{length} bytes at {offset} of {self.size}")
        found = bytearray(length)
        for at, written in ((0, self.head), (self.size - len(self.tail), self.tail)):
            first, last = max(at, offset), min(at + len(written), offset + length)
            if first < last:
                found[first - offset : last - offset] = written[first - at : last - at]
        return bytes(found)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        raise AssertionError(f"{len(data)} bytes were written at {offset}")

    def flush(self) -> None:
        raise AssertionError("a disk that is only read was flushed")

    def as_bytes(self) -> bytes:
        """What ``disk_of`` makes this disk of; head and tail have the same length."""
        return self.head + self.tail


def disk_of(data: bytes) -> PaperDisk:
    """The first half of ``data`` begins the disk, the rest ends it.

    The very first byte, which no table uses, is 1 where sectors have 4096 bytes.
    """
    half = len(data) // 2
    return PaperDisk(data[:half], data[half:], 4096 if data[:1] == b"\1" else 512)


def resummed(disk: PaperDisk) -> PaperDisk:
    """The same disk with right addresses and checksums in both GPT headers."""
    head, tail = bytearray(disk.head), bytearray(disk.tail)
    for part, at, lba in (
        (head, disk.sector_size, 1),
        (tail, len(tail) - disk.sector_size, disk.size // disk.sector_size - 1),
    ):
        if at < 0 or part[at : at + 8] != b"EFI PART" or len(part) < at + _HEADER_SIZE:
            continue
        struct.pack_into("<Q", part, at + 24, lba)
        (entries_lba,) = struct.unpack_from("<Q", part, at + 72)
        count, size = struct.unpack_from("<II", part, at + 80)
        start = min(entries_lba * disk.sector_size, disk.size)
        length = min(count * size, _MOST_SUMMED, disk.size - start)
        written = PaperDisk(bytes(head), bytes(tail), disk.sector_size)
        struct.pack_into("<I", part, at + 88, zlib.crc32(written.read_at(start, length)))
        struct.pack_into("<I", part, at + 16, 0)
        struct.pack_into("<I", part, at + 16, zlib.crc32(part[at : at + _HEADER_SIZE]))
    return PaperDisk(bytes(head), bytes(tail), disk.sector_size)
