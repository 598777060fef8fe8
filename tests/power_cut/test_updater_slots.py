"""A spread sample of the proof of the updater's slots, and mistakes that it catches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

import pytest

from bootsvc.storage.updater_slots import Marks, SlotStore
from tests.power_cut.cuts import KINDS
from tests.power_cut.updater_judge import (
    BLOCK,
    MAGIC,
    Grub,
    Volume,
    clause_proven,
    clause_startable,
    holds,
    marks_of,
)
from tests.power_cut.updater_slots import (
    FILES,
    SCENARIOS,
    VERSIONS,
    Scenario,
    Walk,
    first_state,
    main,
    table,
)

SAMPLE = 40
GOOD, _, BAD, OVER, _ = SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_cut_of_a_spread_sample_breaks_a_promise(scenario: Scenario) -> None:
    result = Walk(scenario, every=SAMPLE).run()
    assert result.violations == []
    assert set(result.cuts) == set(KINDS)
    assert (result.writes, result.flushes) >= (16, 4)
    assert len(result.disks) > 100
    assert result.ends[scenario.end] > 10
    assert scenario.name in table([result])


def test_the_judge_reads_what_the_product_wrote() -> None:
    volume = Volume(first_state(OVER).content)
    assert holds(volume, "a") == FILES["old"]
    assert holds(volume, "b") == FILES["bad new"]
    marks = marks_of(volume)
    assert (marks.slot, marks.to_try, marks.tried) == ("a", "", "b")


def clauses(violations: list[str]) -> set[str]:
    return {one.partition(":")[0] for one in violations}


def proven_untried() -> AbstractContextManager[object]:
    """The slot counts as proven as soon as it is written."""
    real = SlotStore.write

    def write(self: SlotStore, slot: str, *files: object) -> None:
        real(self, slot, *files)  # type: ignore[arg-type]
        self._mark("proven.env", {"slot": slot})

    return patch.object(SlotStore, "write", write)


def into_the_proven() -> AbstractContextManager[object]:
    """The other slot is taken for the proven one."""
    return patch.object(SlotStore, "marks", lambda _: Marks("b"))


class LateGrub(Grub):
    """Takes the mark away only when the slot was tried before."""

    def _take(self, volume: Volume, slot: str) -> None:
        if marks_of(volume).tried == slot:
            super()._take(volume, slot)
        else:
            found = volume.find("/bootsvc/try.env")
            assert found is not None
            block = (MAGIC + f"try={slot}\ntried={slot}\n".encode()).ljust(BLOCK, b"#")
            self._disk.write_at(volume.offset(found[0][0]), block)


@pytest.mark.parametrize(
    ("mistake", "scenario", "clause"),
    [
        (proven_untried, BAD, "at rest"),
        (into_the_proven, GOOD, "proven"),
    ],
)
def test_a_mistake_is_caught(
    mistake: Callable[[], AbstractContextManager[object]], scenario: Scenario, clause: str
) -> None:
    first_state(scenario)
    with mistake():
        result = Walk(scenario, every=10**9).run()
    assert clause in clauses(result.violations), result.violations[:3]


def test_a_boot_loader_that_keeps_the_mark_is_caught() -> None:
    result = Walk(BAD, every=10**9, grub=lambda disk: Grub(disk, forgets_the_mark=True)).run()
    assert {"updated", "at rest"} <= clauses(result.violations)


def test_a_boot_loader_that_tries_twice_is_caught() -> None:
    result = Walk(BAD, every=10**9, grub=LateGrub).run()
    assert clauses(result.violations) == {"once"}


def test_a_new_updater_that_is_lost_is_caught() -> None:
    result = Walk(replace(GOOD, end="newer"), every=10**9).run()
    assert "updated" in clauses(result.violations)


def test_damage_to_the_proven_slot_is_seen_byte_by_byte() -> None:
    content = first_state(GOOD).content
    at = content.read(0, content.base.size).find(FILES["old"][0])
    damaged = content.written(at, b"x")
    assert "belongs to the proven slot" in clause_proven(content, damaged)
    assert clause_proven(content, content) == ""
    assert "nothing" in clause_startable(damaged, 512, VERSIONS)
    assert clause_startable(content, 512, VERSIONS) == ""


def test_the_whole_proof_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--every", "400"]) == 0
    assert "every promise was kept" in capsys.readouterr().out
