"""A recipe: which blocks of which packs make an image, in order; short enough to be fetched whole.

    zstd frame of: offset size field
                        0    8 magic "BSVCRECI"
                        8    4 format_version  1
                       12    4 block_count     of the image
                       16    4 pack_count      at most 65,535
                       20    4 run_count
                       24      pack_count times 32: the packs' identities
                               then three columns of run_count u32 each:
                               pack   index into the packs; 2^32 - 1: blocks of zeros
                               first  block within the pack; 0 for zeros
                               count  how many blocks, one behind the other

Files that moved within an image keep their runs, and a run costs a few bytes however long it is.
Nothing here is believed for itself: the digests that a recipe leads to must lead to the signed root
of the image's digest tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from construct import Array, Bytes, Const, Int32ul, Struct

from bootsvc.errors import ChecksumError, FieldError, SizeMismatchError, TruncatedError
from bootsvc.formats._codec import parse_struct
from bootsvc.formats._columns import build_u32s, parse_u32s
from bootsvc.formats.compression import packed, unpacked
from bootsvc.formats.pack import MAX_BLOCKS
from bootsvc.formats.tree import DIGEST_SIZE
from bootsvc.units import MIB

MAGIC = b"BSVCRECI"
FORMAT_VERSION = 1
MAX_PACKS = 65535
MAX_RECIPE_SIZE = 64 * MIB
"""Unpacked; an image of 16 GiB whose every file is in another place than before has a tenth."""

_ZEROS_INDEX = 0xFFFFFFFF

_HEAD = Struct(
    "magic" / Const(MAGIC),
    "format_version" / Int32ul,
    "block_count" / Int32ul,
    "pack_count" / Int32ul,
    "run_count" / Int32ul,
)


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring blocks of an image that are neighbours in a pack as well.

    Attributes:
        pack: index into the recipe's packs; None: blocks of zeros.
        first: the first one's number within the pack.
        count: how many.
    """

    pack: int | None
    first: int
    count: int


@dataclass(frozen=True)
class Recipe:
    """The runs of an image in order. ``packs`` are identities, 32 bytes each."""

    packs: tuple[bytes, ...]
    runs: tuple[Run, ...]

    @property
    def block_count(self) -> int:
        """Blocks of the image."""
        return sum(run.count for run in self.runs)


def runs_of(places: Iterable[tuple[int, int] | None]) -> tuple[Run, ...]:
    """The runs of blocks that stand at ``places``: (index of the pack, number in it), or None for a
    block of zeros."""
    runs: list[Run] = []
    pack: int | None = None
    first = count = 0
    for place in places:
        if count and (place is None if pack is None else place == (pack, first + count)):
            count += 1
            continue
        if count:
            runs.append(Run(pack, first, count))
        pack, first = place if place is not None else (None, 0)
        count = 1
    if count:
        runs.append(Run(pack, first, count))
    return tuple(runs)


def build_recipe(recipe: Recipe) -> bytes:
    """The recipe's bytes."""
    head = _HEAD.build(
        {
            "format_version": FORMAT_VERSION,
            "block_count": recipe.block_count,
            "pack_count": len(recipe.packs),
            "run_count": len(recipe.runs),
        }
    )
    columns = (
        [_ZEROS_INDEX if run.pack is None else run.pack for run in recipe.runs],
        [run.first for run in recipe.runs],
        [run.count for run in recipe.runs],
    )
    return packed(b"".join([head, *recipe.packs, *map(build_u32s, columns)]))


def parse_recipe(data: bytes, sha256: bytes) -> Recipe:
    """The recipe in ``data``.

    Args:
        sha256: of ``data``, as it was published.

    Raises:
        ChecksumError: it is another one, or damaged.
        FormatError: it is the right one and still none, or too large.
        FieldError: a run lies outside every pack there could be.
        SizeMismatchError: its runs do not make the image that it speaks of.
    """
    if hashlib.sha256(data).digest() != sha256:
        raise ChecksumError(f"recipe {sha256.hex()[:12]}: damaged, or another one")
    plain = unpacked(data, MAX_RECIPE_SIZE, "recipe")
    head = parse_struct(_HEAD, plain, "recipe")
    if head.format_version != FORMAT_VERSION:
        raise FieldError(f"recipe: format version {head.format_version} is unknown")
    if head.pack_count > MAX_PACKS or not 0 < head.block_count <= MAX_BLOCKS:
        raise FieldError(f"recipe: {head.block_count} blocks from {head.pack_count} packs")
    at = int(_HEAD.sizeof())
    columns_at = at + head.pack_count * DIGEST_SIZE
    size = columns_at + 3 * 4 * head.run_count
    if len(plain) != size:
        raise TruncatedError(f"recipe: {len(plain)} bytes instead of {size}")
    packs = tuple(parse_struct(Array(head.pack_count, Bytes(DIGEST_SIZE)), plain[at:], "recipe"))
    numbers = parse_u32s(plain[columns_at:])
    count = head.run_count
    recipe = Recipe(
        packs,
        tuple(map(_run, numbers[:count], numbers[count : 2 * count], numbers[2 * count :])),
    )
    for run in recipe.runs:
        _check_run(run, head.pack_count)
    if recipe.block_count != head.block_count:
        raise SizeMismatchError(
            f"recipe: its runs make {recipe.block_count} blocks, it speaks of {head.block_count}"
        )
    return recipe


def _run(pack: int, first: int, count: int) -> Run:
    return Run(None if pack == _ZEROS_INDEX else pack, first, count)


def _check_run(run: Run, pack_count: int) -> None:
    is_zeros = run.pack is None and run.first == 0
    is_packed = run.pack is not None and run.pack < pack_count
    if not (is_zeros or is_packed) or not run.count or run.first + run.count > MAX_BLOCKS:
        raise FieldError(f"recipe: {run.count} blocks from {run.first} of pack {run.pack}")
