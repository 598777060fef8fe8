"""The digest tree of an image: SHA-256 over 4 KiB blocks, laid out as dm-verity lays it out.

    data:   block 0 | block 1 | ... | block n-1                (the last one padded with zeros)
    leaves: SHA-256 of each block, 128 to a 4 KiB tree block, the last tree block padded with zeros
    above:  SHA-256 of each tree block of the level below, and so on up to a single tree block
    tree:   the levels from the top one to the leaves, one after the other
    root:   SHA-256 of the top tree block (of the only data block where there is just one)

This is `veritysetup format --no-superblock --salt=-` with format 1, so the same bytes can guard a
read-only image at run time (DESIGN 7).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from bootsvc.errors import AlteredImageError, SizeMismatchError
from bootsvc.units import BLOCK_SIZE, round_up

DIGEST_SIZE = 32
DIGESTS_PER_BLOCK = BLOCK_SIZE // DIGEST_SIZE

_ZEROS = bytes(BLOCK_SIZE)
ZEROS_LEAF = hashlib.sha256(_ZEROS).digest()
"""Of a block of zeros, which file systems have many of: comparing is quicker than hashing."""


class Leaves(Protocol):
    """The digests of an image's blocks, one after the other; ``bytes`` are some."""

    def __len__(self) -> int:
        """Bytes of all of them."""
        ...

    def __getitem__(self, part: slice, /) -> bytes:
        """Some of them."""
        ...


def block_count(image_size: int) -> int:
    """How many blocks an image of ``image_size`` bytes has."""
    return round_up(image_size, BLOCK_SIZE) // BLOCK_SIZE


def level_sizes(image_size: int) -> list[int]:
    """Bytes of each level, the leaves first; empty for an image of one block."""
    sizes = []
    count = block_count(image_size)
    while count > 1:
        level = round_up(count * DIGEST_SIZE, BLOCK_SIZE)
        sizes.append(level)
        count = level // BLOCK_SIZE
    return sizes


def tree_size(image_size: int) -> int:
    """Bytes of the whole tree, a multiple of 4 KiB."""
    return sum(level_sizes(image_size))


def leaves_of(data: bytes | memoryview) -> bytes:
    """The digests of the blocks in ``data`` (whole blocks), one after the other."""
    sha256 = hashlib.sha256
    view = memoryview(data)
    starts = range(0, len(view), BLOCK_SIZE)
    if not isinstance(data, bytes):
        return b"".join([sha256(view[at : at + BLOCK_SIZE]).digest() for at in starts])
    return b"".join(
        [
            ZEROS_LEAF
            if data.startswith(_ZEROS, at)
            else sha256(view[at : at + BLOCK_SIZE]).digest()
            for at in starts
        ]
    )


def build_tree(leaves: bytes) -> tuple[bytes, bytes]:
    """The tree over ``leaves`` (32 bytes a block) and its root.

    Raises:
        SizeMismatchError: no leaves at all.
    """
    levels, root = tree_levels(leaves)
    return b"".join(levels), root


def tree_levels(leaves: bytes) -> tuple[list[bytes], bytes]:
    """As ``build_tree``, the levels one by one from the top: the last one is ``leaves`` itself
    where they fill their blocks, and not a copy, which for large images are many MiB.

    Raises: as ``build_tree``.
    """
    if not leaves or len(leaves) % DIGEST_SIZE:
        raise SizeMismatchError("digest tree: there are no whole leaves")
    if len(leaves) == DIGEST_SIZE:
        return [], leaves
    levels = [_padded(leaves)]
    while len(levels[-1]) > BLOCK_SIZE:
        levels.append(_padded(leaves_of(levels[-1])))
    return levels[::-1], hashlib.sha256(levels[-1]).digest()


def checked_leaves(tree: bytes, root: bytes, image_size: int) -> bytes:
    """The leaves of ``tree`` after every level was checked against the level above it.

    Raises:
        SizeMismatchError: the tree's size is not that of an image of ``image_size`` bytes.
        AlteredImageError: the tree does not lead to ``root``, or its padding is not zero.
    """
    return leaves_by_level(lambda at, size: tree[at : at + size], len(tree), root, image_size)


def leaves_by_level(
    read: Callable[[int, int], bytes], size: int, root: bytes, image_size: int, *, above: int = 0
) -> bytes:
    """As ``checked_leaves``, level by level: of a large image the tree need not fit into memory
    beside its leaves.

    Args:
        read: gives bytes of the tree: from where, how many.
        size: of the tree, as it is claimed.
        above: so many of the lowest levels are not read. With 1, not the leaves are given but the
            digests of the tree blocks that they stand in.

    Raises: as ``checked_leaves``, and what ``read`` raises.
    """
    sizes = level_sizes(image_size)
    if size != sum(sizes):
        raise SizeMismatchError(
            f"digest tree: {size} bytes instead of {sum(sizes)} for an image of {image_size}"
        )
    expected = root
    at = 0
    for index in reversed(range(above, len(sizes))):
        level = read(at, sizes[index])
        if leaves_of(level) != expected:
            raise AlteredImageError("digest tree: it does not lead to the signed root")
        below = sizes[index - 1] // BLOCK_SIZE if index else block_count(image_size)
        expected, padding = level[: below * DIGEST_SIZE], level[below * DIGEST_SIZE :]
        if any(padding):
            raise AlteredImageError("digest tree: its padding is not zero")
        at += sizes[index]
    return expected


def _padded(digests: bytes) -> bytes:
    return digests + bytes(round_up(len(digests), BLOCK_SIZE) - len(digests))
