"""An image outside the disk, of which nobody gets a byte that its signed digests do not know.

Blocks that stand in primary or backup at the same place are taken from there; the rest is read from
the source, each block compared with its digest, and read again where it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bootsvc.errors import AlteredImageError, BootsvcError, OutOfBoundsError
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of, level_sizes
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import Footer, footer_parts, read_footer
from bootsvc.units import BLOCK_SIZE, round_up

TRIES = 4
"""How often a block is read that differs from its digest: damage on the way goes by, damage at the
source stays."""


class VerifiedSource:
    """A ``Device`` with all bytes of the image file, that cannot be written.

    Attributes:
        fetched: bytes read from the source so far; ``copied``: taken from areas of this machine.
    """

    def __init__(
        self,
        source: Device,
        footer: Footer,
        leaves: bytes,
        tree: bytes,
        neighbours: Iterable[Device],
        say: Callable[[str], None],
    ) -> None:
        """What is given of the image has been checked up to its signature.

        Args:
            neighbours: areas in which blocks of the image may stand already.
            say: hears of blocks that are read again.
        """
        self.name = source.name
        self.size = footer.locator.total_size
        self.sector_size = source.sector_size
        self.fetched = 0
        self.copied = 0
        self._source = source
        self._leaves = leaves
        self._content_end = len(leaves) // DIGEST_SIZE * BLOCK_SIZE
        self._footer = b"".join(footer_parts(footer, [tree]))
        self._neighbours = [one for area in neighbours for one in _neighbour_at(area)]
        self._say = say

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; whole blocks within the content.

        Raises:
            AlteredImageError: a block differs from its digest, however often it is read.
            NetworkError, DeviceError: the source failed.
        """
        if offset >= self._content_end:
            at = offset - self._content_end
            return self._footer[at : at + length]
        if offset % BLOCK_SIZE or length % BLOCK_SIZE or offset + length > self._content_end:
            raise OutOfBoundsError(f"{self.name}: {length} bytes at {offset} are no whole blocks")
        blocks = range(offset // BLOCK_SIZE, (offset + length) // BLOCK_SIZE)
        found: dict[int, bytes] = {}
        for neighbour in self._neighbours:
            held = [one for one in blocks if one not in found and self._is_held(neighbour, one)]
            for run in _runs(held):
                found |= self._right_ones(run, neighbour.read(run))
        self.copied += len(found) * BLOCK_SIZE
        for run in _runs(block for block in blocks if block not in found):
            found |= self._fetched(run)
        return b"".join([found[block] for block in blocks])

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Refuse."""
        raise OutOfBoundsError(f"{self.name}: {len(data)} bytes at {offset} cannot be written")

    def flush(self) -> None:
        """Nothing was written."""

    def _fetched(self, run: range) -> dict[int, bytes]:
        """Blocks from the source; those that differ are read again, alone."""
        found: dict[int, bytes] = {}
        wanted = [run]
        for left in reversed(range(TRIES)):
            for part in wanted:
                data = self._source.read_at(part.start * BLOCK_SIZE, len(part) * BLOCK_SIZE)
                self.fetched += len(data)
                found |= self._right_ones(part, data)
            wanted = list(_runs(block for block in run if block not in found))
            if not wanted:
                return found
            if left:
                self._say(f"{self._differs(wanted)}; read again")
        raise AlteredImageError(
            f"{self._differs(wanted)}, {TRIES} times",
            hint="the source is damaged: put the image there again, or take it from elsewhere",
        )

    def _differs(self, wrong: list[range]) -> str:
        block, count = wrong[0].start, sum(map(len, wrong))
        more = f", and {count - 1} more," if count > 1 else ""
        return (
            f"{self.name}: block {block} (byte {block * BLOCK_SIZE}){more} differs from its digest"
        )

    def _right_ones(self, run: range, data: bytes) -> dict[int, bytes]:
        """Those of the blocks in ``data`` that are what the image has at ``run``."""
        blocks = [data[at : at + BLOCK_SIZE] for at in range(0, len(data), BLOCK_SIZE)]
        return {
            block: content
            for block, content in zip(run, blocks, strict=True)
            if leaves_of(content) == self._digest(block)
        }

    def _is_held(self, neighbour: _Neighbour, block: int) -> bool:
        return neighbour.digest(block) == self._digest(block)

    def _digest(self, block: int) -> bytes:
        return self._leaves[block * DIGEST_SIZE : (block + 1) * DIGEST_SIZE]


class _Neighbour:
    """An image in an area. Its tree is a hint and no more: what is taken is hashed."""

    def __init__(self, area: Device, footer: Footer) -> None:
        self._area = area
        size = footer.manifest.size
        self._count = round_up(size, BLOCK_SIZE) // BLOCK_SIZE
        leaf_level = level_sizes(size)[0] if self._count > 1 else 0
        self._leaves_at = (
            area.size - footer.locator.footer_size + footer.locator.tree_size - leaf_level
        )
        self._page = b""
        self._page_at = -1

    def digest(self, block: int) -> bytes:
        """What its tree says of ``block``; no digest where it says nothing."""
        if block >= self._count or self._count == 1:
            return b""
        at = block * DIGEST_SIZE // BLOCK_SIZE * BLOCK_SIZE
        if at != self._page_at:
            self._page = self._read(self._leaves_at + at, BLOCK_SIZE)
            self._page_at = at
        start = block * DIGEST_SIZE - at
        return self._page[start : start + DIGEST_SIZE]

    def read(self, run: range) -> bytes:
        """The blocks of ``run``, zeros where they cannot be read."""
        return self._read(run.start * BLOCK_SIZE, len(run) * BLOCK_SIZE)

    def _read(self, at: int, length: int) -> bytes:
        try:
            return self._area.read_at(at, length)
        except BootsvcError:  # then it comes from the source
            return bytes(length)


def _neighbour_at(area: Device) -> Iterable[_Neighbour]:
    """The image in ``area``; none where there is none or its footer is damaged."""
    try:
        yield _Neighbour(area, read_footer(area))
    except BootsvcError:
        return


def _runs(blocks: Iterable[int]) -> Iterable[range]:
    """Ascending block numbers as runs of neighbouring ones."""
    start = end = -1
    for block in blocks:
        if block != end:
            if start >= 0:
                yield range(start, end)
            start = block
        end = block + 1
    if start >= 0:
        yield range(start, end)
