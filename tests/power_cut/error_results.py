"""What came of a disk that fails, as values and as a table."""

from __future__ import annotations

from dataclasses import dataclass

from tests.power_cut.failing_disk import KINDS

OUTCOMES = ("went_on", "fell_back", "halted", "bricked")
"""The end of the run without faults; a documented fall-back; one in which nothing is started;
anything else."""


@dataclass(frozen=True)
class ErrorViolation:
    """A broken promise; ``python -m tests.power_cut.disk_errors --repeat LABEL`` shows it again."""

    clause: str
    label: str
    seen: str


@dataclass(frozen=True)
class ScenarioErrors:
    """What came of the faults of one scenario.

    Attributes:
        operations: reads, writes and flushes of the run without faults.
        faults: how many were tried, by kind.
        outcomes: kind -> outcome -> how many came to it.
        fall_backs: why of the documented fall-back -> how many came to it.
        starts: power-ons that were run.
        violations: the first ones; ``violations_in_all`` counts the others, too.
        wall_s: seconds.
    """

    name: str
    operations: int
    faults: dict[str, int]
    outcomes: dict[str, dict[str, int]]
    fall_backs: dict[str, int]
    starts: int
    violations: tuple[ErrorViolation, ...]
    violations_in_all: int
    wall_s: float


@dataclass(frozen=True)
class DiskErrorResults:
    """All scenarios; ``wall_s`` is seconds by the clock on the wall, with ``jobs`` processes."""

    scenarios: tuple[ScenarioErrors, ...]
    jobs: int
    is_sample: bool
    wall_s: float

    @property
    def faults(self) -> int:
        """How many faults were tried."""
        return sum(sum(one.faults.values()) for one in self.scenarios)

    @property
    def violations_in_all(self) -> int:
        """Broken promises of all scenarios."""
        return sum(one.violations_in_all for one in self.scenarios)

    @property
    def never_fired(self) -> tuple[str, ...]:
        """The kinds that no fault was of."""
        return tuple(kind for kind in KINDS if not self.count(kind))

    @property
    def holds(self) -> bool:
        """Whether every promise was kept, and every kind of fault was tried."""
        return not self.violations_in_all and not self.never_fired

    def count(self, kind: str, outcome: str = "") -> int:
        """How many faults of ``kind`` were tried, or came to ``outcome``."""
        if not outcome:
            return sum(one.faults.get(kind, 0) for one in self.scenarios)
        return sum(one.outcomes.get(kind, {}).get(outcome, 0) for one in self.scenarios)


def table(results: DiskErrorResults) -> str:
    """The outcomes by kind, one line each, as text."""
    rows = [("fault", "tried", *(name.replace("_", " ") for name in OUTCOMES))]
    rows += [
        (kind, f"{results.count(kind):,}", *(f"{results.count(kind, name):,}" for name in OUTCOMES))
        for kind in KINDS
    ]
    sums = (sum(results.count(kind, name) for kind in KINDS) for name in OUTCOMES)
    rows.append(("all", f"{results.faults:,}", *(f"{count:,}" for count in sums)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join((lines[0], rule, *lines[1:-1], rule, lines[-1]))
