"""A spread sample of the proof, and what makes its result believable."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.power_cut.__main__ import main
from tests.power_cut.explore import Plan, Walk
from tests.power_cut.proof import SAMPLE, Part, prove, put_together, shortfalls, walk
from tests.power_cut.repeat import repeat, state_of
from tests.power_cut.results import CopyingPhase, to_json
from tests.power_cut.scenarios import BY_NAME, SCENARIOS, UPDATE, Scenario
from tests.power_cut.world import first_state, power_on

BOTH_ARE_ENOUGH = CopyingPhase("copy", 8, 3)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_cut_of_a_spread_sample_breaks_a_promise(scenario: Scenario) -> None:
    result = put_together(scenario, [walk(scenario.name, SAMPLE)])
    assert result.violations == ()
    assert result.shortfalls == ()
    assert result.outcomes["bricked"] == 0
    assert result.outcomes["went_on"] > 0
    assert result.distinct_disks == sum(result.depths.values())
    assert {cut.kind for cut in result.first_cuts} >= {"prefix", "torn_record"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_start_is_a_pure_function_of_the_state(scenario: Scenario) -> None:
    once, again = (power_on(scenario, first_state(scenario)) for _ in range(2))
    assert once.log == again.log
    assert once.after.key == again.after.key
    assert once.told == again.told


def test_every_documented_fall_back_of_an_update_comes_about() -> None:
    labels = {
        "as before": "update/0:prefix@0",
        "staging begun, and not asked again": "update/0:prefix@6",
        "every try cut off": "update/1:prefix@42/0:prefix@4/0:prefix@4",
        "updated": "update/1:prefix@20",
    }
    ends = {end.name for end in UPDATE.truth.ends()}
    assert ends == set(labels)
    for name, label in labels.items():
        scenario, state = state_of(label)
        end = Walk(scenario, Plan()).settle(state, label, "").end
        assert end is not None
        assert end.name == name


def test_a_label_repeats_its_state_and_tells_the_story() -> None:
    text, holds = repeat("update/1:subset@12+00001111")
    assert holds
    assert "BACKUP, code 1, boots primary" in text
    assert "ends after 2 starts: updated" in text


def test_a_label_that_names_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("no-such-scenario", "update/1:torn@0+99"):
        assert main(["--repeat", label]) == 2
        assert label.split("/")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("copying", "cuts", "words"),
    [
        ((CopyingPhase("copy", 7, 3),), 1, "copy made 7 writes in 3 flush epochs"),
        ((CopyingPhase("copy", 8, 2),), 1, "copy made 8 writes in 2 flush epochs"),
        ((), 1, "copying phases are [], not ['copy']"),
        ((BOTH_ARE_ENOUGH,), 0, "no cut of kind torn"),
    ],
)
def test_a_run_that_proves_little_fails(
    copying: tuple[CopyingPhase, ...], cuts: int, words: str
) -> None:
    scenario = replace(UPDATE, copies=("copy",))
    fired = Counter({"prefix": 1, "nothing": 1, "subset": 1, "torn": cuts, "torn_record": 1})
    assert words in list(shortfalls(scenario, copying, fired))


def test_shards_together_find_what_one_walk_finds() -> None:
    name = "repair-stale-copy"
    alone = put_together(BY_NAME[name], [walk(name, Plan(third_cuts=0))])
    shards = [walk(name, Plan(shard=shard, shards=2, third_cuts=0)) for shard in (0, 1)]
    together = put_together(BY_NAME[name], shards)
    assert together.distinct_disks == alone.distinct_disks > 100
    assert together.depths == alone.depths
    assert together.first_cuts == alone.first_cuts


def test_a_disk_that_two_shards_found_counts_once_at_its_smaller_depth() -> None:
    def part(shard: int, depth: int) -> Part:
        return Part("rollback", shard, Counter(), {7: ("went_on", depth)}, (), (), 0, 1, 0.0, 0.0)

    result = put_together(BY_NAME["rollback"], [part(0, 2), part(1, 1)])
    assert result.distinct_disks == 1
    assert result.depths == {1: 1}


def test_the_proof_of_one_scenario_runs_in_processes_and_is_a_document(tmp_path: Path) -> None:
    arguments = ["--sample", "--scenario", "repair-stale-copy", "--out", str(tmp_path)]
    assert main(arguments) == 0
    document = json.loads((tmp_path / "power-cut.json").read_text(encoding="utf-8"))
    assert document["schema"] == 1
    assert document["totals"]["bricked"] == 0
    (scenario,) = document["scenarios"]
    assert scenario["distinct_disks"] >= 10
    assert {one["kind"] for one in scenario["timeline"]} == {"record", "flush", "boot"}


def test_the_same_seed_gives_the_same_proof() -> None:
    plan = replace(SAMPLE, seed=3)
    results = [to_json(prove([BY_NAME["repair-stale-copy"]], plan, jobs=1)) for _ in range(2)]
    for document in results:
        document.pop("wall_s")
        document.pop("totals")
    assert _without_times(results[0]) == _without_times(results[1])


def _without_times(document: dict[str, object]) -> str:
    scenarios = document["scenarios"]
    assert isinstance(scenarios, list)
    for one in scenarios:
        for name in ("wall_s", "cpu_s", "states_per_s"):
            one.pop(name)
    return json.dumps(document)
