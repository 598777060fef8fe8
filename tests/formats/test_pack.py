"""Packs: what is built comes back, an independent decoder agrees, damage is told."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.errors import ChecksumError, FieldError, FormatError, TruncatedError
from bootsvc.formats.compression import MAX_REFERENCE, packed, unpacked
from bootsvc.formats.pack import (
    FRAME_BLOCKS,
    FRAME_SIZE,
    Frame,
    PackHeader,
    build_frame,
    build_pack_header,
    check_page,
    parse_pack_header,
    unpack_frame,
)
from bootsvc.units import BLOCK_SIZE, KIB
from tests.images import random_blocks

DIGESTS = st.binary(min_size=32, max_size=32)
RUNS = st.builds(
    lambda first, count: range(first, first + count), st.integers(0, 2**20), st.integers(1, 64)
)


@st.composite
def headers(draw: st.DrawFn) -> PackHeader:
    count = draw(st.integers(1, 4 * FRAME_BLOCKS))
    base = draw(st.none() | DIGESTS.filter(any))
    frames = []
    for first in range(0, count, FRAME_BLOCKS):
        size = min(count - first, FRAME_BLOCKS) * BLOCK_SIZE
        runs = draw(st.lists(RUNS, max_size=3)) if base else []
        frames.append(Frame(draw(st.integers(1, size)), draw(DIGESTS), tuple(runs)))
    return PackHeader(count, tuple(frames), base)


def parsed(data: bytes) -> PackHeader:
    return parse_pack_header(data, hashlib.sha256(data).digest())


@given(header=headers())
def test_a_header_comes_back_as_it_was_built(header: PackHeader) -> None:
    data = build_pack_header(header)
    assert parsed(data) == header
    assert header.size == len(data)


@given(header=headers())
def test_places_lie_one_behind_the_other_and_fill_the_object(header: PackHeader) -> None:
    ends = [0]
    for place in header.frame_places():
        assert place.start == ends[-1]
        ends.append(place.stop)
    assert ends[-1] == header.digests_at
    pages = [header.page_place(number) for number in range(len(header.frames))]
    assert [page.start for page in pages] == [0, *(page.stop for page in pages[:-1])]
    assert header.digests_at + pages[-1].stop + header.size == header.object_size


def test_an_independent_decoder_reads_the_same() -> None:
    runs = (range(5, 9), range(32, 33))
    header = PackHeader(300, (Frame(70, b"a" * 32, runs), Frame(9, b"b" * 32)), b"c" * 32)
    data = build_pack_header(header)
    assert struct.unpack_from("<8sIIII32s", data) == (b"BSVCPACK", 1, 300, 2, 2, b"c" * 32)
    assert struct.unpack_from("<I32sIIIII", data, 56) == (70, b"a" * 32, 2, 5, 4, 32, 1)
    assert struct.unpack_from("<I32sI", data, 112) == (9, b"b" * 32, 0)
    assert len(data) == 152


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda data: data[:-1], TruncatedError),
        (lambda data: data + b"\0", TruncatedError),
        (lambda data: b"X" + data[1:], FormatError),
        (lambda data: data[:8] + b"\2" + data[9:], FieldError),
        (lambda data: data[:12] + struct.pack("<I", 0) + data[16:], FieldError),
        (lambda data: data[:16] + struct.pack("<I", 2**32 - 1) + data[20:], FieldError),
        (lambda data: data[:56] + struct.pack("<I", 3 * BLOCK_SIZE) + data[60:], FieldError),
    ],
)
def test_a_header_that_is_none_is_refused_although_its_digest_fits(
    change: object, kind: type[FormatError]
) -> None:
    header = PackHeader(2, (Frame(100, b"a" * 32),))
    with pytest.raises(kind):
        parsed(change(build_pack_header(header)))  # type: ignore[operator]


def test_another_packs_header_is_refused() -> None:
    data = build_pack_header(PackHeader(1, (Frame(100, b"a" * 32),)))
    with pytest.raises(ChecksumError, match="damaged, or another pack's"):
        parse_pack_header(data, bytes(32))


def test_a_reference_that_would_take_too_much_memory_is_refused() -> None:
    runs = (range(MAX_REFERENCE // BLOCK_SIZE + 1),)
    header = PackHeader(1, (Frame(100, b"a" * 32, runs),), b"c" * 32)
    with pytest.raises(FieldError, match="a reference of"):
        parsed(build_pack_header(header))


def test_a_frame_comes_back_with_and_without_a_reference() -> None:
    old = random_blocks(16, 1)
    content = old[100 : 100 + 8 * BLOCK_SIZE]
    plain, against = build_frame(content, 3), build_frame(content, 3, old)
    assert len(against) < len(plain) == len(content)
    assert unpack_frame(plain, 8, "frame") == content
    assert unpack_frame(against, 8, "frame", old) == content


def test_a_frame_against_another_reference_never_gives_the_right_blocks() -> None:
    old = random_blocks(16, 1)
    content = old[: 8 * BLOCK_SIZE]
    with suppress(FormatError):
        found = unpack_frame(build_frame(content, 3, old), 8, "frame", random_blocks(16, 2))
        assert found != content


def test_a_frame_of_another_length_is_refused() -> None:
    with pytest.raises(TruncatedError, match="instead of"):
        unpack_frame(build_frame(bytes(4 * BLOCK_SIZE), 3), 8, "frame")
    with pytest.raises(FormatError, match="claims to unpack to"):
        unpack_frame(build_frame(bytes(16 * BLOCK_SIZE), 3), 8, "frame")


def test_a_page_that_is_not_the_frames_own_is_refused() -> None:
    header = PackHeader(1, (Frame(100, hashlib.sha256(b"page").digest()),))
    check_page(b"page", header, 0, "pack")
    with pytest.raises(ChecksumError, match="digests of frame 0"):
        check_page(b"pages", header, 0, "pack")


@given(data=st.binary(max_size=64 * KIB), level=st.integers(1, 19))
def test_whatever_was_packed_is_unpacked(data: bytes, level: int) -> None:
    assert unpacked(packed(data, level), len(data), "data") == data


@given(data=st.binary(max_size=200))
def test_rubbish_is_no_frame_and_takes_no_memory(data: bytes) -> None:
    with pytest.raises(FormatError):
        unpacked(data, FRAME_SIZE, "data")
