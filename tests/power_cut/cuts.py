"""What a power cut may leave on a disk that keeps order only at a flush.

From the disk before a start and the start's log come all disks that a cut during it may leave:

    prefix       cut before a write or flush: all that was issued before has arrived
    nothing      of the open epoch (the writes since the last flush) nothing has arrived
    subset       any subset of the open epoch has arrived; reordering follows from these
    torn         a write of several sectors has arrived up to a sector boundary, after all that
                 was issued before, or alone of its epoch
    torn_record  the sector of the boot-status record has arrived in part: beginning new and end
                 old, beginning old and end new, or garbage; so have both copies where they are
                 written in one epoch

Pure. A cut is named by its kind and the number of the operation (writes and flushes of the start
count from 0), so that it can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from tests.power_cut.disk import Flushed, Operation, Page, Snapshot, Written

KINDS = ("prefix", "nothing", "subset", "torn", "torn_record")

ALL_SUBSETS_UP_TO = 10
"""Epochs with at most so many writes are cut into all their subsets."""

SEEDED_SUBSETS = 64
RECORD_SIZE = 512
MIDDLE = RECORD_SIZE // 2


@dataclass(frozen=True)
class CutRules:
    """How a disk may be cut.

    Attributes:
        sector_size: bytes that the disk writes at once.
        records: offsets of the record's copies, in bytes.
        is_thorough: tear a record at every byte, and a write that arrives alone also after its
            first sector and before its last; else both only in the middle.
        seed: chooses subsets and garbage.
    """

    sector_size: int
    records: Collection[int]
    is_thorough: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Cut:
    """A disk after a power cut.

    Attributes:
        kind: one of ``KINDS``.
        at: number of the operation that the cut came before, or in.
        detail: which of the cuts of this kind there.
    """

    kind: str
    at: int
    detail: str
    content: Snapshot

    @property
    def label(self) -> str:
        """Names this cut among those of its start."""
        return f"{self.kind}@{self.at}{self.detail}"


@dataclass(frozen=True)
class _Issued:
    """A write of the open epoch; ``pages`` where it fills whole pages."""

    write: Written
    pages: dict[int, Page] | None

    def onto(self, content: Snapshot) -> Snapshot:
        if self.pages is not None:
            return content.after((self.pages,))
        return content.written(self.write.offset, self.write.data)


def cuts_of(before: Snapshot, log: Sequence[Operation], rules: CutRules) -> Iterator[Cut]:
    """Every disk that a cut during a start may leave; different cuts may leave equal disks."""
    medium = arrived = before
    epoch: list[_Issued] = []
    number = 0
    for one in log:
        if isinstance(one, Written):
            yield Cut("prefix", number, "", arrived)
            yield from _torn(arrived, one, number, rules)
            if epoch:
                yield from _torn_alone(medium, one, number, rules)
            epoch.append(_issued(arrived, one))
            arrived = epoch[-1].onto(arrived)
        elif isinstance(one, Flushed):
            yield from _lost(medium, arrived, epoch, number, rules)
            medium = arrived
            epoch.clear()
        else:
            continue
        number += 1
    yield from _lost(medium, arrived, epoch, number, rules)


def _issued(arrived: Snapshot, write: Written) -> _Issued:
    pages = arrived.pages_of(write.offset, write.data)
    is_whole = len(write.data) == sum(len(page.data) for page in pages.values())
    return _Issued(write, pages if is_whole else None)


def _lost(
    medium: Snapshot, arrived: Snapshot, epoch: list[_Issued], number: int, rules: CutRules
) -> Iterator[Cut]:
    """Cuts at the end of an epoch: all of it arrived, none, or any part."""
    yield Cut("prefix", number, "", arrived)
    if epoch:
        yield Cut("nothing", number, "", medium)
    if len(epoch) < 2:
        return
    yield from _torn_together(arrived, epoch, number, rules)
    if len(epoch) <= ALL_SUBSETS_UP_TO:
        yield from _all_subsets(medium, epoch, number)
        return
    for bits in _some_subsets(len(epoch), rules.seed + number):
        content = medium
        for has_arrived, one in zip(bits, epoch, strict=True):
            if has_arrived:
                content = one.onto(content)
        yield Cut("subset", number, _detail(bits), content)


def _all_subsets(medium: Snapshot, epoch: list[_Issued], number: int) -> Iterator[Cut]:
    """Every subset but none and all, sharing the work of what they have in common."""
    contents = [medium]
    for one in epoch:
        contents = [with_it for content in contents for with_it in (content, one.onto(content))]
    for bits, content in zip(product((False, True), repeat=len(epoch)), contents, strict=True):
        if any(bits) and not all(bits):
            yield Cut("subset", number, _detail(bits), content)


def _some_subsets(count: int, seed: int) -> Iterator[tuple[bool, ...]]:
    """All losses of one write and of two, and seeded random ones."""
    for lost in (*combinations(range(count), 1), *combinations(range(count), 2)):
        yield tuple(index not in lost for index in range(count))
    chosen = random.Random(seed)
    for _ in range(SEEDED_SUBSETS):
        yield tuple(chosen.random() < 0.5 for _ in range(count))


def _detail(bits: tuple[bool, ...]) -> str:
    return "+" + "".join("01"[one] for one in bits)


def _torn(arrived: Snapshot, write: Written, number: int, rules: CutRules) -> Iterator[Cut]:
    for end in range(rules.sector_size, len(write.data), rules.sector_size):
        content = arrived.written(write.offset, write.data[:end])
        yield Cut("torn", number, f"+{end // rules.sector_size}", content)
    if write.offset in rules.records:
        for detail, sector in _torn_records(arrived, write, rules):
            yield Cut("torn_record", number, detail, arrived.written(write.offset, sector))


def _torn_alone(medium: Snapshot, write: Written, number: int, rules: CutRules) -> Iterator[Cut]:
    sectors = len(write.data) // rules.sector_size
    ends = {1, sectors // 2, sectors - 1} if rules.is_thorough else {sectors // 2}
    for count in sorted(ends - {0, sectors}):
        content = medium.written(write.offset, write.data[: count * rules.sector_size])
        yield Cut("torn", number, f"+{count}alone", content)


def _torn_together(
    arrived: Snapshot, epoch: list[_Issued], number: int, rules: CutRules
) -> Iterator[Cut]:
    """Several copies of the record, all on their way to the disk, have all become garbage."""
    places = {one.write.offset for one in epoch}.intersection(rules.records)
    if len(places) > 1:
        garbage, content = random.Random(rules.seed), arrived
        for offset in sorted(places):
            content = content.written(offset, garbage.randbytes(RECORD_SIZE))
        yield Cut("torn_record", number, "+together", content)


def _torn_records(
    arrived: Snapshot, write: Written, rules: CutRules
) -> Iterator[tuple[str, bytes]]:
    """The record's sector in parts; where old and new agree in a byte, a tear shows nothing."""
    old, new = arrived.read(write.offset, RECORD_SIZE), write.data[:RECORD_SIZE]
    differing = [at + 1 for at in range(RECORD_SIZE) if old[at] != new[at]]
    for at in differing[:-1] if rules.is_thorough else [MIDDLE]:
        yield f"+new{at}old", new[:at] + old[at:]
        yield f"+old{at}new", old[:at] + new[at:]
    garbage = random.Random(rules.seed).randbytes(RECORD_SIZE)
    yield "+garbage", garbage
    if rules.is_thorough:
        yield "+zeros", bytes(RECORD_SIZE)
        yield "+ones", b"\xff" * RECORD_SIZE
