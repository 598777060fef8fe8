"""Recipes: runs are found, come back as they were built, and contradictions are refused."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.errors import ChecksumError, FieldError, FormatError, SizeMismatchError
from bootsvc.formats.compression import packed, unpacked
from bootsvc.formats.recipe import Recipe, Run, build_recipe, parse_recipe, runs_of

PLACES = st.lists(
    st.none() | st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=60
)
PACKS = (b"a" * 32, b"b" * 32, b"c" * 32)


def parsed(data: bytes) -> Recipe:
    return parse_recipe(data, hashlib.sha256(data).digest())


def places_of(recipe: Recipe) -> list[tuple[int, int] | None]:
    return [
        None if run.pack is None else (run.pack, run.first + number)
        for run in recipe.runs
        for number in range(run.count)
    ]


@given(places=PLACES)
def test_a_recipe_puts_every_block_where_it_was(places: list[tuple[int, int] | None]) -> None:
    recipe = Recipe(PACKS, runs_of(places))
    assert places_of(parsed(build_recipe(recipe))) == places


def test_neighbours_are_one_run() -> None:
    places = [None, None, (0, 4), (0, 5), (1, 6), (1, 6), None]
    assert runs_of(places) == (
        Run(None, 0, 2),
        Run(0, 4, 2),
        Run(1, 6, 1),
        Run(1, 6, 1),
        Run(None, 0, 1),
    )


def test_an_independent_decoder_reads_the_same() -> None:
    data = build_recipe(Recipe(PACKS[:1], (Run(0, 7, 2), Run(None, 0, 3))))
    plain = unpacked(data, 1000, "recipe")
    assert struct.unpack_from("<8sIIII32s", plain) == (b"BSVCRECI", 1, 5, 1, 2, PACKS[0])
    assert struct.unpack_from("<6I", plain, 56) == (0, 2**32 - 1, 7, 0, 2, 3)
    assert len(plain) == 80


def spoiled(offset: int, value: int) -> bytes:
    plain = bytearray(
        unpacked(build_recipe(Recipe(PACKS[:1], (Run(0, 7, 2), Run(None, 0, 3)))), 1000, "recipe")
    )
    struct.pack_into("<I", plain, offset, value)
    return packed(bytes(plain))


@pytest.mark.parametrize(
    ("offset", "value", "kind"),
    [
        (8, 2, FieldError),
        (12, 6, SizeMismatchError),
        (12, 0, FieldError),
        (16, 70_000, FieldError),
        (20, 3, FormatError),
        (56, 1, FieldError),
        (64, 2**31, FieldError),
        (68, 1, FieldError),
        (72, 0, FieldError),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(
    offset: int, value: int, kind: type[FormatError]
) -> None:
    with pytest.raises(kind):
        parsed(spoiled(offset, value))


def test_another_recipe_than_the_one_that_was_published_is_refused() -> None:
    with pytest.raises(ChecksumError, match="damaged, or another one"):
        parse_recipe(build_recipe(Recipe((), (Run(None, 0, 1),))), bytes(32))
