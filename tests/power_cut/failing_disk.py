"""A disk that fails at one operation, once or from then on.

A fault is named by its kind and by the number of the operation that it falls on; reads, writes and
flushes of a start count from 0. What it falls on is an operation of the run without faults, so up
to it both runs are the same.

    read-error      a read gives EIO, once
    bad-sector      a sector of what is read gives EIO from then on; writes to it are accepted
    weak-sector     the same until it is written anew, as disks do that put another in its place
    flipped-read    what is read has one bit flipped, once
    flipped-medium  one bit flips on the medium, under what is read
    write-error     a write gives EIO, once; its first half has arrived
    dead-sector     a sector of what is written takes no writes any more: EIO
    lost-write      a write is reported as done, and the old bytes stay
    flush-error     a flush gives EIO, once
    read-only       this write and all later ones give EROFS
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from bootsvc.errors import DeviceError
from tests.power_cut.disk import Flushed, Operation, SimulatedDisk, Snapshot, WasRead, Written

READ_KINDS = ("read-error", "bad-sector", "weak-sector", "flipped-read", "flipped-medium")
WRITE_KINDS = ("write-error", "dead-sector", "lost-write", "read-only")
FLUSH_KINDS = ("flush-error",)
KINDS = (*READ_KINDS, *WRITE_KINDS, *FLUSH_KINDS)
STICKY = frozenset({"bad-sector", "weak-sector", "dead-sector", "read-only"})
"""The kinds that are still there at the next start."""

UNREADABLE = ("bad-sector", "weak-sector")
"""The kinds in which a sector cannot be read for longer than once."""

FOR_GOOD = STICKY | {"flipped-medium"}
"""The kinds that leave the disk otherwise than it was; a flipped bit is part of its content."""

REFUSED_WITH = dict.fromkeys(KINDS, errno.EIO) | {
    "read-only": errno.EROFS, "lost-write": 0, "flipped-read": 0, "flipped-medium": 0,
}  # fmt: skip
"""The error number that each kind gives; 0: it gives none, the bytes are wrong."""

SPREAD = 7919
"""A prime: from one operation to the next, faults fall on another place within it."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        at: number of the operation that it falls on.
        offset, length: bytes of the disk that the operation is about; 0 for a flush.
    """

    kind: str
    at: int
    offset: int = 0
    length: int = 0

    @property
    def place(self) -> int:
        """The byte within the operation that a bit flips in, or whose sector is bad."""
        return self.offset + self.at * SPREAD % self.length if self.length else 0

    def sector(self, size: int) -> range:
        """The sector that ``place`` lies in, for sectors of ``size`` bytes."""
        start = self.place // size * size
        return range(start, start + size)


@dataclass(frozen=True)
class Flip:
    """A bit that flipped on the medium: where, and the byte as it became and as it was."""

    at: int
    became: int
    was: int


def faults_of(log: tuple[Operation, ...]) -> list[Fault]:
    """Every fault that may fall on an operation of a start."""
    faults: list[Fault] = []
    number = 0
    for one in log:
        match one:
            case WasRead(offset, length):
                faults += [Fault(kind, number, offset, length) for kind in READ_KINDS]
            case Written(offset, data):
                faults += [Fault(kind, number, offset, len(data)) for kind in WRITE_KINDS]
            case Flushed():
                faults += [Fault(kind, number) for kind in FLUSH_KINDS]
            case _:
                continue
        number += 1
    return faults


class FailingDisk(SimulatedDisk):
    """A simulated disk with at most one fault.

    Attributes:
        has_fired: the fault fell on an operation of this start, or was there from the beginning.
        is_failing: it is there.
        flip: the bit that flipped on the medium.
    """

    def __init__(
        self,
        content: Snapshot,
        sector_size: int,
        fault: Fault | None = None,
        *,
        is_failing: bool = False,
    ) -> None:
        super().__init__(content, sector_size)
        self.fault = fault
        self.has_fired = is_failing
        self.is_failing = is_failing
        self.flip: Flip | None = None
        self._number = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``, or what the fault makes of them."""
        kind = self._next()
        if kind == "flipped-medium":
            self._flip_medium()
        data = super().read_at(offset, length)
        if kind == "read-error" or self._meets(UNREADABLE, offset, length):
            raise self._error("read", offset)
        if kind == "flipped-read":
            at = self._fault.place - offset
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return data

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write whole sectors, or what the fault lets through."""
        kind = self._next()
        if self.is_failing and self._fault.kind == "read-only":
            raise self._error("write", offset)
        if kind == "write-error":
            half = len(data) // self.sector_size // 2 * self.sector_size
            if half:
                super().write_at(offset, data[:half])
            raise self._error("write", offset)
        if self._meets(("dead-sector",), offset, len(data)):
            arrived = self._fault.sector(self.sector_size).start - offset
            if arrived > 0:
                super().write_at(offset, data[:arrived])
            raise self._error("write", offset)
        before = self.content
        super().write_at(offset, data)
        if kind == "lost-write":
            self.content = before
        if self._meets(("weak-sector",), offset, len(data)):
            self.is_failing = False

    def flush(self) -> None:
        """Have the cache emptied, or say that this failed."""
        kind = self._next()
        super().flush()
        if kind == "flush-error":
            raise self._error("flush", 0)

    @property
    def _fault(self) -> Fault:
        assert self.fault is not None
        return self.fault

    def _next(self) -> str:
        """Count one operation; the kind of the fault that falls on it, or nothing."""
        number, self._number = self._number, self._number + 1
        if self.fault is None or self.has_fired or self.fault.at != number:
            return ""
        self.has_fired = True
        self.is_failing = self.fault.kind in STICKY
        return self.fault.kind

    def _meets(self, kinds: tuple[str, ...], offset: int, length: int) -> bool:
        """Whether an access touches the sector that is bad in one of these ways."""
        if not self.is_failing or self._fault.kind not in kinds:
            return False
        bad = self._fault.sector(self.sector_size)
        return offset < bad.stop and bad.start < offset + length

    def _flip_medium(self) -> None:
        at = self._fault.place
        (was,) = self.content.read(at, 1)
        self.flip = Flip(at, was ^ 1, was)
        self.content = self.content.written(at, bytes([was ^ 1]))

    def _error(self, operation: str, offset: int) -> DeviceError:
        number = REFUSED_WITH[self._fault.kind]
        return DeviceError(self.name, operation, offset, number, os.strerror(number))
