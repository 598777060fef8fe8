"""Mistakes made on purpose are caught; the complete run of all of them is ``make power-cut``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from unittest.mock import patch

import pytest

from bootsvc.sequence import (
    by_hand,
    checks,
    decide,
    reconstruction,
    records,
    requests,
    runner,
    staging,
    trials,
)
from bootsvc.sequence.decide import TABLE
from bootsvc.sequence.runner import Runner
from bootsvc.storage import status_store
from bootsvc.storage.device import Window
from bootsvc.storage.status_store import StatusStore
from bootsvc.transfer import block_update, fetch
from tests.power_cut import oracle
from tests.power_cut.mistakes.mutant import Effect, Mutant, rows_with
from tests.power_cut.mutants import (
    BY_NAME,
    MUTANTS,
    UNCUT,
    MutantResult,
    all_caught,
    table,
    try_mutant,
    why_not,
)
from tests.power_cut.scenarios import SCENARIOS

SPREAD = {
    "update-asked-before-staged": "prefix",
    "no-flush-before-record": "subset",
    "blocks-compared-by-first-sector": "torn",
    "fetched-blocks-believed": UNCUT,
    "both-copies-in-one-epoch": "torn_record",
    "sequence-outside-crc": "torn_record",
    "copy-not-read-back": UNCUT,
    "try-not-flushed": UNCUT,
}
"""Of every kind of cut that catches, the mutants that are quickest to be caught by it."""


def made_of(change: Callable[[Effect], AbstractContextManager[object]]) -> Mutant:
    """A mutant in the smallest scenario."""
    scenario = next(one for one in SCENARIOS if one.name == "repair-stale-copy")
    return Mutant("tale", "A tale.", change, scenario, "same_end")


@pytest.mark.parametrize("name", SPREAD)
def test_a_mistake_is_caught_as_expected_and_the_right_code_stands_the_same_cuts(name: str) -> None:
    result = try_mutant(BY_NAME[name])
    assert result.is_caught, why_not(result)
    assert result.kind == SPREAD[name]
    assert result.clause == BY_NAME[name].clause


def test_every_clause_but_the_one_on_crashes_catches_a_mistake() -> None:
    assert {one.clause for one in MUTANTS} == set(oracle.CLAUSES) - {"crashes"}


def test_there_are_enough_mistakes_each_with_a_name_and_a_sentence_of_its_own() -> None:
    assert len(MUTANTS) >= 24
    assert len(BY_NAME) == len(MUTANTS)
    assert len({one.mistake for one in MUTANTS}) == len(MUTANTS)
    for one in MUTANTS:
        assert one.mistake[0].isupper()
        assert one.mistake.endswith(".")


def test_the_product_is_as_before_when_a_mistake_is_over() -> None:
    def product() -> tuple[object, ...]:
        changed = (
            by_hand,
            decide,
            reconstruction,
            records,
            trials,
            requests,
            checks,
            runner,
            staging,
            block_update,
            fetch,
        )
        classes = (Runner, StatusStore, Window)
        return dict(TABLE), *(dict(vars(one)) for one in (*changed, status_store, *classes))

    before = product()
    for one in MUTANTS:
        with one.change(Effect()):
            pass
    assert product() == before


def test_a_patch_that_hits_nothing_is_no_catch() -> None:
    result = try_mutant(made_of(lambda _: nullcontext()))
    assert not result.is_caught
    assert why_not(result) == "NOT MADE: the patch hit nothing"


def test_a_mistake_that_no_promise_minds_is_no_catch() -> None:
    right = Runner.run

    def change(effect: Effect) -> AbstractContextManager[object]:
        def run(self: Runner) -> object:
            effect.took_place()
            return right(self)

        return patch.object(Runner, "run", run)

    result = try_mutant(made_of(change))
    assert result.effects > 0
    assert not result.is_caught
    assert why_not(result) == "NOT CAUGHT"


def test_a_crash_is_no_catch() -> None:
    def change(effect: Effect) -> AbstractContextManager[object]:
        def run(_: Runner) -> object:
            effect.took_place()
            raise KeyError("tale")

        return patch.object(Runner, "run", run)

    result = try_mutant(made_of(change))
    assert not result.is_caught
    assert why_not(result) == "NOT PROVED: it crashed: KeyError: 'tale'"


def test_what_the_right_code_does_not_stand_proves_nothing() -> None:
    mutant = made_of(lambda _: nullcontext())
    impossible = replace(mutant.scenario.end, floor=9)
    scenario = replace(mutant.scenario, end=impossible)
    result = replace(try_mutant(replace(mutant, scenario=scenario)), effects=1)
    assert result.clause == "same_end"
    assert not result.is_caught
    assert "the right code breaks same_end" in why_not(result)


def test_a_mistake_is_caught_in_the_same_way_every_time() -> None:
    once, again = (try_mutant(BY_NAME["both-copies-in-one-epoch"]) for _ in range(2))
    assert once == again
    assert json.loads(json.dumps(asdict(once)))["kind"] == "torn_record"


def test_a_row_that_is_not_in_the_table_cannot_be_changed() -> None:
    with pytest.raises(LookupError, match="0 rows are named 'tale'"):
        rows_with(decide.IDLE, "tale")


def test_the_table_names_each_mutant_and_counts_those_that_are_caught() -> None:
    caught = MutantResult(
        "tale", "A tale.", "same_end", "torn", 7, "label", "same_end", ("same_end",), 1
    )
    lived = replace(caught, name="other", clauses=(), clause="", kind="")
    text = table([caught, lived])
    assert "tale    same_end" in text
    assert "other   NOT CAUGHT" in text
    assert "1 of 2 caught, by 1 clauses: 1 torn" in text
    assert all_caught([caught])
    assert not all_caught([caught, lived])
    assert not all_caught([])
