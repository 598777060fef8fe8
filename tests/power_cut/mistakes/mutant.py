"""What a mutant is, and the tools that put a mistake into product code and take it out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from bootsvc.formats.boot_status import Phase
from bootsvc.sequence import decide
from bootsvc.sequence.actions import Action
from bootsvc.sequence.decide import Row
from bootsvc.sequence.states import Observation
from tests.power_cut.disk import SimulatedDisk, Snapshot
from tests.power_cut.scenarios import Scenario

DiskMaker = Callable[[Snapshot, int], SimulatedDisk]
"""Makes the disk of one start from its content and its sector size in bytes."""


@dataclass
class Effect:
    """Counts how often wrong code ran, so that a patch that hits nothing is noticed."""

    times: int = 0

    def took_place(self) -> None:
        """Wrong code ran where the right code would have done something else."""
        self.times += 1

    def counting(self, then: Callable[[Observation], Action]) -> Callable[[Observation], Action]:
        """The same action of a row, counted."""

        def action(seen: Observation) -> Action:
            self.took_place()
            return then(seen)

        return action


Change = Callable[[Effect], AbstractContextManager[object]]
"""Makes the mistake within a with statement."""


@dataclass(frozen=True)
class Mutant:
    """A plausible mistake in product code.

    Attributes:
        mistake: one sentence that says it.
        change: makes it.
        scenario: where it shows.
        clause: of the oracle, expected to catch it.
        disk: makes the disk; a mistake may need one that fails to show.
    """

    name: str
    mistake: str
    change: Change = field(repr=False)
    scenario: Scenario
    clause: str
    disk: DiskMaker = SimulatedDisk


def shown_by(
    scenario: Scenario, *, clause: str, disk: DiskMaker = SimulatedDisk
) -> Callable[[Change], Mutant]:
    """The mutant that a change makes; its name and its docstring say which mistake it is."""

    def mutant(change: Change) -> Mutant:
        name, mistake = change.__name__.replace("_", "-"), " ".join((change.__doc__ or "").split())
        return Mutant(name, mistake, change, scenario, clause, disk)

    return mutant


@contextmanager
def together(*changes: AbstractContextManager[object]) -> Iterator[None]:
    """Several changes in one with statement."""
    with ExitStack() as stack:
        for one in changes:
            stack.enter_context(one)
        yield


def with_rows(phase: Phase, rows: Sequence[Row]) -> AbstractContextManager[object]:
    """The table with other rows for ``phase``."""
    return patch.dict(decide.TABLE, {phase: tuple(rows)})


def rows_with(rows: Sequence[Row], why: str, **changes: Any) -> list[Row]:
    """``rows`` with another condition or action in the one named ``why``."""
    at = _index(rows, why)
    row = Row(why, changes.get("when", rows[at].when), changes.get("then", rows[at].then))
    return [*rows[:at], row, *rows[at + 1 :]]


def rows_before(rows: Sequence[Row], why: str, *inserted: Row) -> list[Row]:
    """``rows`` with others in front of the one named ``why``."""
    at = _index(rows, why)
    return [*rows[:at], *inserted, *rows[at:]]


def _index(rows: Sequence[Row], why: str) -> int:
    found = [at for at, row in enumerate(rows) if row.why == why]
    if len(found) != 1:
        raise LookupError(f"{len(found)} rows are named {why!r}")
    return found[0]
