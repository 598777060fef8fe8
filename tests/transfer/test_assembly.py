"""Publisher and machine count the blocks of a delta alike: in the order of their first use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bootsvc.formats.recipe import Recipe, runs_of
from bootsvc.transfer.assembly import with_delta

PACKS = tuple(bytes([number]) * 32 for number in range(4))
DELTA = bytes([9]) * 32

Place = tuple[int, int] | None

places = st.lists(st.none() | st.tuples(st.integers(0, 2), st.integers(0, 20)), min_size=1)


def recipe_of(blocks: list[Place], packs: tuple[bytes, ...]) -> Recipe:
    """The recipe of an image whose blocks stand at these places of ``packs``."""
    return Recipe(packs, runs_of(blocks))


def blocks_of(recipe: Recipe) -> list[tuple[bytes, int] | None]:
    """Pack and number of each block."""
    return [
        None if run.pack is None else (recipe.packs[run.pack], run.first + number)
        for run in recipe.runs
        for number in range(run.count)
    ]


@given(new=places, old=places)
def test_what_the_base_lacks_is_numbered_by_its_first_use(
    new: list[Place], old: list[Place]
) -> None:
    recipe, base = recipe_of(new, PACKS[:3]), recipe_of(old, PACKS[1:])
    there = set(blocks_of(base))
    expected: list[tuple[bytes, int] | None] = []
    numbers: dict[tuple[bytes, int], int] = {}
    for block in blocks_of(recipe):
        if block is None or block in there:
            expected.append(block)
        else:
            expected.append((DELTA, numbers.setdefault(block, len(numbers))))
    assert blocks_of(with_delta(recipe, base, DELTA)) == expected
