"""Images that this machine holds already, as sources of blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bootsvc.errors import BootsvcError, RottenHereError
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import read_footer, read_leaves
from bootsvc.units import BLOCK_SIZE


@dataclass(frozen=True)
class HeldImage:
    """An image on this machine. Its tree was checked; its blocks are when they are taken.

    Attributes:
        name: where it lies, for messages.
        number: of its version.
        leaves: the digests of its blocks.
    """

    name: str
    number: int
    identity: bytes
    device: Device = field(repr=False)
    leaves: bytes = field(repr=False)

    @property
    def block_count(self) -> int:
        """Blocks of the image."""
        return len(self.leaves) // DIGEST_SIZE

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
        held.append(HeldImage(name, footer.manifest.number, footer.identity, area, leaves))
    return tuple(held)
