"""Images that this machine holds already, as sources of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial

from bootsvc.errors import BootsvcError, RottenHereError
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import read_footer, read_leaves
from bootsvc.units import BLOCK_SIZE


class HeldImage:
    """An image on this machine. Its tree is checked when it is opened, its blocks when they are
    taken.

    Attributes:
        name: where it lies, for messages.
        number: of its version.
        block_count: blocks of the image.
    """

    def __init__(
        self,
        name: str,
        number: int,
        identity: bytes,
        block_count: int,
        open_: Callable[[], tuple[Device, bytes]],
    ) -> None:
        """Nothing is read yet.

        Args:
            open_: gives the image and the digests of its blocks, once they are needed.
        """
        self.name = name
        self.number = number
        self.identity = identity
        self.block_count = block_count
        self._open = open_

    @cached_property
    def _opened(self) -> tuple[Device, bytes]:
        try:
            return self._open()
        except BootsvcError as exc:
            raise RottenHereError(self.name, 0) from exc

    @property
    def device(self) -> Device:
        """Gives the image. Raises RottenHereError: it cannot be opened."""
        return self._opened[0]

    @property
    def leaves(self) -> bytes:
        """The digests of its blocks. Raises as ``device``."""
        return self._opened[1]

    def read(self, blocks: range) -> bytes:
        """Some of its blocks, each found equal to its digest.

        Raises:
            RottenHereError: one is not, cannot be read, or is not there.
        """
        try:
            data = self.device.read_at(blocks.start * BLOCK_SIZE, len(blocks) * BLOCK_SIZE)
        except BootsvcError as exc:
            raise RottenHereError(self.name, blocks.start) from exc
        found = leaves_of(data)
        for number, block in enumerate(blocks):
            digest = self.leaves[block * DIGEST_SIZE : (block + 1) * DIGEST_SIZE]
            if found[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE] != digest:
                raise RottenHereError(self.name, block)
        return data


def held_in(areas: Iterable[tuple[str, Device]]) -> tuple[HeldImage, ...]:
    """The images in ``areas``, by their names. An area without a readable one is left out, and so
    is one with the image of an area before it: its digests would take memory for nothing."""
    held: list[HeldImage] = []
    for name, area in areas:
        try:
            footer = read_footer(area)
            if footer.identity in {one.identity for one in held}:
                continue
            leaves = read_leaves(area, footer)
        except BootsvcError:
            continue
        count, number = len(leaves) // DIGEST_SIZE, footer.manifest.number
        held.append(HeldImage(name, number, footer.identity, count, partial(_given, area, leaves)))
    return tuple(held)


def _given(area: Device, leaves: bytes) -> tuple[Device, bytes]:
    return area, leaves
