"""The power cuts that are tried on a recorded update, and which of them leave equal disks.

All that was flushed before a cut is on the disk. Of the writes since then any subset may be: the
disk kept them in its cache and wrote them in an order of its own.
"""

from __future__ import annotations

import mmap
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from hashlib import blake2b
from itertools import pairwise
from operator import xor

from qemu_lab.errors import WriteLogError
from qemu_lab.write_log import Entry, Epoch, WriteLog

SECTOR = 512
"""What a disk writes as a whole; the unit in which two disks are compared."""

DRAWS = 50
"""How many times in a row a drawn subset may turn out to be known before no more are sought."""


@dataclass(frozen=True)
class Cut:
    """A power cut.

    Attributes:
        first: all entries before this one are on the disk.
        arrived: the later writes that are, too, in their order.
        kind: flush, prefix (all writes up to the cut), loss (all but one) or subset.
    """

    first: int
    arrived: tuple[Entry, ...] = ()
    kind: str = "flush"

    @property
    def label(self) -> str:
        """Names it well enough to be made again from the same log."""
        later = ",".join(str(entry.number) for entry in self.arrived)
        return f"{self.kind} {self.first}" + (f"+{later}" if later else "")

    @classmethod
    def from_label(cls, label: str, log: WriteLog) -> Cut:
        """The cut that ``label`` names.

        Raises:
            WriteLogError: it names none of this log.
        """
        found = re.fullmatch(r"(\w+) (\d+)(?:\+(\d+(?:,\d+)*))?", label)
        if found is None:
            raise WriteLogError(f"{label!r} is no cut: wanted is for example 'subset 25+26,28'")
        first, later = int(found[2]), [int(one) for one in (found[3] or "").split(",") if one]
        if max([first, *(number + 1 for number in later)]) > len(log.entries):
            raise WriteLogError(f"{label!r}: the log has only {len(log.entries)} entries")
        return cls(first, tuple(log.entries[number] for number in later), found[1])


def flush_cuts(epochs: Sequence[Epoch]) -> list[Cut]:
    """A cut at the beginning, after every flush, and at the end of the log."""
    ends = [Cut(epoch.stop) for epoch in epochs]
    return [Cut(0), *ends]


def subset_cuts(
    epochs: Sequence[Epoch], within: Iterable[range], count: int, seed: int
) -> list[Cut]:
    """Cuts between flushes, seeded: at most ``count``, fewer where there are not so many.

    Only writes to the ranges ``within`` are lost or kept; the others are lost. A write with FUA is
    never lost once it is complete.
    """
    ranges = tuple(within)
    open_epochs = []
    for epoch in epochs:
        writes = tuple(entry for entry in epoch.writes if touches(entry, ranges))
        if len(writes) > 1:  # fewer: the cuts at the flushes are all there are
            open_epochs.append((epoch, writes))
    chosen = random.Random(seed)  # noqa: S311 - seeded, so that a run can be repeated
    weights = [len(writes) for _, writes in open_epochs]
    cuts: dict[tuple[int, tuple[int, ...]], Cut] = {}
    misses = 0
    while open_epochs and len(cuts) < count and misses < DRAWS:
        ((epoch, writes),) = chosen.choices(open_epochs, weights)
        cut = _draw(epoch, writes, chosen)
        key = cut.first, tuple(entry.number for entry in cut.arrived)
        misses = misses + 1 if key in cuts or not 0 < len(cut.arrived) < len(writes) else 0
        if not misses:
            cuts[key] = cut
    return sorted(cuts.values(), key=lambda cut: cut.first)


def touches(entry: Entry, ranges: Iterable[range]) -> bool:
    """Whether ``entry`` writes any byte of ``ranges``."""
    return any(entry.offset < one.stop and one.start < entry.end for one in ranges)


def _draw(epoch: Epoch, writes: Sequence[Entry], chosen: random.Random) -> Cut:
    kind = chosen.choice(("prefix", "loss", "subset", "subset"))
    if kind == "prefix":
        return Cut(epoch.first, tuple(writes[: chosen.randrange(1, len(writes))]), kind)
    if kind == "loss":
        lost = chosen.choice([one for one in writes if not one.is_durable] or [None])
        return Cut(epoch.first, tuple(one for one in writes if one is not lost), kind)
    share = chosen.random()
    arrived = (one for one in writes if one.is_durable or chosen.random() < share)
    return Cut(epoch.first, tuple(arrived), kind)


# --- equal disks --------------------------------------------------------------------------------


@dataclass
class DiskKeys:
    """Keys of rebuilt disks: equal exactly where all bytes of ``ranges`` are.

    A key is the exclusive or of a digest for each sector that was ever written, so a write
    changes it by a figure of its own; nothing is read but what is written.
    """

    log: WriteLog
    ranges: tuple[range, ...]
    _key: int = 0
    _parts: list[tuple[tuple[Entry, ...], dict[int, int]]] = field(default_factory=list)

    def begin(self, epoch: Epoch, disk: mmap.mmap) -> None:
        """``epoch`` begins, with ``disk`` as the last flush left it."""
        self._parts = [
            (writers, {one.number: self._change(disk, one, part) for one in writers})
            for part, writers in _parts_of(epoch.writes, self.ranges)
        ]

    def of(self, arrived: Iterable[Entry]) -> int:
        """The key of the disk with these writes of the epoch on it."""
        there = {entry.number for entry in arrived}
        key = self._key
        for writers, changes in self._parts:
            last = next((one for one in reversed(writers) if one.number in there), None)
            if last is not None:
                key ^= changes[last.number]
        return key

    def end(self, epoch: Epoch) -> None:
        """``epoch`` ends with a flush: all its writes are on the disk."""
        self._key = self.of(epoch.writes)
        self._parts = []

    def _change(self, disk: mmap.mmap, entry: Entry, part: range) -> int:
        new = self.log.data(entry)[part.start - entry.offset : part.stop - entry.offset]
        old = disk[part.start : part.stop]
        return reduce(xor, _digests(part.start, old)) ^ reduce(xor, _digests(part.start, new))


def _digests(offset: int, data: bytes) -> Iterator[int]:
    for at in range(0, len(data), SECTOR):
        place = (offset + at).to_bytes(8, "little")
        sector = blake2b(data[at : at + SECTOR], digest_size=16, salt=place)
        yield int.from_bytes(sector.digest(), "little")


def _parts_of(
    writes: Sequence[Entry], ranges: Sequence[range]
) -> Iterator[tuple[range, tuple[Entry, ...]]]:
    """The bytes of ``ranges`` that are written, in parts, each with those that write all of it."""
    edges = {edge for entry in writes for edge in (entry.offset, entry.end)}
    edges |= {edge for one in ranges for edge in (one.start, one.stop)}
    borders = sorted(edges)
    for start, stop in pairwise(borders):
        part = range(start, stop)
        if any(start >= one.start and stop <= one.stop for one in ranges):
            writers = tuple(one for one in writes if one.offset <= start and stop <= one.end)
            if writers:
                yield part, writers
