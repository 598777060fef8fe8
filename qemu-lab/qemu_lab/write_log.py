"""The log of every write to a disk, as QEMU's ``blklogwrites`` and Linux's dm-log-writes keep it.

Layout of the file; all numbers are little-endian, all lengths but that of a mark in log sectors::

    superblock, one log sector          entry, one log sector, its data behind it
      0  8  magic "rhswfsj"               0  8  first sector on the disk
      8  8  version, 1                    8  8  number of sectors
     16  8  number of entries            16  8  flags
     24  4  size of a log sector         24  8  bytes of the mark that follows in this sector

Flags: 1 flush, 2 FUA, 4 discard (no data), 8 mark, 16 metadata. A flush that bears data comes
before them. Source: Linux, Documentation/admin-guide/device-mapper/log-writes.rst, and QEMU,
block/blklogwrites.c.

QEMU appends a request when it is complete. So a write that was on its way while the disk was
flushed may stand before that flush in the log without having been covered by it: what is concluded
from the log holds for a guest that waits for its writes before it flushes, as bootsvc does.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

from qemu_lab.disk import copy_sparse
from qemu_lab.errors import WriteLogError

MAGIC = 0x6A736677736872
VERSION = 1
LOG_SECTORS = (512, 1024, 2048, 4096)
MAX_ENTRIES = 1_000_000
"""Far above any scenario (some hundreds): a bound for what a damaged superblock may ask for."""

MAX_DISK = 1 << 62
"""Above any disk, in bytes: no sum of an offset and a length overflows 64 bits."""

_SUPERBLOCK = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")


class Flag(IntFlag):
    """What kind of request an entry is; 0 for a plain write."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8
    METADATA = 16


_KNOWN = sum(Flag)


@dataclass(frozen=True)
class Entry:
    """One request that the disk completed.

    Attributes:
        number: its place in the log, from 0.
        flags: what it is.
        offset, length: bytes of the disk that it wrote or discarded; length 0: none.
        data_at: where its data (of a mark: its text) stand in the log file, in bytes.
        mark: bytes of its text; 0 unless it is a mark.
    """

    number: int
    flags: Flag
    offset: int
    length: int
    data_at: int
    mark: int = 0

    @property
    def is_flush(self) -> bool:
        """Whether the disk emptied its cache (before it took the data of this entry, if any)."""
        return Flag.FLUSH in self.flags

    @property
    def is_write(self) -> bool:
        """Whether it changed bytes of the disk."""
        return self.length > 0

    @property
    def is_durable(self) -> bool:
        """Whether its own data were on the medium when it was complete."""
        return Flag.FUA in self.flags

    @property
    def end(self) -> int:
        """The first byte behind what it wrote."""
        return self.offset + self.length


def create_log(path: Path) -> None:
    """Make an empty log where there is none yet: QEMU appends to it.

    Raises:
        OSError: it cannot be written.
    """
    if not path.exists():
        sector = LOG_SECTORS[0]
        path.write_bytes(_SUPERBLOCK.pack(MAGIC, VERSION, 0, sector).ljust(sector, b"\0"))


class WriteLog:
    """A complete log: of a machine that is off.

    Attributes:
        entries: all of them, in the order in which they were completed.
    """

    def __init__(self, path: Path) -> None:
        """Reads every entry; the data stay in the file.

        Raises:
            WriteLogError: it is no such log, or damaged.
            OSError: it cannot be read.
        """
        self._path = path
        with path.open("rb") as file:
            head = file.read(_SUPERBLOCK.size)
            if len(head) < _SUPERBLOCK.size:
                raise WriteLogError(f"{path}: too short for a superblock")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, version, count, self._sector = _SUPERBLOCK.unpack(head)
        if magic != MAGIC or version != VERSION:
            raise WriteLogError(f"{path}: no log of writes (magic {magic:#x}, version {version})")
        if self._sector not in LOG_SECTORS or count > MAX_ENTRIES:
            raise WriteLogError(f"{path}: {count} entries in sectors of {self._sector} bytes")
        self.entries = tuple(self._read(count))

    def data(self, entry: Entry) -> bytes:
        """What ``entry`` wrote; zeros for a discard, which promises nothing."""
        if Flag.DISCARD in entry.flags:
            return bytes(entry.length)
        return self._map[entry.data_at : entry.data_at + entry.length]

    def mark(self, entry: Entry) -> bytes:
        """The text of a mark."""
        return self._map[entry.data_at : entry.data_at + entry.mark]

    def _read(self, count: int) -> Iterator[Entry]:
        at = self._sector
        for number in range(count):
            if at + self._sector > len(self._map):
                raise self._bad(number, "lies behind the end of the file")
            first, sectors, flags, mark = _ENTRY.unpack_from(self._map, at)
            if flags & ~_KNOWN:
                raise self._bad(number, f"has unknown flags {flags:#x}")
            if first + sectors > MAX_DISK // self._sector:
                raise self._bad(number, f"writes {sectors} sectors at {first}")
            if flags & Flag.MARK and sectors:
                raise self._bad(number, "is a mark and a write at once")
            if mark > (self._sector - _ENTRY.size if flags & Flag.MARK else 0):
                raise self._bad(number, f"has a mark of {mark} bytes")
            data_at = at + (_ENTRY.size if flags & Flag.MARK else self._sector)
            length = sectors * self._sector
            at += self._sector + (0 if flags & Flag.DISCARD else length)
            if at > len(self._map):
                raise self._bad(number, "has its data behind the end of the file")
            yield Entry(number, Flag(flags), first * self._sector, length, data_at, mark)

    def _bad(self, number: int, what: str) -> WriteLogError:
        return WriteLogError(f"{self._path}: entry {number} {what}")


@dataclass(frozen=True)
class Epoch:
    """The writes between two flushes.

    Attributes:
        first: number of the entry at which it begins: all before it is on the medium.
        stop: number of the entry at which the next one begins.
        writes: those in between, in order.
    """

    first: int
    stop: int
    writes: tuple[Entry, ...]


def epochs_of(entries: Iterable[Entry]) -> list[Epoch]:
    """The log cut at its flushes; the last epoch may be open, and any may have no writes."""
    epochs: list[Epoch] = []
    first, stop = 0, 0
    writes: list[Entry] = []
    for entry in entries:
        stop = entry.number + 1
        if entry.is_flush:
            begins = entry.number if entry.is_write else stop
            epochs.append(Epoch(first, begins, tuple(writes)))
            first, writes = begins, []
        if entry.is_write:
            writes.append(entry)
    if writes:
        epochs.append(Epoch(first, stop, tuple(writes)))
    return epochs


class Replay:
    """A disk, rebuilt as it was at any point of its log.

    One sparse file holds the disk as of ``position`` and only moves forward; what stands beyond it
    is put on a private copy-on-write mapping of that file, so a rebuilt disk costs only the pages
    that differ.
    """

    def __init__(self, before: Path, log: WriteLog, scratch: Path) -> None:
        """A replay of ``log`` over the disk as it was ``before``; works in the file ``scratch``.

        Raises:
            WriteLogError: a write lies outside the disk.
            DiskToolError: the disk cannot be copied.
        """
        self.position = 0
        self._log = log
        copy_sparse(before, scratch)
        self._path = scratch
        size = scratch.stat().st_size
        for entry in log.entries:
            if entry.end > size:
                raise WriteLogError(f"entry {entry.number} ends at {entry.end} of {size} bytes")

    def advance(self, position: int) -> None:
        """Bring the disk to what it was when all entries before ``position`` were on it.

        Raises:
            ValueError: it is beyond that already, or the log is shorter.
        """
        if not self.position <= position <= len(self._log.entries):
            raise ValueError(
                f"from entry {self.position} to {position} of {len(self._log.entries)}"
            )
        with self._path.open("r+b") as file:
            for entry in self._log.entries[self.position : position]:
                if entry.is_write:
                    file.seek(entry.offset)
                    file.write(self._log.data(entry))
        self.position = position

    @contextmanager
    def rebuilt(self, arrived: Iterable[Entry] = ()) -> Iterator[mmap.mmap]:
        """The disk with these further writes on it; changes to it are thrown away."""
        with (
            self._path.open("r+b") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as disk,
        ):
            for entry in arrived:
                disk[entry.offset : entry.end] = self._log.data(entry)
            yield disk

    def write_out(self, target: Path, arrived: Iterable[Entry] = ()) -> None:
        """The disk with these further writes on it, as a file of its own.

        Raises:
            DiskToolError: the disk cannot be copied.
        """
        copy_sparse(self._path, target)
        with target.open("r+b") as file:
            for entry in arrived:
                file.seek(entry.offset)
                file.write(self._log.data(entry))
