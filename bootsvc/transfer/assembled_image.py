"""An image as an assembly makes it, to be read like the image file that it is equal to."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from bootsvc.errors import AlteredImageError, OutOfBoundsError
from bootsvc.storage.device import CHUNK_SIZE
from bootsvc.transfer.assembly import Held, Packed, Piece, PieceFinder, wants_of
from bootsvc.transfer.fetch import FrameReader
from bootsvc.transfer.held import HeldImage
from bootsvc.transfer.plan import Assembly
from bootsvc.units import BLOCK_SIZE

_AT_ONCE = CHUNK_SIZE // BLOCK_SIZE
"""Blocks that are read at once."""


class AssembledImage:
    """A ``Device`` that cannot be written. Threads may read it at the same time.

    Attributes:
        copied: bytes given so far that came from images of this machine.
    """

    def __init__(self, assembly: Assembly, frames: FrameReader | None = None) -> None:
        """Nothing is read yet.

        Args:
            frames: gives what is packed; None where all of that stands in its place already.
        """
        footer = assembly.plan.footer
        self.name = f"number {footer.manifest.number}"
        self.size = footer.locator.total_size
        self.sector_size = BLOCK_SIZE
        self.copied = 0
        self._footer = assembly.footer
        self._content_end = self.size - sum(map(len, self._footer))
        self._held: Sequence[HeldImage] = assembly.plan.held
        self._pieces = assembly.pieces
        self._finder = PieceFinder(assembly.pieces)
        self._frames = frames
        self._counting = threading.Lock()

    def read_at(self, offset: int, length: int) -> bytes:
        """Whole blocks of the content, or bytes of the footer. Blocks that were packed are right,
        those of images of this machine as they lie there: see ``blame``.

        Raises:
            RottenHereError: an image of this machine cannot be read.
            AlteredImageError: a block that stood in its place does not any more.
            FormatError, BootsvcError: see ``FrameReader``.
        """
        if offset >= self._content_end:
            return _cut_out(self._footer, offset - self._content_end, length)
        if offset % BLOCK_SIZE or length % BLOCK_SIZE or offset + length > self._content_end:
            raise OutOfBoundsError(f"{self.name}: {length} bytes at {offset} are no whole blocks")
        blocks = range(offset // BLOCK_SIZE, (offset + length) // BLOCK_SIZE)
        return b"".join(self._content(piece) for piece in self._finder.within(blocks))

    def _content(self, piece: Piece) -> bytes:
        match piece.origin:
            case Held(image, first):
                with self._counting:
                    self.copied += piece.count * BLOCK_SIZE
                return self._held[image].read_unchecked(range(first, first + piece.count))
            case Packed(pack, _):
                if self._frames is None:
                    raise AlteredImageError(
                        f"{self.name}: block {piece.first} was fetched and written, and reads"
                        " differently",
                        hint="the disk is failing; the next try fetches it again",
                    )
                wants = [want for ones in wants_of([piece]).values() for want in ones]
                return b"".join(self._frames.blocks(pack, want) for want in wants)
        return bytes(piece.count * BLOCK_SIZE)

    def blame(self) -> None:
        """Blocks that were read differ from the image's digests: raise RottenHereError if an image
        of this machine gave them. Reads all that such images give."""
        for piece in self._pieces:
            if isinstance(piece.origin, Held):
                first = piece.origin.first
                for at in range(first, first + piece.count, _AT_ONCE):
                    end = min(at + _AT_ONCE, first + piece.count)
                    self._held[piece.origin.image].read(range(at, end))

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Refuse."""
        raise OutOfBoundsError(f"{self.name}: {len(data)} bytes at {offset} cannot be written")

    def flush(self) -> None:
        """Nothing was written."""


def _cut_out(parts: Iterable[bytes], at: int, length: int) -> bytes:
    """Bytes of all parts together."""
    found = []
    for part in parts:
        found.append(part[max(at, 0) : max(at + length, 0)])
        at -= len(part)
    return b"".join(found)
