"""dm-verity over an image: the table that the kernel takes, and the option that overlay.sh takes.

The digest tree in an image's footer has dm-verity's layout (``tree.py``), so the area serves as
data and as hash device at once, and the root is the one in the signed manifest. Format 1 of
Documentation/admin-guide/device-mapper/verity.rst, without salt.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootsvc.formats.tree import block_count
from bootsvc.units import BLOCK_SIZE

PANIC = "panic_on_corruption"
"""The kernel panics when a block differs, so that no program ever sees it."""

PANIC_WORDS = b"dm-verity device corrupted"
"""What the kernel then says: the last words in the record of such a panic."""


@dataclass(frozen=True)
class Verity:
    """The digest tree of the image in an area.

    Attributes:
        data_blocks: blocks of the image, 4 KiB each.
        tree_block: where the tree begins in the area, in blocks.
        root: its root, 32 bytes.
    """

    data_blocks: int
    tree_block: int
    root: bytes

    @classmethod
    def of(cls, image_size: int, area_size: int, footer_size: int, root: bytes) -> Verity:
        """For an image of ``image_size`` bytes whose footer ends its area; all in bytes."""
        return cls(block_count(image_size), (area_size - footer_size) // BLOCK_SIZE, root)

    @property
    def size(self) -> int:
        """Bytes that can be read through it."""
        return self.data_blocks * BLOCK_SIZE

    def as_option(self) -> str:
        """``BLOCKS:TREE_BLOCK:ROOT``, the form that overlay.sh takes apart."""
        return f"{self.data_blocks}:{self.tree_block}:{self.root.hex()}"

    def parameters(self, device: str, option: str = "") -> str:
        """The target's parameters over ``device``; without ``option`` a bad block is EIO."""
        text = (
            f"1 {device} {device} {BLOCK_SIZE} {BLOCK_SIZE} {self.data_blocks} {self.tree_block} "
            f"sha256 {self.root.hex()} -"
        )
        return f"{text} 1 {option}" if option else text
