"""How an image is put together from what a machine holds and what it must fetch; pure.

A recipe names the blocks of an image by their places in packs. So does the recipe of each image
that the machine holds already, and so nearly all that both have in common is found without a
digest being fetched, at whatever offset it stands (S0.4). The digests of the other blocks come from
their packs; all together must lead to the signed root before any of them is believed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from bootsvc.errors import AlteredImageError, SizeMismatchError
from bootsvc.formats.manifest import Manifest
from bootsvc.formats.pack import FRAME_BLOCKS
from bootsvc.formats.recipe import Recipe, Run
from bootsvc.formats.tree import DIGEST_SIZE, ZEROS_LEAF, Leaves, block_count, tree_levels

_AT_ONCE = 4096
"""Leaves that are copied at once."""


@dataclass(frozen=True, slots=True)
class Held:
    """A place on this machine: the image's index among those held, a block's number in it."""

    image: int
    first: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A place in a pack: the pack's index in the recipe, a block's number in it."""

    pack: int
    first: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring blocks of the image that come from neighbouring places.

    Attributes:
        first: number of the first one in the image; ``count``: how many.
        origin: where the first one comes from; None: they are zeros.
    """

    first: int
    count: int
    origin: Held | Packed | None


@dataclass(frozen=True, slots=True)
class Want:
    """Blocks of one frame, and where in the image they go.

    Attributes:
        first: number of the first one in the image; ``count``: how many.
        at: number of the first one within the pack.
    """

    first: int
    count: int
    at: int


def pieces_of(recipe: Recipe, held: Sequence[Recipe | None]) -> tuple[Piece, ...]:
    """The pieces of the image of ``recipe`` for a machine that holds the images of ``held``.

    Where several hold a block, the first of them gives it.

    Args:
        held: None for an image whose recipe nobody knows.
    """
    tables = _places_held(recipe, held)
    pieces: list[Piece] = []
    at = 0
    for run in recipe.runs:
        pieces += _pieces_of_run(run, at, tables)
        at += run.count
    return tuple(pieces)


def _places_held(recipe: Recipe, held: Sequence[Recipe | None]) -> list[array[int]]:
    """By pack and block: 2^32 * (index of the image + 1) + number of the block; 0: nowhere."""
    tables = [array("Q", bytes(8 * size)) for size in _pack_sizes(recipe)]
    index_of = {identity: index for index, identity in enumerate(recipe.packs)}
    for image, other in reversed(list(enumerate(held))):
        for run, at in _runs_with_places(other):
            pack = index_of.get(other.packs[run.pack]) if other and run.pack is not None else None
            if pack is None:
                continue
            end = min(run.first + run.count, len(tables[pack]))
            first = ((image + 1) << 32) + at
            tables[pack][run.first : end] = array(
                "Q", range(first, first + max(end - run.first, 0))
            )
    return tables


def _runs_with_places(recipe: Recipe | None) -> Iterator[tuple[Run, int]]:
    at = 0
    for run in recipe.runs if recipe else ():
        yield run, at
        at += run.count


def _pieces_of_run(run: Run, at: int, tables: Sequence[array[int]]) -> Iterator[Piece]:
    if run.pack is None:
        yield Piece(at, run.count, None)
        return
    places = tables[run.pack][run.first : run.first + run.count]
    start = 0
    for index in range(1, run.count + 1):
        goes_on = index < run.count and (
            places[index] == places[index - 1] + 1 if places[start] else not places[index]
        )
        if goes_on:
            continue
        place = places[start]
        origin = (
            Held((place >> 32) - 1, place & 0xFFFFFFFF)
            if place
            else Packed(run.pack, run.first + start)
        )
        yield Piece(at + start, index - start, origin)
        start = index


def with_delta(recipe: Recipe, base: Recipe, delta: bytes) -> Recipe:
    """The recipe of the same image for machines that hold the image of ``base``: what that one has
    not comes from the pack ``delta`` instead, whose blocks stand in the order of their first use.

    Publisher and machine both count by this function.
    """
    in_base = [array("Q", bytes(8 * size)) for size in _pack_sizes(recipe)]
    numbers = [array("Q", bytes(8 * len(one))) for one in in_base]  # counted from 1; 0: none yet
    index_of = {identity: index for index, identity in enumerate(recipe.packs)}
    for run in base.runs:
        if run.pack is not None and (index := index_of.get(base.packs[run.pack])) is not None:
            end = min(run.first + run.count, len(in_base[index]))
            in_base[index][run.first : end] = array("Q", [1]) * max(end - run.first, 0)
    count, delta_index = 0, len(recipe.packs)
    runs: list[Run] = []
    for run in recipe.runs:
        if run.pack is None:
            runs.append(run)
            continue
        for block in range(run.first, run.first + run.count):
            if in_base[run.pack][block]:
                _append_block(runs, run.pack, block)
                continue
            if not numbers[run.pack][block]:
                count += 1
                numbers[run.pack][block] = count
            _append_block(runs, delta_index, numbers[run.pack][block] - 1)
    return Recipe((*recipe.packs, delta), tuple(runs))


def _pack_sizes(recipe: Recipe) -> list[int]:
    """How many blocks of each pack there must be."""
    sizes = [0] * len(recipe.packs)
    for run in recipe.runs:
        if run.pack is not None:
            sizes[run.pack] = max(sizes[run.pack], run.first + run.count)
    return sizes


def _append_block(runs: list[Run], pack: int, block: int) -> None:
    if runs and (last := runs[-1]).pack == pack and last.first + last.count == block:
        runs[-1] = Run(pack, last.first, last.count + 1)
    else:
        runs.append(Run(pack, block, 1))


def wants_of(pieces: Iterable[Piece]) -> dict[tuple[int, int], list[Want]]:
    """What is wanted of each frame, by (index of the pack, number of the frame), in the order in
    which the image has it."""
    wants: dict[tuple[int, int], list[Want]] = {}
    for piece in pieces:
        if not isinstance(piece.origin, Packed):
            continue
        done = 0
        while done < piece.count:
            at = piece.origin.first + done
            count = min(piece.count - done, FRAME_BLOCKS - at % FRAME_BLOCKS)
            frame = (piece.origin.pack, at // FRAME_BLOCKS)
            wants.setdefault(frame, []).append(Want(piece.first + done, count, at))
            done += count
    return wants


def neighbouring(numbers: Iterable[int]) -> list[range]:
    """Ascending numbers as runs of neighbours."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


def leaves_from(
    pieces: Iterable[Piece],
    held: Sequence[Leaves],
    pages: Mapping[tuple[int, int], bytes],
    manifest: Manifest,
) -> tuple[bytes, list[bytes]]:
    """The digests of all blocks of the image, and the levels of their tree, which was found to have
    the signed root.

    Args:
        held: the leaves of each image that the machine holds.
        pages: the digests of each wanted frame's blocks, by pack and frame.

    Raises:
        SizeMismatchError: the pieces make an image of another size.
        AlteredImageError: they make another image than the one that was signed.
        RottenHereError: the leaves of an image here cannot be read.
    """
    leaves = BytesIO()  # of a large image many MiB: they are never there twice
    for piece in pieces:
        match piece.origin:
            case None:
                leaves.write(ZEROS_LEAF * piece.count)
            case Held(image, first):
                for at in range(first, first + piece.count, _AT_ONCE):
                    end = min(at + _AT_ONCE, first + piece.count)
                    leaves.write(held[image][at * DIGEST_SIZE : end * DIGEST_SIZE])
            case Packed():
                for (pack, frame), wants in wants_of([piece]).items():
                    for want in wants:
                        start = want.at % FRAME_BLOCKS * DIGEST_SIZE
                        page = pages[pack, frame]
                        leaves.write(page[start : start + want.count * DIGEST_SIZE])
    found = leaves.getvalue()
    if len(found) != block_count(manifest.size) * DIGEST_SIZE:
        raise SizeMismatchError(
            f"the recipe makes {len(found) // DIGEST_SIZE} blocks, the image has"
            f" {block_count(manifest.size)}"
        )
    levels, root = tree_levels(found)
    if root != manifest.root:
        raise AlteredImageError(
            "recipe and packs make another image than the one that was signed",
            hint="the store is damaged or was tampered with; see: bootsvc store fsck",
        )
    return found, levels


def found_by_digest(
    pieces: Iterable[Piece], leaves: bytes, strangers: Sequence[tuple[int, Leaves]]
) -> tuple[Piece, ...]:
    """``pieces`` with all that images without a known recipe hold taken from there.

    Args:
        leaves: of the image that is put together.
        strangers: index and leaves of each such image.
    """
    places: dict[bytes, Held] = {}
    for image, of_image in reversed(strangers):
        for at in range(0, len(of_image), DIGEST_SIZE):
            places[of_image[at : at + DIGEST_SIZE]] = Held(image, at // DIGEST_SIZE)
    found: list[Piece] = []
    for piece in pieces:
        if not isinstance(piece.origin, Packed):
            found.append(piece)
            continue
        for number in range(piece.count):
            at = (piece.first + number) * DIGEST_SIZE
            origin: Held | Packed = places.get(leaves[at : at + DIGEST_SIZE]) or Packed(
                piece.origin.pack, piece.origin.first + number
            )
            _append_piece(found, piece.first + number, origin)
    return tuple(found)


def _append_piece(pieces: list[Piece], block: int, origin: Held | Packed) -> None:
    if pieces and _goes_on(pieces[-1], block, origin):
        last = pieces[-1]
        pieces[-1] = Piece(last.first, last.count + 1, last.origin)
    else:
        pieces.append(Piece(block, 1, origin))


def _goes_on(last: Piece, block: int, origin: Held | Packed) -> bool:
    if last.first + last.count != block:
        return False
    match last.origin, origin:
        case Held(image, first), Held(other, at):
            return image == other and first + last.count == at
        case Packed(pack, first), Packed(other, at):
            return pack == other and first + last.count == at
    return False


class PieceFinder:
    """Finds the pieces of a range of blocks."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        """``pieces`` make a whole image."""
        self._pieces = pieces
        self._firsts = [piece.first for piece in pieces]

    def within(self, blocks: range) -> Iterator[Piece]:
        """The pieces of ``blocks``, those at both ends cut to size."""
        index = bisect_right(self._firsts, blocks.start) - 1
        while index < len(self._pieces) and self._firsts[index] < blocks.stop:
            piece = self._pieces[index]
            first = max(piece.first, blocks.start)
            end = min(piece.first + piece.count, blocks.stop)
            yield Piece(first, end - first, _moved(piece.origin, first - piece.first))
            index += 1


def _moved(origin: Held | Packed | None, count: int) -> Held | Packed | None:
    match origin:
        case Held(image, first):
            return Held(image, first + count)
        case Packed(pack, first):
            return Packed(pack, first + count)
    return None
