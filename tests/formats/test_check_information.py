"""Check information: golden bytes, an independent decoder, damage, and what equality leaves out."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import ChecksumError, FieldError, FormatError, MagicError, TruncatedError
from bootsvc.formats.check_information import (
    SIZE,
    CheckInformation,
    build_information,
    information_of,
    last_of_chain,
    parse_information,
)

LINEAGE = "0f5f3c63-4a53-4b3a-9c0f-2b6d3c1d0001"
OWN, PARENT, NEXT, IDENTITY, BELOW = (bytes([value]) * 32 for value in b"opnib")
MIDDLE = CheckInformation(OWN, PARENT, IDENTITY, NEXT, is_last=False, parent_identity=BELOW)
GOLDEN = bytes.fromhex(
    "4253564343484b0001000100c0000000"
    + "6f" * 32
    + "70" * 32
    + "6e" * 32
    + "69" * 32
    + "62" * 32
    + "00" * 12
)


def decode(data: bytes) -> dict[str, object]:
    """A second opinion, by ``struct`` and ``zlib`` alone."""
    names = [
        "magic",
        "version",
        "flags",
        "length",
        "own",
        "parent",
        "next",
        "identity",
        "parent_identity",
    ]
    fields = dict(zip(names, struct.unpack_from("<8sHHI32s32s32s32s32s", data), strict=True))
    assert struct.unpack_from("<I", data, 188)[0] == zlib.crc32(data[:188])
    assert len(data) == fields["length"]
    return fields


def resummed(data: bytes) -> bytes:
    return data[:188] + struct.pack("<I", zlib.crc32(data[:188])) + data[192:]


def test_check_information_has_the_documented_bytes() -> None:
    whole = resummed(GOLDEN + bytes(4))
    assert build_information(MIDDLE) == whole
    assert astuple(parse_information(whole)) == astuple(MIDDLE)
    assert decode(whole) == {
        "magic": b"BSVCCHK\0",
        "version": 1,
        "flags": 1,
        "length": 192,
        "own": OWN,
        "parent": PARENT,
        "next": NEXT,
        "identity": IDENTITY,
        "parent_identity": BELOW,
    }


def test_information_is_a_hash_over_texts_behind_their_lengths() -> None:
    text = b"".join(
        struct.pack("<I", len(part)) + part
        for part in (b"12", LINEAGE.encode(), "v\u4e2d".encode())
    )
    assert information_of(12, LINEAGE, "v\u4e2d") == hashlib.sha256(text).digest()
    assert information_of(12, LINEAGE.upper(), "a") == information_of(12, LINEAGE, "a")


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.text("0123ab", min_size=1))
def test_no_two_versions_share_information(one: int, other: int, name: str) -> None:
    """F2.8: the border between two texts counts."""
    same = information_of(one, LINEAGE, name) == information_of(other, LINEAGE, name)
    assert same == (one == other)
    assert information_of(one, LINEAGE, name) != information_of(one, LINEAGE, f"{name}0")


@pytest.mark.parametrize(
    ("lineage", "name"),
    [("not-a-uuid", "a"), (LINEAGE, ""), (LINEAGE, "a" * 1025), (LINEAGE, "\ud800")],
)
def test_texts_out_of_their_limits_give_no_information(lineage: str, name: str) -> None:
    with pytest.raises(FieldError):
        information_of(1, lineage, name)


def test_the_end_mark_takes_no_part_in_equality_and_gives_way_to_the_next_file() -> None:
    """F2.5: two clients with the same chain hold different end marks."""
    one = last_of_chain(OWN, PARENT, IDENTITY, b"1" * 32)
    other = last_of_chain(OWN, PARENT, IDENTITY, b"2" * 32)
    assert one == other
    assert build_information(one) != build_information(other)
    assert one.pair == (OWN, None)
    assert one.followed_by(NEXT).pair == (OWN, NEXT)
    assert one.followed_by(NEXT) == one != last_of_chain(NEXT, OWN, IDENTITY, b"1" * 32)


@pytest.mark.parametrize("mark", [OWN, PARENT, bytes(32)])
def test_an_end_mark_differs_from_own_and_parent(mark: bytes) -> None:
    with pytest.raises(FieldError, match="end mark"):
        last_of_chain(OWN, PARENT, None, mark)


digests = st.binary(min_size=32, max_size=32).filter(any)


@settings(deadline=None)
@given(
    digests,
    st.none() | digests,
    st.none() | digests,
    st.none() | digests,
    digests,
    st.booleans(),
)
def test_whatever_is_allowed_survives_build_and_parse(
    own: bytes,
    parent: bytes | None,
    identity: bytes | None,
    below: bytes | None,
    following: bytes,
    is_last: bool,
) -> None:
    information = CheckInformation(
        own, parent, identity, following, is_last=is_last, parent_identity=below if parent else None
    )
    if following in (own, parent):
        with pytest.raises(FieldError):
            build_information(information)
        return
    data = build_information(information)
    assert len(data) == SIZE
    assert astuple(parse_information(data + b"more")) == astuple(information)
    decoded = decode(data)
    assert (decoded["own"], decoded["next"]) == (own, following)
    assert decoded["flags"] == (parent is not None) + 2 * is_last


def test_every_flipped_bit_is_noticed() -> None:
    whole = build_information(MIDDLE)
    for bit in range(SIZE * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((ChecksumError, MagicError)):
            parse_information(bytes(flipped))


WRONG = {
    "nothing": (b"", MagicError),
    "zeros": (bytes(SIZE), MagicError),
    "half of it": (build_information(MIDDLE)[:80], TruncatedError),
    "another format version": (
        resummed(b"BSVCCHK\0\2\0" + build_information(MIDDLE)[10:]),
        FieldError,
    ),
    "another length": (
        resummed(GOLDEN[:12] + struct.pack("<I", 156) + GOLDEN[16:] + bytes(4)),
        FieldError,
    ),
    "an unknown flag": (resummed(GOLDEN[:10] + b"\5\0" + GOLDEN[12:] + bytes(4)), FieldError),
    "a parent without its flag": (
        resummed(GOLDEN[:10] + b"\0\0" + GOLDEN[12:] + bytes(4)),
        FieldError,
    ),
    "a file above itself": (resummed(GOLDEN[:80] + OWN + GOLDEN[112:] + bytes(4)), FieldError),
    "a version below a base": (
        resummed(GOLDEN[:10] + b"\0\0" + GOLDEN[12:48] + bytes(32) + GOLDEN[80:] + bytes(4)),
        FieldError,
    ),
    "no information": (resummed(GOLDEN[:16] + bytes(32) + GOLDEN[48:] + bytes(4)), FieldError),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_check_information_is_refused(name: str) -> None:
    data, error = WRONG[name]
    with pytest.raises(error):
        parse_information(data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_an_error_of_ours(garbage: bytes) -> None:
    data = resummed((b"BSVCCHK\0\1\0" + garbage).ljust(SIZE, b"\0"))
    try:
        information = parse_information(data)
    except FormatError:
        return
    assert parse_information(build_information(information)) == information
