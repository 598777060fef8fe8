"""What a power cut may leave on a disk with a volatile write cache.

A run is recorded once: its writes, in the order given, and its flushes. What was flushed is on the
medium; of the writes since then (the open epoch) any subset may be. Every such disk is a *cut*.
A write to the status partition is one sector and may also be torn in the middle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from bootsvc.units import SECTOR_SIZE
from tests.storage.memory import Flushed, Operation, Written

ALL_SUBSETS_UP_TO = 8
SEEDED_SUBSETS = 64


@dataclass(frozen=True)
class Cut:
    """A disk after a power cut; ``label`` names it well enough to be made again."""

    label: str
    disk: bytes


def epochs_of(log: list[Operation]) -> list[list[Written]]:
    """The writes between two flushes, epoch by epoch; empty epochs are left out."""
    epochs: list[list[Written]] = [[]]
    for one in log:
        if isinstance(one, Written):
            epochs[-1].append(one)
        elif isinstance(one, Flushed) and epochs[-1]:
            epochs.append([])
    return [epoch for epoch in epochs if epoch]


def cuts_of(before: bytes, log: list[Operation], seed: int = 0) -> Iterator[Cut]:
    """Every disk that a cut during the recorded run may leave.

    Args:
        before: the disk at the beginning of the run.
        seed: chooses the subsets where an epoch is too long for all of them.
    """
    medium = bytearray(before)
    for number, epoch in enumerate(epochs_of(log)):
        for arrived in _subsets(len(epoch), seed + number):
            if all(arrived):
                continue  # the same as nothing of the next epoch
            disk = bytearray(medium)
            for write, has_arrived in zip(epoch, arrived, strict=True):
                if has_arrived:
                    _apply(disk, write)
            bits = "".join("01"[one] for one in arrived)
            yield Cut(f"epoch {number} arrived {bits} seed {seed}", bytes(disk))
        if len(epoch) == 1 and len(epoch[0].data) == SECTOR_SIZE:
            for kept in (8, 256, 510):
                torn = bytearray(medium)
                _apply(torn, Written(epoch[0].offset, epoch[0].data[:kept]))
                yield Cut(f"epoch {number} torn after {kept} bytes", bytes(torn))
        for write in epoch:
            _apply(medium, write)
    yield Cut("at the end", bytes(medium))


def _subsets(count: int, seed: int) -> Iterator[tuple[bool, ...]]:
    if count <= ALL_SUBSETS_UP_TO:
        yield from product((False, True), repeat=count)
        return
    for arrived in range(count + 1):
        yield tuple(index < arrived for index in range(count))
    chosen = random.Random(seed)
    for _ in range(SEEDED_SUBSETS):
        yield tuple(chosen.random() < 0.5 for _ in range(count))


def _apply(disk: bytearray, write: Written) -> None:
    disk[write.offset : write.offset + len(write.data)] = write.data
