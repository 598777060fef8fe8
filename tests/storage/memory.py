"""A disk in memory that writes down what is done to it, and fails where it is told to."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from bootsvc.errors import DeviceError, OutOfBoundsError
from bootsvc.units import SECTOR_SIZE


@dataclass(frozen=True)
class Written:
    """One write as the disk received it."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class Flushed:
    """The disk was asked to empty its cache."""


@dataclass(frozen=True)
class WasRead:
    """One read."""

    offset: int
    length: int


Operation = Written | Flushed | WasRead


class MemoryDevice:
    """A strict device: unaligned or outside accesses are refused, every operation is kept."""

    def __init__(self, content: bytes | bytearray, *, sector_size: int = SECTOR_SIZE) -> None:
        self.name = "memory"
        self.bytes = bytearray(content)
        self.size = len(content)
        self.sector_size = sector_size
        self.log: list[Operation] = []
        self.bad_reads: list[range] = []
        self.bad_writes: list[range] = []
        self.flips: list[range] = []

    def read_at(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        self.log.append(WasRead(offset, length))
        self._fail(self.bad_reads, "read", offset, length)
        return bytes(self.bytes[offset : offset + length])

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._check(offset, len(data))
        if offset % self.sector_size or len(data) % self.sector_size:
            raise OutOfBoundsError(f"write at {offset} of {len(data)} bytes is not aligned")
        self._fail(self.bad_writes, "write", offset, len(data))
        self.log.append(Written(offset, bytes(data)))
        self.bytes[offset : offset + len(data)] = data
        for flip in self.flips:
            if _meet(flip, offset, len(data)):
                self.bytes[max(flip.start, offset)] ^= 1

    def flush(self) -> None:
        self.log.append(Flushed())

    def writes(self) -> list[Written]:
        return [one for one in self.log if isinstance(one, Written)]

    def reads_in(self, where: range) -> list[WasRead]:
        return [
            one
            for one in self.log
            if isinstance(one, WasRead) and _meet(where, one.offset, one.length)
        ]

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size:
            raise OutOfBoundsError(f"{length} bytes at {offset} of {self.size}")

    def _fail(self, bad: list[range], operation: str, offset: int, length: int) -> None:
        if any(_meet(one, offset, length) for one in bad):
            raise DeviceError(self.name, operation, offset, errno.EIO, os.strerror(errno.EIO))


def _meet(where: range, offset: int, length: int) -> bool:
    return offset < where.stop and where.start < offset + length
