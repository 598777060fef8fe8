"""Block sizes and ways to cut, counted: what each would fetch for each pair of images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from bootsvc.units import KIB, MIB
from qemu_lab.bench.transfer.counting import (
    Buffer,
    Piece,
    changed_in_place,
    cut,
    cut_fixed,
    differing_index_size,
    frames,
    index_size,
    joined,
    missing,
    total,
)
from qemu_lab.bench.transfer.measured import mapped
from qemu_lab.bench.transfer.pairs import Pair

FRAME_SIZES = (64 * KIB, 256 * KIB, MIB, 4 * MIB)
STREAM = 0
"""Stands for one compressed stream over all that is fetched: the least that compression can do."""

FAST, STRONG = 3, 19
SAMPLE = 8 * MIB
"""Of what is more, the strong level compresses every n-th frame, and the rest is estimated."""


@dataclass(frozen=True)
class Cut:
    """A way to cut images.

    Attributes:
        name: for the table.
        size: of a block, or the average of a chunk, bytes.
        by_content: chunks whose ends the content decides (FastCDC, a quarter to four times the
            average, as casync has it) rather than fixed blocks.
    """

    name: str
    size: int
    by_content: bool

    def pieces(self, image: Buffer) -> list[Piece]:
        """All pieces of *image*."""
        if not self.by_content:
            return cut_fixed(image, self.size)
        import fastcdc  # late: only this benchmark needs it, and the tests of the rest do not

        chunks = fastcdc.fastcdc(image, self.size // 4, self.size, self.size * 4)
        return cut(image, (chunk.offset + chunk.length for chunk in chunks))


CUTS = (
    *(Cut(f"fixed {size} KiB", size * KIB, by_content=False) for size in (4, 16, 64, 256)),
    *(Cut(f"content {size} KiB", size * KIB, by_content=True) for size in (4, 16, 64, 256)),
)
DETAILED_CUTS = ("fixed 4 KiB", "content 64 KiB")
"""Those that are worth the time of every frame size and of the strong level (1 MiB frames)."""


@dataclass(frozen=True)
class Row:
    """What one way to cut would fetch for one pair. Amounts in bytes.

    Attributes:
        pair: its name.
        cut: name of the way to cut.
        pieces: of the new image.
        changed: of pieces that differ from the old one at their place; None if places vary.
        missing: of pieces that the old image has nowhere.
        requests: ranges to ask for, neighbours joined.
        compressed: level -> frame size (or ``STREAM``) -> bytes of the missing pieces.
        estimated: levels whose amounts are estimated from a sample of the frames.
        index: list of all digests, whole.
        index_differing: of an index compared as a tree.
        seconds: of processor time to cut and digest both images and find what is missing.
    """

    pair: str
    cut: str
    pieces: int
    changed: int | None
    missing: int
    requests: int
    compressed: dict[int, dict[int, int]]
    estimated: tuple[int, ...]
    index: int
    index_differing: int
    seconds: float


def measure(pairs: Sequence[Pair], say: Callable[[str], None]) -> list[Row]:
    """Every way to cut, on every pair."""
    rows = []
    for way in CUTS:
        cuts: dict[Path, tuple[list[Piece], float]] = {}  # several pairs have the same old image
        for pair in pairs:
            say(f"block sizes: {way.name}, {pair.name}")
            with mapped(pair.new) as new:
                for path in (pair.old, pair.new):
                    if path not in cuts:
                        cuts[path] = _timed_cut(way, path)
                rows.append(_row(pair, way, cuts[pair.old], cuts[pair.new], new))
    return sorted(rows, key=lambda row: row.pair)  # stable: the ways stay in their order


def _timed_cut(way: Cut, path: Path) -> tuple[list[Piece], float]:
    """The pieces of an image, and the seconds of processor time that cutting took."""
    with mapped(path) as image:
        began = time.process_time()
        return way.pieces(image), time.process_time() - began


def _row(
    pair: Pair,
    way: Cut,
    old: tuple[list[Piece], float],
    new: tuple[list[Piece], float],
    image: memoryview,
) -> Row:
    before, after = old[0], new[0]
    began = time.process_time()
    absent = missing(before, after)
    seconds = old[1] + new[1] + time.process_time() - began
    compressed, estimated = _compressed(image, absent, is_detailed=way.name in DETAILED_CUTS)
    return Row(
        pair=pair.name,
        cut=way.name,
        pieces=len(after),
        changed=None if way.by_content else total(changed_in_place(before, after)),
        missing=total(absent),
        requests=len(joined(absent)),
        compressed=compressed,
        estimated=estimated,
        index=index_size(after, with_lengths=way.by_content),
        index_differing=differing_index_size(before, after),
        seconds=seconds,
    )


def _compressed(
    image: memoryview, pieces: Sequence[Piece], *, is_detailed: bool
) -> tuple[dict[int, dict[int, int]], tuple[int, ...]]:
    sizes = FRAME_SIZES if is_detailed else (MIB,)
    fast = {size: _in_frames(image, pieces, size, FAST, 1) for size in sizes}
    fast[STREAM] = _in_one_stream(image, pieces, FAST)
    if not is_detailed:
        return {FAST: fast}, ()
    every = -(-total(pieces) // SAMPLE) or 1
    strong, same = (_in_frames(image, pieces, MIB, level, every) for level in (STRONG, FAST))
    estimate = round(fast[MIB] * strong / same) if same else 0
    return {FAST: fast, STRONG: {MIB: estimate}}, (STRONG,) if every > 1 else ()


def _in_frames(
    image: memoryview, pieces: Sequence[Piece], size: int, level: int, every: int
) -> int:
    """Bytes of every *every*-th frame of at most *size* bytes, each compressed by itself."""
    compressor = zstandard.ZstdCompressor(level=level)
    compressed = 0
    for number, group in enumerate(frames(pieces, size)):
        if number % every == 0:
            content = b"".join(image[piece.offset : piece.end] for piece in group)
            compressed += len(compressor.compress(content))
    return compressed


def _in_one_stream(image: memoryview, pieces: Sequence[Piece], level: int) -> int:
    stream = zstandard.ZstdCompressor(level=level).compressobj()
    compressed = 0
    for piece in pieces:
        compressed += len(stream.compress(image[piece.offset : piece.end]))
    return compressed + len(stream.flush())
