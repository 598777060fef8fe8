"""A whole disk is read, to find what cannot be read; nothing is written.

A chunk that fails is read again block by block, which names the bad blocks. Where nearly everything
fails that would take days, so after some chunks in a row that hold nothing readable, further ones
are named whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bootsvc.errors import DeviceError
from bootsvc.formats.gpt import Gpt
from bootsvc.storage.device import CHUNK_SIZE, Device
from bootsvc.units import BLOCK_SIZE

GIVES_UP_AFTER = 4
"""Chunks in a row without one readable block, after which the blocks are not tried any more."""


def scan(device: Device, tick: Callable[[int], None]) -> tuple[range, ...]:
    """The ranges of bytes that cannot be read, in order; neighbouring ones are one.

    Args:
        tick: called with the number of bytes just read, or tried in vain.
    """
    return tuple(_joined(_bad_blocks(device, tick)))


def describe_ranges(ranges: Sequence[range], gpt: Gpt) -> list[str]:
    """A line for each range: its bytes, and the partitions that it meets. Pure."""
    return [
        f"{one.start} to {one.stop - 1}: {', '.join(_met(one, gpt)) or 'outside of all partitions'}"
        for one in ranges
    ]


def _bad_blocks(device: Device, tick: Callable[[int], None]) -> Iterator[range]:
    dead = 0
    for at in range(0, device.size, CHUNK_SIZE):
        chunk = range(at, min(at + CHUNK_SIZE, device.size))
        if _can_read(device, chunk):
            dead = 0
        elif dead >= GIVES_UP_AFTER:
            yield chunk
        else:
            bad = [block for block in _blocks(chunk) if not _can_read(device, block, tick)]
            dead = dead + 1 if sum(map(len, bad)) == len(chunk) else 0
            yield from bad
        tick(len(chunk))


def _blocks(chunk: range) -> Iterator[range]:
    for at in range(chunk.start, chunk.stop, BLOCK_SIZE):
        yield range(at, min(at + BLOCK_SIZE, chunk.stop))


def _can_read(device: Device, where: range, tick: Callable[[int], None] = lambda _: None) -> bool:
    """Whether these bytes can be read; ``tick`` hears that there is life, however slow the disk."""
    tick(0)
    try:
        device.read_at(where.start, len(where))
    except DeviceError:
        return False
    return True


def _joined(ranges: Iterator[range]) -> Iterator[range]:
    known = range(0)
    for one in ranges:
        if one.start == known.stop and known:
            known = range(known.start, one.stop)
            continue
        if known:
            yield known
        known = one
    if known:
        yield known


def _met(where: range, gpt: Gpt) -> list[str]:
    return [
        part.name
        for part in gpt.partitions
        if part.offset < where.stop and where.start < part.offset + part.size
    ]
