"""What of a new image must be fetched when an old one is there. Pure.

An image is cut into pieces; a piece that the old image has, anywhere, need not be fetched, and one
that is all zero neither. What must be fetched is asked for in requests: pieces that lie side by
side in the new image are one request, as with an HTTP range.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple, TypeAlias

DIGEST_SIZE = 32
"""Bytes of a SHA-256 digest."""

NODE_FANOUT = 128
"""Digests in one node of an index that is compared as a tree: 4 KiB of them."""

Buffer: TypeAlias = bytes | memoryview


class Piece(NamedTuple):
    """One piece of an image.

    Attributes:
        offset: in the image, bytes.
        length: bytes.
        digest: SHA-256 of its bytes.
        is_zero: whether they are all zero.
    """

    offset: int
    length: int
    digest: bytes
    is_zero: bool

    @property
    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.offset + self.length


def cut(image: Buffer, ends: Iterable[int]) -> list[Piece]:
    """The pieces of *image* that end at the ascending offsets *ends*."""
    pieces: list[Piece] = []
    zero: dict[int, bytes] = {}
    begin = 0
    view = memoryview(image)
    for end in ends:
        length = end - begin
        digest = hashlib.sha256(view[begin:end]).digest()
        if length not in zero:
            zero[length] = hashlib.sha256(bytes(length)).digest()
        pieces.append(Piece(begin, length, digest, digest == zero[length]))
        begin = end
    return pieces


def cut_fixed(image: Buffer, size: int) -> list[Piece]:
    """Pieces of *size* bytes; the last one may be shorter."""
    ends = range(size, len(image) + size, size)
    return cut(image, (min(end, len(image)) for end in ends))


def changed_in_place(old: Sequence[Piece], new: Sequence[Piece]) -> list[Piece]:
    """Pieces of *new* that differ from the piece of *old* at the same offset, and are not zero."""
    have = {(piece.offset, piece.digest) for piece in old}
    return [one for one in new if not one.is_zero and (one.offset, one.digest) not in have]


def missing(old: Sequence[Piece], new: Sequence[Piece]) -> list[Piece]:
    """Pieces of *new* that *old* has nowhere, each content once, in image order, and not zero."""
    have = {piece.digest for piece in old}
    found: list[Piece] = []
    for piece in new:
        if not piece.is_zero and piece.digest not in have:
            have.add(piece.digest)
            found.append(piece)
    return found


def joined(pieces: Iterable[Piece]) -> list[range]:
    """Byte ranges of *pieces* in ascending order, those side by side as one: the requests."""
    ranges: list[range] = []
    for piece in pieces:
        if ranges and ranges[-1].stop == piece.offset:
            ranges[-1] = range(ranges[-1].start, piece.end)
        else:
            ranges.append(range(piece.offset, piece.end))
    return ranges


def frames(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    """*pieces* in their order, in groups of at most *size* bytes (a larger piece stands alone)."""
    group: list[Piece] = []
    held = 0
    for piece in pieces:
        if group and held + piece.length > size:
            yield group
            group, held = [], 0
        group.append(piece)
        held += piece.length
    if group:
        yield group


def total(pieces: Iterable[Piece]) -> int:
    """Bytes of *pieces*."""
    return sum(piece.length for piece in pieces)


def index_size(pieces: Sequence[Piece], *, with_lengths: bool) -> int:
    """Bytes of a list of all digests; *with_lengths* adds 4 bytes each, for pieces that vary."""
    return len(pieces) * (DIGEST_SIZE + (4 if with_lengths else 0))


def differing_index_size(old: Sequence[Piece], new: Sequence[Piece]) -> int:
    """Bytes of index that a client fetches which compares trees of digests from the root down.

    A leaf of the index is ``NODE_FANOUT`` digests in image order, an inner node as many digests of
    nodes. The root is fetched; of the other nodes those that the old tree lacks at that place.
    """
    before, after = ([piece.digest for piece in pieces] for pieces in (old, new))
    size = 0
    while len(after) > 1:
        nodes = [_nodes(level) for level in (before, after)]
        is_root = len(nodes[1]) == 1
        for theirs, ours in zip_longest(*nodes):
            if ours is not None and (is_root or ours != theirs):
                size += len(ours)
        before, after = ([hashlib.sha256(node).digest() for node in level] for level in nodes)
    return size


def _nodes(digests: Sequence[bytes]) -> list[bytes]:
    starts = range(0, len(digests), NODE_FANOUT)
    return [b"".join(digests[start : start + NODE_FANOUT]) for start in starts]
