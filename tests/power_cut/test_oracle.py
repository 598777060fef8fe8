"""The judge knows nothing of ours, lets good runs pass, and every clause of his can fail."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.power_cut import oracle
from tests.power_cut.explore import Plan, Walk
from tests.power_cut.oracle import MAX_STARTS, Fate, StepFacts
from tests.power_cut.scenarios import (
    AS_BEFORE,
    COPIES,
    IMAGES,
    PARTS,
    SCENARIOS,
    UPDATE,
    UPDATED,
    Scenario,
)
from tests.power_cut.truth import NOBODY, Truth
from tests.power_cut.view import Record, View, held, look, newest_record
from tests.power_cut.world import first_state

TRUTH = UPDATE.truth
ID = {name: image.identity.hex() for name, image in IMAGES.items()}
IDLE = Record(
    sequence=7,
    code=1,
    phase="IDLE",
    boot="primary",
    request="none",
    tries_left=0,
    transaction="00",
    floor=1,
    states={"primary": "CONFIRMED", "backup": "VALID", "staging": "EMPTY"},
    identities={"primary": ID["v2"], "backup": ID["v1"], "staging": ""},
    failed=(),
)
TRIAL = replace(
    IDLE,
    code=3,
    phase="TRIAL",
    tries_left=2,
    states={"primary": "VALID", "backup": "VALID", "staging": "VALID"},
    identities={"primary": ID["v3"], "backup": ID["v2"], "staging": ID["v3"]},
)
CONFIRMED = replace(
    TRIAL, code=1, phase="IDLE", states={"primary": "CONFIRMED", "backup": "VALID", "staging": ""}
)
HEALTHY = View(IDLE, True, {"primary": "v2", "backup": "v1", "staging": NOBODY})
TRIED = View(TRIAL, True, {"primary": "v3", "backup": "v2", "staging": "v3"})
PROVEN = replace(TRIED, record=CONFIRMED)
TORN = replace(HEALTHY, holds={"primary": NOBODY, "backup": NOBODY, "staging": "v3"})
AT_REST = StepFacts(
    before=HEALTHY,
    after=HEALTHY,
    at_boot=HEALTHY,
    booted="primary",
    wrote_before_boot=False,
    wrote_after_boot=False,
    asked=False,
)
TRIAL_START = replace(
    AT_REST,
    before=TRIED,
    at_boot=TRIED,
    after=PROVEN,
    wrote_before_boot=True,
    wrote_after_boot=True,
)

BROKEN: dict[str, Callable[[], str | None]] = {
    "record_names_whole_image": lambda: oracle.record_names_whole_image(TRUTH, TORN),
    "never_without_image": lambda: oracle.never_without_image(TRUTH, TORN),
    "floor_never_sinks": lambda: oracle.floor_never_sinks(IDLE, replace(IDLE, floor=0)),
    "floor_rises_only_with_proof": lambda: oracle.floor_rises_only_with_proof(
        IDLE, replace(TRIAL, floor=2)
    ),
    "sequence_never_goes_back": lambda: oracle.sequence_never_goes_back(
        IDLE, replace(IDLE, sequence=6)
    ),
    "crashes": lambda: oracle.crashes(TRUTH, replace(AT_REST, problem="KeyError: 'x'")),
    "boots_whole_image": lambda: oracle.boots_whole_image(TRUTH, replace(AT_REST, at_boot=TORN)),
    "unproven_only_on_trial": lambda: oracle.unproven_only_on_trial(
        TRUTH, replace(TRIAL_START, at_boot=replace(TRIED, record=replace(TRIAL, phase="IDLE")))
    ),
    "last_try_falls_back": lambda: oracle.last_try_falls_back(
        TRUTH, replace(TRIAL_START, at_boot=replace(TRIED, record=replace(TRIAL, tries_left=0)))
    ),
    "only_the_tried_confirms": lambda: oracle.only_the_tried_confirms(
        TRUTH, replace(TRIAL_START, booted="backup")
    ),
    "failed_does_not_run": lambda: oracle.failed_does_not_run(
        TRUTH, replace(AT_REST, before=replace(HEALTHY, record=replace(IDLE, failed=(ID["v2"],))))
    ),
    "healthy_start_writes_nothing": lambda: oracle.healthy_start_writes_nothing(
        TRUTH, replace(AT_REST, wrote_before_boot=True)
    ),
    "settles": lambda: oracle.settles(TRUTH, HEALTHY, Fate(MAX_STARTS + 1, UPDATED, ("v2",))),
    "same_end": lambda: oracle.same_end(
        TRUTH, HEALTHY, Fate(1, replace(AS_BEFORE, backup="v1 BAD"), ())
    ),
    "update_goes_on": lambda: oracle.update_goes_on(TRUTH, TRIED, Fate(2, AS_BEFORE, ("v2",))),
    "staging_consumed": lambda: oracle.staging_consumed(
        TRUTH, HEALTHY, Fate(1, replace(UPDATED, request="update"), ())
    ),
    "does_not_return": lambda: oracle.does_not_return(
        TRUTH, HEALTHY, Fate(4, UPDATED, ("v2", "v3", "v2"))
    ),
}


def test_every_clause_has_a_case_in_which_it_fails() -> None:
    assert set(BROKEN) == set(oracle.CLAUSES)


@pytest.mark.parametrize("clause", oracle.CLAUSES)
def test_a_clause_says_what_it_saw_where_its_promise_is_broken(clause: str) -> None:
    assert BROKEN[clause]()


@pytest.mark.parametrize(
    ("clause", "step"),
    [
        (oracle.boots_whole_image, replace(AT_REST, at_boot=None, booted="")),
        (oracle.unproven_only_on_trial, replace(TRIAL_START, wrote_before_boot=False)),
        (oracle.unproven_only_on_trial, replace(TRIAL_START, flushed_before_boot=False)),
        (oracle.unproven_only_on_trial, replace(TRIAL_START, at_boot=replace(TRIED, record=None))),
        (oracle.only_the_tried_confirms, replace(TRIAL_START, at_boot=None)),
        (oracle.only_the_tried_confirms, replace(TRIAL_START, at_boot=PROVEN)),
        (
            oracle.only_the_tried_confirms,
            replace(TRIAL_START, after=replace(PROVEN, record=replace(CONFIRMED, transaction="1"))),
        ),
        (oracle.healthy_start_writes_nothing, replace(AT_REST, wrote_after_boot=True)),
    ],
)
def test_a_clause_on_a_start_has_other_ways_to_fail(
    clause: Callable[[Truth, StepFacts], str | None], step: StepFacts
) -> None:
    assert clause(TRUTH, step)


def test_a_trial_and_its_confirmation_break_no_promise() -> None:
    for clause in oracle.STEP_CLAUSES:
        assert clause(TRUTH, TRIAL_START) is None
        assert clause(TRUTH, AT_REST) is None


def test_an_image_that_is_no_good_never_confirms() -> None:
    truth = replace(TRUTH, good=frozenset({"v1", "v2"}))
    assert oracle.only_the_tried_confirms(truth, TRIAL_START)


def test_a_machine_that_never_rests_has_no_end() -> None:
    assert oracle.settles(TRUTH, HEALTHY, Fate(3, None, ()))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_run_without_cuts_breaks_no_promise_and_ends_as_written(scenario: Scenario) -> None:
    walk = Walk(scenario, Plan())
    fate = walk.settle(first_state(scenario), scenario.name, "")
    assert fate.end == scenario.end
    assert fate.end is not None
    assert fate.end.name == scenario.end.name
    assert walk.violations == []


@pytest.mark.parametrize("area", ["primary", "backup", "staging"])
def test_one_changed_bit_anywhere_in_an_image_is_seen(area: str) -> None:
    content = first_state(UPDATE).content
    where, image = PARTS[area], IMAGES["v2" if area != "backup" else "v1"]
    assert held(TRUTH, content, area) != NOBODY
    for at in (
        where.start,
        where.start + len(image.content) - 1,
        where.stop - len(image.footer),
        where.stop - 1,
    ):
        flipped = content.written(at, bytes([content.read(at, 1)[0] ^ 1]))
        assert held(TRUTH, flipped, area) == NOBODY


def test_the_newest_whole_copy_is_believed_and_two_that_differ_at_one_sequence_are_not() -> None:
    content = first_state(UPDATE).content
    sector = content.read(COPIES[0], 512)
    assert newest_record(TRUTH, content) is not None
    torn = content.written(COPIES[0], sector[:100] + bytes([sector[100] ^ 1]) + sector[101:])
    assert newest_record(TRUTH, torn) == newest_record(TRUTH, content)
    assert not look(TRUTH, torn).has_equal_copies
    lost = torn.written(COPIES[1], bytes(512))
    assert newest_record(TRUTH, lost) is None
    other = first_state(SCENARIOS[-1]).content.read(COPIES[0], 512)
    assert newest_record(TRUTH, content.written(COPIES[1], other)) is None


def test_the_judge_imports_no_product_code() -> None:
    own = ("power_cut/oracle.py", "power_cut/truth.py", "power_cut/view.py", "formats/decoder.py")
    for name in own:
        path = Path(__file__).parents[1] / name
        modules = [
            node.module or ""
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        ]
        assert not [module for module in modules if module.startswith("bootsvc")]
        assert {module for module in modules if module.startswith("tests")} <= {
            "tests.formats.decoder",
            "tests.power_cut.truth",
            "tests.power_cut.view",
        }
