"""What the benchmark of transfers counts."""

import os
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bootsvc.units import KIB, MIB
from qemu_lab.bench.transfer.bundles import squashfs_bytes
from qemu_lab.bench.transfer.counting import (
    DIGEST_SIZE,
    NODE_FANOUT,
    Piece,
    changed_in_place,
    cut_fixed,
    differing_index_size,
    frames,
    index_size,
    joined,
    missing,
    total,
)
from qemu_lab.bench.transfer.results import Result, peers_table

SIZE = 4 * KIB


def _blocks(letters: str) -> bytes:
    """An image of one block for each letter; a dot is a block of zeros."""
    return b"".join(bytes(SIZE) if one == "." else one.encode() * SIZE for one in letters)


def _pieces(letters: str) -> list[Piece]:
    return cut_fixed(_blocks(letters), SIZE)


def _offsets(pieces: list[Piece]) -> list[int]:
    return [piece.offset // SIZE for piece in pieces]


def test_pieces_cover_an_image_to_its_last_short_one() -> None:
    pieces = cut_fixed(b"x" * (2 * SIZE + 5), SIZE)
    assert [piece.length for piece in pieces] == [SIZE, SIZE, 5]
    assert pieces[-1].end == 2 * SIZE + 5


def test_a_short_last_piece_of_zeros_is_known_as_one() -> None:
    assert [piece.is_zero for piece in cut_fixed(b"x" * SIZE + bytes(5), SIZE)] == [False, True]


def test_a_moved_block_is_changed_at_its_place_and_not_missing() -> None:
    old, new = _pieces("abcd"), _pieces("aacd")
    assert _offsets(changed_in_place(old, new)) == [1]
    assert missing(old, new) == []


def test_a_block_that_is_twice_in_the_new_image_is_fetched_once() -> None:
    assert _offsets(missing(_pieces("ab.."), _pieces("xbxy"))) == [0, 3]


def test_zeros_are_never_fetched() -> None:
    old, new = _pieces("ab"), _pieces("..")
    assert missing(old, new) == []
    assert changed_in_place(old, new) == []


def test_neighbours_are_one_request() -> None:
    pieces = missing(_pieces("......"), _pieces("ab.cd."))
    assert joined(pieces) == [range(2 * SIZE), range(3 * SIZE, 5 * SIZE)]


@given(st.text("abcxyz.", max_size=60), st.text("abcxyz.", max_size=60))
def test_requests_hold_exactly_what_is_missing(old: str, new: str) -> None:
    absent = missing(_pieces(old), _pieces(new))
    ranges = joined(absent)
    assert sum(map(len, ranges)) == total(absent)
    assert all(first.stop < second.start for first, second in pairwise(ranges))
    have = {_blocks(one) for one in old + "."}
    image = _blocks(new)
    have |= {image[at : at + SIZE] for one in ranges for at in range(one.start, one.stop, SIZE)}
    assert all(image[at : at + SIZE] in have for at in range(0, len(image), SIZE))


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 20))
def test_frames_keep_order_and_stay_within_their_size(lengths: list[int], size: int) -> None:
    pieces = [Piece(place, length, b"", is_zero=False) for place, length in enumerate(lengths)]
    groups = list(frames(pieces, size))
    assert [piece for group in groups for piece in group] == pieces
    assert all(total(group) <= size or len(group) == 1 for group in groups)


def test_an_index_of_varying_pieces_has_their_lengths() -> None:
    pieces = _pieces("abc")
    assert index_size(pieces, with_lengths=False) == 3 * DIGEST_SIZE
    assert index_size(pieces, with_lengths=True) == 3 * (DIGEST_SIZE + 4)


def test_of_an_index_that_differs_in_one_digest_one_node_of_each_level_is_fetched() -> None:
    count = NODE_FANOUT * NODE_FANOUT  # two levels, all nodes full
    old = [Piece(at, 1, at.to_bytes(DIGEST_SIZE, "big"), is_zero=False) for at in range(count)]
    new = list(old)
    new[5] = new[5]._replace(digest=os.urandom(DIGEST_SIZE))
    assert differing_index_size(old, new) == 2 * NODE_FANOUT * DIGEST_SIZE


def test_of_an_index_that_is_the_same_only_the_root_is_fetched() -> None:
    pieces = [Piece(at, 1, at.to_bytes(DIGEST_SIZE, "big"), is_zero=False) for at in range(300)]
    assert differing_index_size(pieces, pieces) == -(-300 // NODE_FANOUT) * DIGEST_SIZE


def test_of_an_index_without_an_old_one_all_is_fetched() -> None:
    pieces = [Piece(at, 1, at.to_bytes(DIGEST_SIZE, "big"), is_zero=False) for at in range(300)]
    assert differing_index_size([], pieces) == (300 + 3) * DIGEST_SIZE


def test_a_contender_that_could_not_run_is_in_the_table_with_its_reason() -> None:
    ran = Result("casync", "A", 3 * MIB, 7, 4.0, 2.0, 64 * MIB)
    table = peers_table([ran, Result("other", "A", note="not run: apt-get install other")])
    _, first, second = (line.split() for line in table.splitlines())
    assert first == ["casync", "A", "3.00", "7", "4.0", "2.00", "64.00"]
    assert second[:7] == ["other", "A", "-", "-", "-", "-", "-"]
    assert " ".join(second[7:]) == "not run: apt-get install other"


def test_a_peer_fetches_each_compressed_block_that_it_touches_once() -> None:
    half = 64 * KIB
    file = memoryview(os.urandom(2 * half) + bytes(2 * half) + os.urandom(2 * half))
    pieces = [Piece(at, SIZE, b"", is_zero=False) for at in (0, SIZE, 4 * half)]
    assert squashfs_bytes(file, pieces) == 4 * half  # random bytes are stored as they are
    assert squashfs_bytes(file, [Piece(2 * half, SIZE, b"", is_zero=True)]) < KIB
