"""How long each stage of a boot took: a table for demos and reports. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qemu_lab.stages import Stage, StageSeen


@dataclass(frozen=True)
class Row:
    """One stage in a timeline.

    Attributes:
        stage: which.
        at: when it began, in seconds since the first power-on.
        took: seconds until the next stage; None for the last one.
        details: key=value words of the mark, as text.
    """

    stage: Stage
    at: float
    took: float | None
    details: str


def rows(stages: Sequence[StageSeen], since: float = 0.0, until: float | None = None) -> list[Row]:
    """The stages as rows, each with its duration.

    Args:
        stages: from `Console.stages`.
        since: leave out what began earlier.
        until: end of the last stage, where known.
    """
    chosen = [seen for seen in stages if seen.seconds >= since]
    result = []
    for index, seen in enumerate(chosen):
        following = chosen[index + 1].seconds if index + 1 < len(chosen) else until
        took = None if following is None else following - seen.seconds
        details = " ".join(f"{key}={value}" for key, value in seen.details.items())
        result.append(Row(seen.stage, seen.seconds, took, details))
    return result


def table(stages: Sequence[StageSeen], since: float = 0.0, until: float | None = None) -> list[str]:
    """The timeline as lines of plain text in columns; arguments as rows()."""
    lines = [f"{'stage':<16}{'at (s)':>9}{'took (s)':>10}  details"]
    for row in rows(stages, since, until):
        took = "" if row.took is None else f"{row.took:.1f}"
        line = f"{row.stage.value:<16}{row.at:>9.1f}{took:>10}  {row.details}"
        lines.append(line.rstrip())
    return lines
