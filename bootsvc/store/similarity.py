"""Finds which parts of an old image some new blocks resemble most, to pack these against them.

What is compared are *features*: hashes of 32 bytes that begin wherever four bytes have a certain
hash themselves, about one in 128. They move with their content, so a file that grew by a byte keeps
nearly all of its features, though none of its blocks.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bootsvc.formats.compression import MAX_REFERENCE
from bootsvc.units import BLOCK_SIZE, KIB, MIB

EXTENT_SIZE = 64 * KIB
"""An old image is looked up in extents of this size."""

EXTENT_BLOCKS = EXTENT_SIZE // BLOCK_SIZE

REFERENCE_SIZE = min(2 * MIB, MAX_REFERENCE)
"""Of old blocks for one frame: twice as much packs hardly better."""

_WIDTH = 32
_COMMON = 64
"""A feature that more extents have tells nothing."""

_LEAST = 2
"""Features that an extent must add, to be taken."""

_Hashes = NDArray[np.uint64]


def features_of(content: bytes) -> _Hashes:
    """The features of ``content``, each once, ascending."""
    last = len(content) - _WIDTH
    if last < 4:
        return np.zeros(0, np.uint64)
    starts = np.concatenate([_starts(content, shift) for shift in range(4)])
    starts = starts[starts < last]
    data = np.frombuffer(content, np.uint8)
    words = data[starts[:, None] + np.arange(_WIDTH)].view("<u8")
    return np.unique(_mixed(words))


def _starts(content: bytes, shift: int) -> NDArray[np.int64]:
    words = np.frombuffer(content, "<u4", count=(len(content) - shift) // 4, offset=shift)
    scattered = words * np.uint32(0x9E3779B1) + np.uint32(0x9E3779B1)
    return np.nonzero(scattered >> np.uint32(25) == 0)[0] * 4 + shift


def _mixed(words: NDArray[np.uint64]) -> _Hashes:
    factor = np.uint64(0xD6E8FEB86659FD93)
    hashes = np.zeros(len(words), np.uint64)
    for column in range(words.shape[1]):
        hashes = (hashes ^ words[:, column]) * factor
        hashes ^= hashes >> np.uint64(29)
    return hashes * factor


def blocks_of_extent(number: int, block_count: int) -> range:
    """The blocks of an extent of an image with ``block_count`` of them."""
    first = number * EXTENT_BLOCKS
    return range(first, min(first + EXTENT_BLOCKS, block_count))


class SimilarExtents:
    """The extents of an image by their features."""

    def __init__(self, extents: Iterable[tuple[int, bytes]], block_count: int) -> None:
        """Look through the image.

        Args:
            extents: numbers and contents; those of zeros may be left out.
            block_count: of the image; the last extent may be a shorter one.
        """
        self._block_count = block_count
        hashes: list[_Hashes] = [np.zeros(0, np.uint64)]
        numbers: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
        for number, content in extents:
            found = features_of(content)
            hashes.append(found)
            numbers.append(np.full(len(found), number, np.uint32))
        unsorted = np.concatenate(hashes)
        order = np.argsort(unsorted, kind="stable")
        self._hashes = unsorted[order]
        self._numbers = np.concatenate(numbers)[order]

    def choose(self, content: bytes) -> tuple[range, ...]:
        """The blocks of the extents that ``content`` resembles most, in ascending order."""
        candidates = self._candidates(features_of(content))
        # The best one first; how much each still adds is counted anew when its turn comes.
        queue = [(-len(found), number) for number, found in candidates.items()]
        heapq.heapify(queue)
        covered: set[int] = set()
        chosen: list[int] = []
        while queue and (len(chosen) + 1) * EXTENT_SIZE <= REFERENCE_SIZE:
            _, number = heapq.heappop(queue)
            adds = [one for one in candidates[number] if one not in covered]
            if len(adds) < _LEAST:
                continue
            if queue and len(adds) < -queue[0][0]:
                heapq.heappush(queue, (-len(adds), number))
                continue
            covered.update(adds)
            chosen.append(number)
        return tuple(blocks_of_extent(one, self._block_count) for one in sorted(chosen))

    def _candidates(self, features: _Hashes) -> dict[int, list[int]]:
        """Extent -> which of the features it has."""
        first = np.searchsorted(self._hashes, features, "left")
        end = np.searchsorted(self._hashes, features, "right")
        candidates: dict[int, list[int]] = {}
        for feature in np.nonzero((end > first) & (end - first <= _COMMON))[0].tolist():
            for number in self._numbers[first[feature] : end[feature]].tolist():
                candidates.setdefault(number, []).append(feature)
        return candidates
