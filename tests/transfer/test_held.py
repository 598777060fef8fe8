"""Images of this machine give blocks; their digests are read where they are needed."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import AlteredImageError, RottenHereError
from bootsvc.formats.tree import DIGEST_SIZE
from bootsvc.transfer.held import PagedLeaves, held_in
from bootsvc.units import BLOCK_SIZE
from tests.images import Image, make_image, random_blocks
from tests.storage.memory import MemoryDevice
from tests.store.shelf import footer_of, leaves

ONE = make_image(random_blocks(1, 1))
SOME = make_image(random_blocks(20, 2))
MANY = make_image(bytes(8300 * BLOCK_SIZE) + random_blocks(3, 3))
"""Leaves of more than 256 KiB, below two levels."""


def area_of(image: Image, hurt_at: int | None = None) -> MemoryDevice:
    """The image as it lies in an area; one byte, counted from its end, may be wrong."""
    content = bytearray(image.as_file())
    if hurt_at is not None:
        content[hurt_at] ^= 1
    return MemoryDevice(bytes(content))


@lru_cache
def right_and_paged(image: Image) -> tuple[bytes, PagedLeaves]:
    """The leaves of an image, and what reads them from its area."""
    return leaves(image), PagedLeaves("area", area_of(image), footer_of(image))


@pytest.mark.parametrize("image", [ONE, SOME, MANY], ids=["one block", "one level", "more"])
@settings(deadline=None)  # the first example reads and hashes the image
@given(data=st.data())
def test_paged_leaves_are_those_of_the_image(image: Image, data: st.DataObject) -> None:
    right, paged = right_and_paged(image)
    assert len(paged) == len(right)
    count = len(right) // DIGEST_SIZE
    first = data.draw(st.integers(0, count))
    end = data.draw(st.integers(first, count + 2))
    part = slice(first * DIGEST_SIZE, end * DIGEST_SIZE)
    assert paged[part] == right[part]


def test_a_leaf_that_was_changed_is_never_given() -> None:
    tail = len(MANY.footer) - len(MANY.tree)
    area = area_of(MANY, hurt_at=-tail - BLOCK_SIZE)
    paged = PagedLeaves("area", area, footer_of(MANY))
    assert paged[:DIGEST_SIZE] == leaves(MANY)[:DIGEST_SIZE]
    with pytest.raises(RottenHereError, match="area: block 8192 "):
        paged[8200 * DIGEST_SIZE : 8201 * DIGEST_SIZE]


def test_a_tree_that_does_not_lead_to_the_root_is_no_image() -> None:
    area = area_of(MANY, hurt_at=-len(MANY.footer))
    with pytest.raises(AlteredImageError):
        PagedLeaves("area", area, footer_of(MANY))
    assert held_in([("area", area)]) == ()


def test_a_block_is_given_only_where_it_fits_its_digest() -> None:
    (held,) = held_in([("area", area_of(SOME, hurt_at=7 * BLOCK_SIZE))])
    assert held.read(range(5, 7)) == SOME.content[5 * BLOCK_SIZE : 7 * BLOCK_SIZE]
    with pytest.raises(RottenHereError, match="area: block 7 "):
        held.read(range(5, 8))
