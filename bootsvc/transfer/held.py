"""Images that this machine holds already, as sources of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from itertools import takewhile

from bootsvc.errors import BootsvcError, RottenHereError
from bootsvc.formats.tree import (
    DIGEST_SIZE,
    Leaves,
    block_count,
    leaves_by_level,
    leaves_of,
    level_sizes,
)
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import Footer, read_footer
from bootsvc.units import BLOCK_SIZE, KIB

_READ_AT_ONCE = 256 * KIB
"""Bytes of leaves: those of 32 MiB."""


class PagedLeaves:
    """The leaves of an image in an area or a file, read where they are asked for; they need not fit
    into memory. Each is checked up to the signed root."""

    def __init__(self, name: str, area: Device, footer: Footer) -> None:
        """Read the tree above the leaves.

        Args:
            name: of the image, for messages.

        Raises:
            AlteredImageError, SizeMismatchError, DeviceError: see ``image_area.read_leaves``.
        """
        tree_at = area.size - footer.locator.footer_size
        image_size, tree_size = footer.manifest.size, footer.locator.tree_size
        sizes = level_sizes(image_size)
        self._above = leaves_by_level(
            lambda at, size: area.read_at(tree_at + at, size),
            tree_size, footer.manifest.root, image_size, above=1,
        )  # fmt: skip
        self._name = name
        self._area = area
        self._level = range(tree_at + tree_size - sizes[0], tree_at + tree_size) if sizes else None
        self._size = block_count(image_size) * DIGEST_SIZE
        self._last: tuple[int, bytes] = (-1, b"")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        """Some of them. Raises RottenHereError: the tree was changed, or cannot be read."""
        start, stop, _ = part.indices(self._size)
        parts = []
        for number in range(start // _READ_AT_ONCE, -(-stop // _READ_AT_ONCE)):
            at = number * _READ_AT_ONCE
            parts.append(self._read(number)[max(start - at, 0) : stop - at])
        return b"".join(parts)

    def _read(self, number: int) -> bytes:
        if self._level is None:  # one block: its digest is the root
            return self._above
        last = self._last  # other threads may put another one there
        if last[0] != number:
            at = number * _READ_AT_ONCE
            try:
                place = self._level[at : at + _READ_AT_ONCE]
                data = self._area.read_at(place.start, len(place))
            except BootsvcError as exc:
                raise RottenHereError(self._name, at // DIGEST_SIZE) from exc
            first = at // BLOCK_SIZE * DIGEST_SIZE
            found = leaves_of(data)
            if found != self._above[first : first + len(found)]:
                raise RottenHereError(self._name, at // DIGEST_SIZE)
            last = self._last = (number, data)
        return last[1]


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
        open_: Callable[[], tuple[Device, Leaves]],
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
    def _opened(self) -> tuple[Device, Leaves]:
        try:
            return self._open()
        except BootsvcError as exc:
            raise RottenHereError(self.name, 0) from exc

    @property
    def device(self) -> Device:
        """Gives the image. Raises RottenHereError: it cannot be opened."""
        return self._opened[0]

    @property
    def leaves(self) -> Leaves:
        """The digests of its blocks. Raises as ``device``."""
        return self._opened[1]

    def read(self, blocks: range) -> bytes:
        """Some of its blocks, each found equal to its digest.

        Raises:
            RottenHereError: one is not, cannot be read, or is not there.
        """
        data = self.read_unchecked(blocks)
        found = leaves_of(data)
        digests = self.leaves[blocks.start * DIGEST_SIZE : blocks.stop * DIGEST_SIZE]
        if found != digests:
            places = (slice(at, at + DIGEST_SIZE) for at in range(0, len(found), DIGEST_SIZE))
            right = takewhile(lambda place: found[place] == digests[place], places)
            raise RottenHereError(self.name, blocks.start + sum(1 for _ in right))
        return data

    def read_unchecked(self, blocks: range) -> bytes:
        """Some of its blocks, for whoever compares them with their digests anyway.

        Raises:
            RottenHereError: they cannot be read, or are not there.
        """
        try:
            return self.device.read_at(blocks.start * BLOCK_SIZE, len(blocks) * BLOCK_SIZE)
        except BootsvcError as exc:
            raise RottenHereError(self.name, blocks.start) from exc


def held_in(areas: Iterable[tuple[str, Device]]) -> tuple[HeldImage, ...]:
    """The images in ``areas``, by their names. An area without a readable one is left out, and so
    is one with the image of an area before it."""
    held: list[HeldImage] = []
    for name, area in areas:
        try:
            footer = read_footer(area)
            if footer.identity in {one.identity for one in held}:
                continue
            leaves = PagedLeaves(name, area, footer)
        except BootsvcError:
            continue
        count, number = len(leaves) // DIGEST_SIZE, footer.manifest.number
        held.append(HeldImage(name, number, footer.identity, count, partial(_given, area, leaves)))
    return tuple(held)


def _given(area: Device, leaves: Leaves) -> tuple[Device, Leaves]:
    return area, leaves
