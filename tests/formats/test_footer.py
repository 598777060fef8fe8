"""The footer's locator: golden bytes, limits, and no error outside our own."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import (
    ChecksumError,
    FieldError,
    FormatError,
    ImageError,
    NoImageError,
    SizeMismatchError,
    TruncatedError,
)
from bootsvc.formats.footer import (
    MAX_IMAGE_SIZE,
    MAX_MANIFEST_SIZE,
    Locator,
    Signature,
    build_locator,
    parse_locator,
)
from bootsvc.formats.tree import tree_size
from bootsvc.units import BLOCK_SIZE

SIGNATURES = (Signature(b"k" * 8, b"s" * 64), Signature(b"l" * 8, b"t" * 64))
LOCATOR = Locator(10_000, 4096, 700, SIGNATURES)


def by_hand(
    image: int = 10_000, tree: int = 4096, manifest: int = 700, version: int = 1, count: int = 2
) -> bytes:
    """The locator as the drawing has it, written with ``struct`` alone."""
    body = struct.pack("<8sIIQQB7x", b"BSVCFOOT", version, manifest, image, tree, count)
    body += b"k" * 8 + b"s" * 64 + b"l" * 8 + b"t" * 64
    return resummed(body.ljust(BLOCK_SIZE, b"\0"))


def resummed(block: bytes) -> bytes:
    return block[:-4] + struct.pack("<I", zlib.crc32(block[:-4]))


def test_a_locator_has_the_bytes_of_the_drawing() -> None:
    assert build_locator(LOCATOR) == by_hand()
    assert parse_locator(by_hand()) == LOCATOR


def test_the_footers_size_counts_tree_padded_manifest_and_locator() -> None:
    assert LOCATOR.footer_size == 4096 + 4096 + 4096
    assert LOCATOR.total_size == 3 * 4096 + LOCATOR.footer_size


@settings(deadline=None)
@given(
    st.integers(1, MAX_IMAGE_SIZE),
    st.integers(1, MAX_MANIFEST_SIZE),
    st.lists(
        st.builds(
            Signature, st.binary(min_size=8, max_size=8), st.binary(min_size=64, max_size=64)
        ),
        max_size=4,
    ),
)
def test_every_allowed_locator_survives_build_and_parse(
    image: int, manifest: int, signatures: list[Signature]
) -> None:
    locator = Locator(image, tree_size(image), manifest, tuple(signatures))
    assert parse_locator(build_locator(locator)) == locator


BAD = {
    "no image bytes": (by_hand(image=0, tree=0), FieldError),
    "an image beyond all sense": (by_hand(image=MAX_IMAGE_SIZE + 1), FieldError),
    "an image of 2^64-1 bytes": (by_hand(image=2**64 - 1), FieldError),
    "a tree for another size": (by_hand(tree=8192), SizeMismatchError),
    "a tree of 2^64-1 bytes": (by_hand(tree=2**64 - 1), SizeMismatchError),
    "no manifest": (by_hand(manifest=0), FieldError),
    "a manifest over 64 KiB": (by_hand(manifest=MAX_MANIFEST_SIZE + 1), FieldError),
    "another format version": (by_hand(version=2), FieldError),
    "five signatures": (by_hand(count=5), FieldError),
    "one byte short": (by_hand()[:-1], TruncatedError),
    "nothing": (b"", TruncatedError),
    "zeros": (bytes(BLOCK_SIZE), NoImageError),
}


@pytest.mark.parametrize("case", BAD)
def test_a_locator_out_of_its_limits_is_refused(case: str) -> None:
    block, error = BAD[case]
    with pytest.raises(error):
        parse_locator(block)


def test_a_locator_out_of_its_limits_is_not_built_either() -> None:
    for bad in (Locator(0, 0, 1, ()), Locator(1, 0, 0, ()), Locator(1, 0, 65_537, ())):
        with pytest.raises(FieldError):
            build_locator(bad)


def test_any_flipped_bit_of_what_counts_is_noticed() -> None:
    whole = by_hand()
    for bit in [*range(330 * 8), *range(4090 * 8, 4096 * 8)]:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((ChecksumError, NoImageError)):
            parse_locator(bytes(flipped))


@settings(deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_garbage_is_an_error_of_ours_or_a_locator_within_its_limits(
    garbage: bytes, is_summed: bool
) -> None:
    block = (b"BSVCFOOT\1\0\0\0" + garbage).ljust(BLOCK_SIZE, b"\0")
    try:
        locator = parse_locator(resummed(block) if is_summed else block)
    except (FormatError, ImageError):
        return
    assert 0 < locator.image_size <= MAX_IMAGE_SIZE
    assert locator.tree_size == tree_size(locator.image_size)
