"""What a walk found, as values and as JSON (schema 1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

SCHEMA = 1
Outcome = Literal["went_on", "fell_back", "bricked"]
OUTCOMES: tuple[Outcome, ...] = ("went_on", "fell_back", "bricked")


@dataclass(frozen=True)
class Violation:
    """A broken promise.

    Attributes:
        clause: name of a clause of the oracle.
        label: names the state; ``python -m tests.power_cut --repeat LABEL`` makes it again.
        kind: of the last cut on the way there; empty: none.
        seen: what was seen.
    """

    clause: str
    scenario: str
    label: str
    kind: str
    seen: str


@dataclass(frozen=True)
class Moment:
    """One operation of the run without cuts.

    Attributes:
        t: its number; writes and flushes count, a ``boot`` has the number of what follows it.
        kind: write, flush, record (a write of the boot-status record) or boot.
        phase: what the machine was about.
        area: role of the partition, or empty.
        offset, length: bytes within the partition.
        says: code and phase of the record that is written, as in ``2 COPY``; else empty.
    """

    t: int
    kind: str
    phase: str
    area: str
    offset: int
    length: int
    says: str = ""


@dataclass(frozen=True)
class FirstCutOutcome:
    """What came of one cut of the run without cuts; ``label`` repeats it."""

    t: int
    kind: str
    outcome: Outcome
    label: str


@dataclass(frozen=True)
class CopyingPhase:
    """How a copying phase of the run without cuts was cut into writes and flush epochs."""

    phase: str
    writes: int
    epochs: int


@dataclass(frozen=True)
class ScenarioResult:
    """One scenario's outcome.

    Attributes:
        writes, flushes: of the run without cuts.
        copying: its copying phases.
        cuts: cuts made, by kind, at every depth; equal disks counted as often as they came up.
        distinct_disks: different disks that a cut left; each was judged once.
        depths: distinct disks by the number of cuts on the shortest way there that was walked.
        outcomes: of the distinct disks: went_on, fell_back or bricked.
        violations: the first ones; ``violations_in_all`` counts the others, too.
        shortfalls: why the run proves less than it seems to; empty where all is well.
        steps: power-ons that were run.
        wall_s: seconds, summed over the processes that worked on it.
        cpu_s: the same in seconds of processor time, which a busy machine does not lengthen.
    """

    name: str
    about: str
    sector_size: int
    writes: int
    flushes: int
    copying: tuple[CopyingPhase, ...]
    cuts: dict[str, int]
    distinct_disks: int
    depths: dict[int, int]
    outcomes: dict[str, int]
    violations: tuple[Violation, ...]
    violations_in_all: int
    shortfalls: tuple[str, ...]
    steps: int
    wall_s: float
    cpu_s: float
    timeline: tuple[Moment, ...]
    first_cuts: tuple[FirstCutOutcome, ...]

    @property
    def states_per_s(self) -> float:
        """Distinct disks per second of processor time."""
        return self.distinct_disks / self.cpu_s if self.cpu_s else 0.0


@dataclass(frozen=True)
class MutantOutcome:
    """What came of a mistake that was made on purpose.

    Attributes:
        mistake: in one line.
        clause: the clause of the oracle that caught it first; empty: it was not caught.
        kind: of the cut that it was caught by.
        disks: distinct disks that were judged until then.
        label: repeats that state.
    """

    name: str
    mistake: str
    clause: str
    kind: str
    disks: int
    label: str


@dataclass(frozen=True)
class Origin:
    """Where a result comes from: when (ISO 8601), from which commit, by which command line."""

    begun: str = ""
    commit: str = ""
    command: str = ""


@dataclass(frozen=True)
class ProofResult:
    """The whole proof; ``wall_s`` is seconds by the clock on the wall, with ``jobs`` processes."""

    scenarios: tuple[ScenarioResult, ...]
    jobs: int
    seed: int
    is_sample: bool
    wall_s: float
    mutants: tuple[MutantOutcome, ...] = ()
    origin: Origin = Origin()

    @property
    def distinct_disks(self) -> int:
        """Different disks of all scenarios."""
        return sum(one.distinct_disks for one in self.scenarios)

    @property
    def violations_in_all(self) -> int:
        """Broken promises of all scenarios."""
        return sum(one.violations_in_all for one in self.scenarios)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept, and enough was tried."""
        return not self.violations_in_all and not any(one.shortfalls for one in self.scenarios)

    def outcome(self, name: Outcome) -> int:
        """How many distinct disks came to this."""
        return sum(one.outcomes[name] for one in self.scenarios)


def to_json(result: ProofResult) -> dict[str, object]:
    """The document for programs; keys are the attributes' names."""
    scenarios = [
        asdict(one) | {"states_per_s": round(one.states_per_s, 1)} for one in result.scenarios
    ]
    totals: dict[str, int | float] = {
        "distinct_disks": result.distinct_disks,
        "violations": result.violations_in_all,
        "states_per_s": round(result.distinct_disks / result.wall_s, 1) if result.wall_s else 0.0,
    }
    totals |= {name: result.outcome(name) for name in OUTCOMES}
    return {
        "schema": SCHEMA,
        "origin": asdict(result.origin),
        "is_sample": result.is_sample,
        "jobs": result.jobs,
        "seed": result.seed,
        "wall_s": round(result.wall_s, 1),
        "totals": totals,
        "scenarios": scenarios,
        "mutants": [asdict(one) for one in result.mutants],
    }


def table(result: ProofResult) -> str:
    """The outcome as text, one line a scenario."""
    rows = [
        ("scenario", "writes", "flushes", "cuts", "disks", "went on", "fell back", "bricked",
         "broken", "disks/s"),
        *(_row(one) for one in result.scenarios),
        ("all", "", "", *_totals(result)),
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join((lines[0], rule, *lines[1:-1], rule, lines[-1]))


def _row(one: ScenarioResult) -> tuple[str, ...]:
    numbers = (
        one.writes,
        one.flushes,
        sum(one.cuts.values()),
        one.distinct_disks,
        *(one.outcomes[name] for name in OUTCOMES),
        one.violations_in_all,
        round(one.states_per_s),
    )
    return one.name, *(f"{number:,}" for number in numbers)


def _totals(result: ProofResult) -> Iterable[str]:
    numbers = (
        sum(sum(one.cuts.values()) for one in result.scenarios),
        result.distinct_disks,
        *(result.outcome(name) for name in OUTCOMES),
        result.violations_in_all,
        round(result.distinct_disks / result.wall_s) if result.wall_s else 0,
    )
    return (f"{number:,}" for number in numbers)
