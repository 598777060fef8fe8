"""One measured number, and tables of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        section: heading that it stands under.
        name: what was measured.
        value: the number, None where it could not be measured; ``note`` then says why.
        unit: of the number, for example "s"; "x" for a ratio.
        goal: the most that was aimed at, None where there is no goal.
        note: conditions, or where the number comes from.
    """

    section: str
    name: str
    value: float | None
    unit: str
    goal: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or no number."""
        if self.goal is None or self.value is None:
            return None
        return self.value <= self.goal


def table(figures: Iterable[Figure]) -> str:
    """Figures as text in columns, section by section."""
    lines: list[str] = []
    for section, members in groupby(figures, key=lambda figure: figure.section):
        lines += ["", section, "-" * len(section)]
        lines += [_line(figure) for figure in members]
    return "\n".join(lines[1:])


def _line(figure: Figure) -> str:
    goal = ""
    if figure.goal is not None:
        goal = f"goal {_number(figure.goal, figure.unit)}: " + _VERDICTS[figure.is_met]
    value = "not measured" if figure.value is None else _number(figure.value, figure.unit)
    tail = "; ".join(text for text in (goal, figure.note) if text)
    return f"  {figure.name:<40} {value:>16}  {tail}".rstrip()


_VERDICTS = {True: "met", False: "MISSED", None: "not measured"}


def _number(value: float, unit: str) -> str:
    if unit in ("bytes", "MiB of memory"):
        return f"{value:,.0f} {unit.partition(' ')[0]}"
    digits = 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f} {unit}"
