"""qcow2 headers written with ``struct`` alone: read, changed, cut off in the middle, spoilt."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import FieldError, FormatError, MagicError, TruncatedError
from bootsvc.formats import qcow2
from bootsvc.formats.qcow2 import (
    MAX_HEADER_SIZE,
    OUR_MAGIC,
    OUR_TYPE,
    Extension,
    Header,
    applied,
    find_ours,
    is_free_at_3072,
    ours_removed,
    ours_set,
    parse_header,
    unsupported,
)
from bootsvc.units import SECTOR_SIZE
from tests.formats.heads import FORMAT, OTHER, by_hand

OURS = OUR_MAGIC + b"check information".ljust(152, b".")
SAME_TYPE = (OUR_TYPE, b"of another program with our type")


def others(header: Header) -> list[tuple[int, bytes]]:
    return [
        (one.kind, one.content)
        for one in header.extensions
        if not (one.kind == OUR_TYPE and one.content.startswith(OUR_MAGIC))
    ]


def test_a_header_is_read_as_the_document_has_it() -> None:
    header = parse_header(by_hand(FORMAT, OTHER, name=b"base.qcow2"))
    assert (header.version, header.size, header.cluster_size) == (3, 1 << 20, 65536)
    assert (header.backing_name, header.backing_format) == ("base.qcow2", "qcow2")
    assert others(header) == [FORMAT, OTHER]
    assert header.used_to == header.end_at + 8 + len("base.qcow2")
    assert not unsupported(header)


def test_a_header_of_version_2_has_its_extensions_at_byte_72() -> None:
    header = parse_header(by_hand(FORMAT, name=b"b", version=2, incompatible=2**64 - 1))
    assert (header.version, header.extensions_at, header.backing_name) == (2, 72, "b")
    assert others(header) == [FORMAT]
    assert not unsupported(header)


def test_an_extension_is_built_as_it_is_read() -> None:
    built = Extension(*OTHER).build()
    assert built == struct.pack(">II", OTHER[0], 18) + OTHER[1] + bytes(6)


def test_our_extension_is_known_by_type_and_magic_together() -> None:
    assert find_ours(parse_header(by_hand(SAME_TYPE, (7, OURS)))) is None
    assert find_ours(parse_header(by_hand(SAME_TYPE, (OUR_TYPE, OURS)))) == OURS
    with pytest.raises(FieldError, match="twice"):
        find_ours(parse_header(by_hand((OUR_TYPE, OURS), (OUR_TYPE, OURS))))


names = st.sampled_from([b"", b"base.qcow2", b"n" * 1023, "中文.qcow2".encode()])
lists = st.lists(
    st.one_of(
        st.just(FORMAT),
        st.just(SAME_TYPE),
        st.tuples(st.integers(1, 2**32 - 1), st.binary(max_size=400)),
    ),
    max_size=4,
    unique_by=lambda one: one[0],
)


@settings(deadline=None)
@given(lists, names, st.sampled_from([2, 3]), st.integers(0, 4), st.sampled_from([160, 7, 512]))
def test_setting_and_removing_ours_disturbs_nobody(
    extensions: list[tuple[int, bytes]], name: bytes, version: int, place: int, size: int
) -> None:
    before = by_hand(*extensions, name=name, version=version)
    content = OURS[:8] + b"x" * (size - 7)
    for present in (before, by_hand(*_with_ours(extensions, place), name=name, version=version)):
        after = applied(present, ours_set(present, content))
        header = parse_header(after)
        assert find_ours(header) == content
        assert others(header) == extensions
        assert header.backing_name == (name.decode() or None)
        assert replace_moved(header) == replace_moved(parse_header(present))
        without = applied(after, ours_removed(after))
        assert find_ours(parse_header(without)) is None
        assert others(parse_header(without)) == extensions
        assert parse_header(without).backing_name == (name.decode() or None)


def _with_ours(extensions: list[tuple[int, bytes]], place: int) -> list[tuple[int, bytes]]:
    return [*extensions[:place], (OUR_TYPE, OURS), *extensions[place:]]


def replace_moved(header: Header) -> Header:
    """A header without what a change of extensions may move."""
    return replace(header, extensions=(), end_at=0, backing_offset=0)


def cuts(head: bytes, writes: tuple[qcow2.Write, ...]) -> list[bytes]:
    """What may stand on the disk when power goes: each write whole or torn at any sector."""
    found = [head]
    for one in writes:
        after = applied(head, (one,))
        for sector in range(0, len(head), SECTOR_SIZE):
            for torn in (
                after[:sector] + head[sector:],
                head[:sector] + after[sector:],
            ):
                if torn not in found[-1:]:
                    found.append(torn)
        head = after
        found.append(head)
    return found


@settings(deadline=None, max_examples=40)
@given(lists, names, st.sampled_from([2, 3]))
def test_a_power_cut_at_any_sector_leaves_a_header_with_all_that_others_put_there(
    extensions: list[tuple[int, bytes]], name: bytes, version: int
) -> None:
    before = by_hand(*extensions, name=name, version=version, bits=13)
    for present in (before, applied(before, ours_set(before, OUR_MAGIC + b"o" * 152))):
        for left in cuts(present, ours_set(present, OURS)):
            header = parse_header(left)
            assert others(header) == extensions
            assert header.backing_name == (name.decode() or None)
            # The work simply starts again.
            again = parse_header(applied(left, ours_set(left, OURS)))
            assert find_ours(again) == OURS
            assert others(again) == extensions


def test_removing_the_last_extension_can_be_cut_as_well() -> None:
    before = by_hand(FORMAT, (OUR_TYPE, OURS), name=b"b")
    for left in cuts(before, ours_removed(before)):
        assert others(parse_header(left)) == [FORMAT]


def test_where_the_first_cluster_has_no_room_nothing_is_written() -> None:
    small = by_hand((5, b"x" * 200), name=b"n" * 100, bits=9)
    with pytest.raises(FieldError, match="has no room"):
        ours_set(small, OURS)
    full = by_hand((5, b"x" * 300), bits=9)
    with pytest.raises(FieldError, match="has no room"):
        ours_set(full, OURS)


def test_a_name_that_moves_keeps_clear_of_byte_3072() -> None:
    crowded = by_hand((5, b"x" * 2500), name=b"n" * 300)
    header = parse_header(applied(crowded, ours_set(crowded, OURS)))
    assert header.backing_offset >= 4096
    assert header.backing_name == "n" * 300


def with_bytes(head: bytes, offset: int, data: bytes) -> bytes:
    return head[:offset] + data + head[offset + len(data) :]


FREE = {
    "a new file": (by_hand(FORMAT, name=b"b"), True),
    "ours already there": (with_bytes(by_hand(), 3072, OURS), True),
    "another's bytes": (with_bytes(by_hand(), 3100, b"x"), False),
    "small clusters": (by_hand(bits=11), False),
    "just large enough clusters": (by_hand(bits=12), True),
    "extensions up to there": (by_hand((5, b"x" * 3000)), False),
    "a name there": (by_hand(name=b"n" * 1000, name_at=2500), False),
    "a name behind it": (by_hand(name=b"n", name_at=5000), False),
    "a file that ends there": (by_hand()[:3100], False),
}


@pytest.mark.parametrize("name", FREE)
def test_byte_3072_is_written_only_where_it_harms_nobody(name: str) -> None:
    head, is_free = FREE[name]
    assert is_free_at_3072(head, 160) is is_free


WORDS = {
    "encrypted": {"crypt": 2},
    "lies in another file": {"incompatible": 4},
    "another method": {"incompatible": 8},
    "corrupt": {"incompatible": 2},
    "not closed properly": {"incompatible": 1},
    "unknown here (0x20)": {"incompatible": 0x30},
    "snapshots inside": {"snapshots": 1, "snapshots_offset": 1 << 20},
}


@pytest.mark.parametrize("words", WORDS)
def test_a_file_that_chains_do_not_take_is_known_by_its_header(words: str) -> None:
    assert words in unsupported(parse_header(by_hand(**WORDS[words])))  # type: ignore[arg-type]


WRONG = {
    "nothing": (b"", MagicError),
    "raw": (bytes(4096), MagicError),
    "version 1": (with_bytes(by_hand(), 4, struct.pack(">I", 1)), MagicError),
    "version 4": (with_bytes(by_hand(), 4, struct.pack(">I", 4)), FieldError),
    "eight bytes": (by_hand()[:8], TruncatedError),
    "half a header": (by_hand()[:100], TruncatedError),
    "no end mark": (by_hand(FORMAT)[:128], TruncatedError),
    "clusters of 256 bytes": (with_bytes(by_hand(), 20, struct.pack(">I", 8)), FieldError),
    "clusters of 2^40 bytes": (with_bytes(by_hand(), 20, struct.pack(">I", 40)), FieldError),
    "a disk of 2^64 bytes": (by_hand(size=2**64 - 1), FieldError),
    "a header length that is odd": (by_hand(length=113), FieldError),
    "a header length beyond all": (with_bytes(by_hand(), 100, b"\xff" * 4), FieldError),
    "an extension of 4 GiB": (with_bytes(by_hand(), 112, b"\0\0\0\5\xff\xff\xff\xff"), FieldError),
    "an extension into the name": (by_hand((5, b"x" * 80), name=b"n", name_at=160), FieldError),
    "a name of 1024 bytes": (by_hand(name=b"n" * 1024), FieldError),
    "a name beyond the cluster": (
        with_bytes(by_hand(), 8, struct.pack(">QI", 65530, 20)),
        FieldError,
    ),
    "a name within the header": (with_bytes(by_hand(), 8, struct.pack(">QI", 8, 4)), FieldError),
    "a name that is no text": (by_hand(name=b"\xff\xfe"), FieldError),
    "a name with a zero": (by_hand(name=b"a\0b"), FieldError),
    "tables in the header": (by_hand(refcount_offset=0), FieldError),
    "a table that is not aligned": (by_hand(l1_offset=65537), FieldError),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_header_is_refused(name: str) -> None:
    head, error = WRONG[name]
    with pytest.raises(error):
        parse_header(head)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 700), st.binary(min_size=1, max_size=8), st.booleans(), st.integers(0, 65536))
def test_any_spoilt_header_is_refused_or_read_within_its_limits(
    at: int, data: bytes, has_name: bool, size: int
) -> None:
    head = with_bytes(by_hand(FORMAT, OTHER, name=b"base" if has_name else b""), at, data)[:size]
    try:
        header = parse_header(head)
        writes = ours_set(head, OURS)
    except FormatError:
        return
    assert header.used_to <= min(header.cluster_size, MAX_HEADER_SIZE)
    after = parse_header(applied(head, writes))
    assert find_ours(after) == OURS
    assert others(after) == others(header)
