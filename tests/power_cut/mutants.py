"""Mistakes made on purpose: each must be caught, or the proof proves nothing.

Every mutant changes product code as a plausible mistake would. The machine is then cut as in the
proof, until a clause of the oracle breaks; an exception out of product code counts as no catch.
The right code goes through the same cuts, and keeps every promise.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

from tests.power_cut import explore, scenarios
from tests.power_cut.explore import FirstCut, Plan, Walk
from tests.power_cut.mistakes.at_console import AT_CONSOLE
from tests.power_cut.mistakes.in_areas import IN_AREAS
from tests.power_cut.mistakes.in_block_update import IN_BLOCK_UPDATE
from tests.power_cut.mistakes.in_os import IN_OS
from tests.power_cut.mistakes.in_record import IN_RECORD
from tests.power_cut.mistakes.in_table import IN_TABLE
from tests.power_cut.mistakes.mutant import DiskMaker, Effect, Mutant
from tests.power_cut.results import MutantOutcome, Violation
from tests.power_cut.scenarios import Scenario
from tests.power_cut.world import State, Step, first_state, power_on_device

MUTANTS: tuple[Mutant, ...] = (
    *IN_RECORD,
    *IN_AREAS,
    *IN_TABLE,
    *IN_OS,
    *IN_BLOCK_UPDATE,
    *AT_CONSOLE,
)
BY_NAME = {one.name: one for one in MUTANTS}
UNCUT = "uncut"
CRASHES = "crashes"

MAX_STEPS = 30_000
"""Power-ons after which a mutant counts as not caught."""

RIGHT_STEPS = 3_500
"""Power-ons that the right code must stand in a situation that the proof itself does not walk:
more than its first cuts."""

CANNOT_SHOW = {
    "footer before data": "while an area is written the record says so, and its footer is not"
    " believed; afterwards every block is read back: the order is a second line of defence",
    "skipped writes skip the read-back": "to skip a write, the block was read; on a disk that"
    " forgets only at power cuts, another read says the same (see copy-not-read-back)",
    "the first whole copy wins": "the first copy is written first and repaired before any work, so"
    " that where both are whole it is never the older one (see older-copy-wins)",
}
"""Mistakes that no power cut shows, and what makes up for them."""


@dataclass(frozen=True)
class MutantResult(MutantOutcome):
    """What came of a mutant; ``disks`` counts power-ons, each from another state.

    Attributes:
        expected: the clause that was to catch it.
        clauses: all clauses that broke in the state that gave it away.
        effects: how often wrong code ran; 0: the patch hit nothing.
        crash: an exception out of the changed code, in words.
        right_breaks: what the right code breaks in the same cuts; empty: nothing.
    """

    expected: str
    clauses: tuple[str, ...]
    effects: int
    crash: str = ""
    right_breaks: str = ""

    @property
    def is_caught(self) -> bool:
        """Whether the proof is seen to work: the expected clause caught a mistake that was really
        made, no exception did, and the right code stands the same cuts."""
        return (
            self.expected in self.clauses
            and self.effects > 0
            and not self.crash
            and not self.right_breaks
        )


# --- one of them --------------------------------------------------------------------------------


class Hunt(Walk):
    """A walk that ends at the first broken promise, or after ``most_steps`` power-ons."""

    most_steps = MAX_STEPS

    def run(self) -> None:
        """First cuts, then the second cuts that follow them."""
        firsts: list[FirstCut] = []
        for cut in self.first_cuts():
            if self.is_over():
                return
            firsts.append(cut)
            self._settled(cut.state, cut.label, cut.kind, depth=1)
        for cut in firsts:
            if self.is_over():
                return
            self._cut_again(cut)

    def _cuts_in(self, step: Step, label: str, share: float) -> Iterator[tuple[State, str, str]]:
        for one in super()._cuts_in(step, label, share):
            if self.is_over():
                return
            yield one

    def is_over(self) -> bool:
        """Whether there is something to tell, or enough was tried."""
        return bool(self.violations) or self.steps >= self.most_steps


def hunt(scenario: Scenario, disk: DiskMaker, most_steps: int = MAX_STEPS) -> Hunt:
    """Cut the code as it is now until a promise breaks."""

    def power_on(one: Scenario, state: State) -> Step:
        return power_on_device(one, state, disk(state.content, one.sector_size))

    with patch.object(explore, "power_on", power_on):
        walk = Hunt(scenario, Plan())
        walk.most_steps = most_steps
        walk.run()
    return walk


def try_mutant(mutant: Mutant, right_steps: int = 0) -> MutantResult:
    """Make the mistake and cut until it shows; then cut the right code at least as often.

    Args:
        right_steps: power-ons that the right code must stand even if the mutant took fewer.
    """
    effect = Effect()
    with _made(mutant, effect) as scenario:
        walk = hunt(scenario, mutant.disk)
    found = walk.violations
    first = found[0] if found else Violation("", "", "", "", "")
    clauses = tuple(dict.fromkeys(one.clause for one in found if one.label == first.label))
    return MutantResult(
        name=mutant.name,
        mistake=mutant.mistake,
        clause=mutant.clause if mutant.clause in clauses else first.clause,
        kind=(first.kind or UNCUT) if found else "",
        disks=walk.steps,
        label=first.label,
        expected=mutant.clause,
        clauses=clauses,
        effects=effect.times,
        crash=next((one.seen for one in found if one.clause == CRASHES), ""),
        right_breaks=_right_breaks(mutant, max(walk.steps, right_steps)),
    )


@contextmanager
def _made(mutant: Mutant, effect: Effect) -> Iterator[Scenario]:
    """The mistake made, and its scenario anew: what that keeps must not outlive the mistake."""
    scenario = replace(mutant.scenario)
    with mutant.change(effect):
        first_state(scenario)
        effect.times = 0
        yield scenario


def _right_breaks(mutant: Mutant, steps: int) -> str:
    for one in hunt(mutant.scenario, mutant.disk, steps).violations:
        return f"{one.clause}: {one.seen} ({one.label})"
    return ""


# --- all of them --------------------------------------------------------------------------------


def nobody_listens(_: MutantResult) -> None:
    """For a run that nobody watches."""


def run_mutants(
    jobs: int = 2, on_result: Callable[[MutantResult], None] = nobody_listens
) -> list[MutantResult]:
    """Try all mutants in ``jobs`` processes; ``on_result`` hears of each as it is done.

    The results are in the order of ``MUTANTS``, and the same in every run.
    """
    context = multiprocessing.get_context("fork")
    results: dict[str, MutantResult] = {}
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for future in as_completed([pool.submit(_try_named, one.name) for one in MUTANTS]):
            result = future.result()
            results[result.name] = result
            on_result(result)
    return [results[one.name] for one in MUTANTS]


def _try_named(name: str) -> MutantResult:
    mutant = BY_NAME[name]
    is_in_proof = mutant.scenario.name in scenarios.BY_NAME
    return try_mutant(mutant, right_steps=0 if is_in_proof else RIGHT_STEPS)


def all_caught(results: Sequence[MutantResult]) -> bool:
    """Whether the proof is seen to work."""
    return bool(results) and all(one.is_caught for one in results)


def table(results: Sequence[MutantResult]) -> str:
    """The outcome as text: a line for each mutant, the totals, and what was not tried."""
    rows = [("mutant", "caught by", "cut", "power-ons"), *(_row(one) for one in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column == len(widths) - 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    not_tried = [f"cannot show: {name}: {why}" for name, why in CANNOT_SHOW.items()]
    return "\n".join((lines[0], rule, *lines[1:], rule, totals(results), *not_tried))


def totals(results: Sequence[MutantResult]) -> str:
    """How many were caught, by how many clauses, and by which cuts."""
    caught = [one for one in results if one.is_caught]
    kinds = Counter(one.kind for one in caught).most_common()
    by_kind = ", ".join(f"{count} {kind}" for kind, count in kinds)
    clauses = len({one.clause for one in caught})
    return f"{len(caught)} of {len(results)} caught, by {clauses} clauses: {by_kind}"


def _row(one: MutantResult) -> tuple[str, str, str, str]:
    return one.name, one.clause if one.is_caught else why_not(one), one.kind, f"{one.disks:,}"


def why_not(one: MutantResult) -> str:
    """Why a mutant that is not caught as it should be does not count."""
    if not one.effects:
        return "NOT MADE: the patch hit nothing"
    if one.crash:
        return f"NOT PROVED: it crashed: {one.crash}"
    if one.right_breaks:
        return f"NOT PROVED: the right code breaks {one.right_breaks}"
    if one.clauses:
        return f"NOT AS EXPECTED: {', '.join(one.clauses)} instead of {one.expected}"
    return "NOT CAUGHT"
