"""A disk with a volatile write cache, cheap to copy and to compare.

``Snapshot`` is a disk's content as a value: immutable base bytes, and the pages that differ from
them. Its key is a 128-bit sum over the pages, kept up to date by every write, so equal contents
have equal keys however they came about. ``SimulatedDisk`` is the ``Device`` that product code works
on: it begins as a snapshot and writes down every operation. Nothing here does work proportional to
the disk's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bootsvc.errors import OutOfBoundsError

PAGE_SIZE = 4096
MAX_OPERATIONS = 20_000
"""The longest start of the scenarios makes some hundred operations."""
_KEY_MASK = (1 << 128) - 1


class EndlessWorkError(RuntimeError):
    """One start asked for more than ``MAX_OPERATIONS``: it would never end."""


@dataclass(frozen=True)
class Written:
    """One write as the disk received it, in bytes."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class Flushed:
    """The disk was asked to empty its cache."""


@dataclass(frozen=True)
class WasRead:
    """One read, in bytes."""

    offset: int
    length: int


@dataclass(frozen=True)
class Marked:
    """Not an operation: from here on the machine is in ``phase``; ``boot`` is the hand-over."""

    phase: str


Operation = Written | Flushed | WasRead | Marked


class Page:
    """The content of a page, and what it adds to a key: 0 where it is as in the base."""

    __slots__ = ("data", "share")

    def __init__(self, data: bytes, share: int) -> None:
        self.data = data
        self.share = share


class Base:
    """The bytes that all snapshots of a scenario have in common, in pages."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.pages = [
            Page(content[at : at + PAGE_SIZE], 0) for at in range(0, len(content), PAGE_SIZE)
        ]
        self._hashes: dict[int, int] = {}

    def page_with(self, number: int, data: bytes) -> Page:
        """Page ``number`` with other content."""
        known = self._hashes.get(number)
        if known is None:
            known = self._hashes[number] = _hash(number, self.pages[number].data)
        return Page(data, _hash(number, data) - known)


def _hash(number: int, data: bytes) -> int:
    salt = number.to_bytes(16, "little")
    return int.from_bytes(hashlib.blake2b(data, digest_size=16, salt=salt).digest(), "little")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A disk's content at one moment. ``key`` is equal where the content is."""

    base: Base
    pages: Mapping[int, Page] = field(default_factory=dict)
    key: int = 0

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, which lie within the disk."""
        held, base = self.pages.get, self.base.pages
        first, last = offset // PAGE_SIZE, -(-(offset + length) // PAGE_SIZE)
        joined = b"".join([held(number, base[number]).data for number in range(first, last)])
        start = offset - first * PAGE_SIZE
        return joined if len(joined) == length else joined[start : start + length]

    def after(self, writes: Iterable[Mapping[int, Page]]) -> Snapshot:
        """The same disk after whole pages were written, one mapping after the other."""
        pages, key = dict(self.pages), self.key
        for one in writes:
            for number, page in one.items():
                before = pages.get(number)
                key += page.share - (before.share if before else 0)
                pages[number] = page
        return Snapshot(self.base, pages, key & _KEY_MASK)

    def pages_of(self, offset: int, data: bytes | memoryview) -> dict[int, Page]:
        """The pages as they are once ``data`` stands at ``offset``."""
        pages = {}
        for number, start, piece in _pieces(offset, data):
            content = bytes(piece)
            if len(content) != PAGE_SIZE:
                old = self.pages.get(number, self.base.pages[number]).data
                content = old[:start] + content + old[start + len(content) :]
            pages[number] = self.base.page_with(number, content)
        return pages

    def written(self, offset: int, data: bytes | memoryview) -> Snapshot:
        """The same disk with ``data`` at ``offset``."""
        return self.after((self.pages_of(offset, data),))


def _pieces(offset: int, data: bytes | memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number of each page that ``data`` touches, where in the page, and with what."""
    view, at = memoryview(data), 0
    while at < len(view):
        number, start = divmod(offset + at, PAGE_SIZE)
        length = min(PAGE_SIZE - start, len(view) - at)
        yield number, start, view[at : at + length]
        at += length


class SimulatedDisk:
    """A strict ``Device``: accesses outside it and writes of parts of sectors are refused.

    Reads see what was written, flushed or not, as a real disk's do; what a power cut leaves is made
    from ``log`` by ``cuts``.

    Attributes:
        log: every operation since the start, in order, with the marks of the machine's phases.
    """

    def __init__(self, content: Snapshot, sector_size: int, name: str = "disk") -> None:
        self.name = name
        self.size = content.base.size
        self.sector_size = sector_size
        self.log: list[Operation] = []
        self.content = content

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""
        self._check(offset, length)
        self.log.append(WasRead(offset, length))
        return self.content.read(offset, length)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write whole sectors."""
        self._check(offset, len(data))
        if offset % self.sector_size or len(data) % self.sector_size:
            raise OutOfBoundsError(f"{self.name}: write at {offset} is not aligned to sectors")
        self.log.append(Written(offset, bytes(data)))
        self.content = self.content.written(offset, data)

    def flush(self) -> None:
        """Write down that the cache was emptied."""
        self.log.append(Flushed())

    def mark(self, phase: str) -> None:
        """Write down that the machine is in ``phase`` from here on."""
        self.log.append(Marked(phase))

    def _check(self, offset: int, length: int) -> None:
        if len(self.log) > MAX_OPERATIONS:
            raise EndlessWorkError(f"{self.name}: more than {MAX_OPERATIONS} operations")
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OutOfBoundsError(f"{self.name}: {length} bytes at {offset} lie outside")
