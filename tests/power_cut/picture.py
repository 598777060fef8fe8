"""The picture of a run without cuts, as geometry: what is drawn where, in pixels; pure.

Time runs to the right, one column for each write or flush. From top to bottom: the names of the
phases; what each boot-status record says; a row for each area, with a mark for each write, placed
lower the further into the area it goes; a row for each kind of cut, with marks for what came of
it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from bootsvc.units import describe_size
from tests.power_cut.cuts import KINDS
from tests.power_cut.results import OUTCOMES, FirstCutOutcome, Moment, Outcome

AREAS = ("status", "primary", "backup", "staging")
INSIDE = ("torn", "torn_record")
"""Cuts in the middle of an operation; all others come before it."""

GUTTER = 84.0
"""Width of the names of the rows, at the left."""

MARGIN = 64.0
"""Room at the right for names that begin at the end of the run."""

FULL_WIDTH = 980.0
LEAST_COLUMN, WIDEST_COLUMN = 9.0, 16.0
LANE = 13.0
AREA_ROW, CUT_ROW, AXIS = 30.0, 20.0, 18.0
GAP = 10.0
WRITE_HEIGHT = 5.0
LETTER = 6.2
"""Width of a letter, on the safe side."""

OFFSET_OF_OUTCOME = 4.5
TICK_EVERY = 10


@dataclass(frozen=True)
class Row:
    """A row with a name: from ``y`` down to ``y + height``."""

    name: str
    y: float
    height: float

    @property
    def middle(self) -> float:
        """Where a single mark goes."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Band:
    """A phase: from ``x`` on, ``width`` wide, its name in a lane at ``y``."""

    x: float
    width: float
    name: str
    y: float


@dataclass(frozen=True)
class Write:
    """The upper left corner of a write's mark, and what a pointer on it shows."""

    x: float
    y: float
    width: float
    is_record: bool
    title: str


@dataclass(frozen=True)
class Label:
    """A text that begins at ``x`` and stands on ``y``, with a line down to ``foot``."""

    x: float
    y: float
    foot: float
    text: str


@dataclass(frozen=True)
class HandOver:
    """The machine boots an area: a mark in its row."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class CutMark:
    """Cuts of one kind, at one place, with one outcome; ``count`` of them share the mark."""

    x: float
    y: float
    outcome: Outcome
    count: int
    title: str

    @property
    def scale(self) -> float:
        """Larger for 10 or more cuts, and again for 100 or more."""
        return 1.0 + 0.25 * (self.count >= 10) + 0.25 * (self.count >= 100)


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn; ``top`` and ``bottom`` are where bands and flush lines end."""

    width: float
    height: float
    top: float
    bottom: float
    areas: tuple[Row, ...]
    kinds: tuple[Row, ...]
    bands: tuple[Band, ...]
    records: tuple[Label, ...]
    flushes: tuple[float, ...]
    writes: tuple[Write, ...]
    hand_overs: tuple[HandOver, ...]
    cuts: tuple[CutMark, ...]
    ticks: tuple[tuple[float, int], ...]


def picture_of(timeline: Sequence[Moment], first_cuts: Sequence[FirstCutOutcome]) -> Picture:
    """The whole picture of one scenario."""
    count = sum(one.kind != "boot" for one in timeline)
    columns = Columns(count)
    bands, top = bands_of(timeline, columns)
    records, below = records_of(timeline, columns, top)
    areas = tuple(rows(AREAS, below, AREA_ROW))
    kinds = tuple(rows(KINDS, areas[-1].y + AREA_ROW + GAP, CUT_ROW))
    bottom = kinds[-1].y + CUT_ROW
    return Picture(
        columns.left(count) + MARGIN,
        bottom + AXIS,
        top,
        bottom,
        areas,
        kinds,
        bands,
        records,
        tuple(columns.middle(one.t) for one in timeline if one.kind == "flush"),
        tuple(writes_of(timeline, columns, areas)),
        tuple(hand_overs_of(timeline, columns, areas)),
        tuple(cut_marks(first_cuts, timeline, columns, kinds)),
        tuple((columns.left(t), t) for t in range(0, count + 1, TICK_EVERY)),
    )


class Columns:
    """Where each operation is drawn, for a run of ``count`` operations."""

    def __init__(self, count: int) -> None:
        self.width = min(WIDEST_COLUMN, max(LEAST_COLUMN, FULL_WIDTH / max(1, count)))

    def left(self, t: int) -> float:
        """The moment before operation ``t``."""
        return round(GUTTER + t * self.width, 1)

    def middle(self, t: int) -> float:
        """The middle of operation ``t``."""
        return round(GUTTER + (t + 0.5) * self.width, 1)


def rows(names: Iterable[str], y: float, height: float) -> Iterator[Row]:
    """One row below the other."""
    for number, name in enumerate(names):
        yield Row(name, y + number * height, height)


def lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each span, left to right, the first lane in which it touches no earlier one."""
    ends: list[float] = []
    chosen = []
    for begin, end in spans:
        lane = next((lane for lane, last in enumerate(ends) if last <= begin), len(ends))
        ends[lane : lane + 1] = [end]
        chosen.append(lane)
    return chosen


def lanes_of_texts(texts: Sequence[tuple[float, str]]) -> list[int]:
    """``lanes`` for texts that begin at x."""
    return lanes([(x, x + (len(text) + 1) * LETTER) for x, text in texts])


def bands_of(timeline: Sequence[Moment], columns: Columns) -> tuple[tuple[Band, ...], float]:
    """The phases, and the y below their names. A hand-over ends a phase and has no band."""
    phases = [
        (columns.left(first.t), columns.left(last.t + 1), first.phase)
        for first, last in _runs(timeline)
    ]
    chosen = lanes_of_texts([(begin, name) for begin, _, name in phases])
    bands = tuple(
        Band(begin, round(end - begin, 1), name, (lane + 1) * LANE - 3)
        for (begin, end, name), lane in zip(phases, chosen, strict=True)
    )
    return bands, (max(chosen, default=0) + 1) * LANE


def _runs(timeline: Sequence[Moment]) -> Iterator[tuple[Moment, Moment]]:
    """First and last operation of each phase."""
    for phase, group in groupby(timeline, key=lambda one: "" if one.kind == "boot" else one.phase):
        if phase:
            first, *others = group
            yield first, others[-1] if others else first


def records_of(
    timeline: Sequence[Moment], columns: Columns, y: float
) -> tuple[tuple[Label, ...], float]:
    """What the records say, once for both copies, and the y below these labels."""
    marks = [one for one in timeline if one.kind != "flush"]
    texts = []
    for (kind, _, says), group in groupby(marks, key=lambda one: (one.kind, one.phase, one.says)):
        if kind == "record":
            texts.append((columns.middle(next(group).t), says or "record"))
    chosen = lanes_of_texts(texts)
    below = y + (max(chosen, default=0) + 1) * LANE + 4
    labels = tuple(
        Label(x, below - lane * LANE - 6, below, text)
        for (x, text), lane in zip(texts, chosen, strict=True)
    )
    return labels, below


def writes_of(
    timeline: Sequence[Moment], columns: Columns, areas: Sequence[Row]
) -> Iterator[Write]:
    """A mark for each write; rows are as high as the highest offset written in this run."""
    written = [one for one in timeline if one.kind in ("write", "record")]
    row_of = {row.name: row for row in areas}
    highest: dict[str, int] = defaultdict(int)
    for one in written:
        highest[one.area] = max(highest[one.area], one.offset)
    for one in written:
        row = row_of[one.area]
        room = row.height - WRITE_HEIGHT - 6
        share = one.offset / highest[one.area] if highest[one.area] else 0.0
        y = round(row.y + 3 + share * room, 1)
        x = columns.left(one.t) + 1
        yield Write(x, y, round(columns.width - 2, 1), one.kind == "record", describe(one))


def describe(one: Moment) -> str:
    """A write or flush in words."""
    if one.kind == "flush":
        return f"operation {one.t}, {one.phase}: flush"
    what = f"record {one.says}".strip() if one.kind == "record" else describe_size(one.length)
    at = describe_size(one.offset) if one.offset else "its start"
    return f"operation {one.t}, {one.phase}: {what} written to {one.area} at {at}"


def hand_overs_of(
    timeline: Sequence[Moment], columns: Columns, areas: Sequence[Row]
) -> Iterator[HandOver]:
    """A mark in the row of the area that is booted; starts that follow each other share it."""
    row_of = {row.name: row for row in areas}
    boots = [one for one in timeline if one.kind == "boot"]
    for (t, area), group in groupby(boots, key=lambda one: (one.t, one.area)):
        often = sum(1 for _ in group)
        title = f"before operation {t}: {area} is booted"
        if often > 1:
            title += f", {often} times without a write between"
        yield HandOver(columns.left(t), row_of[area].middle, title)


def cut_marks(
    first_cuts: Iterable[FirstCutOutcome],
    timeline: Iterable[Moment],
    columns: Columns,
    kinds: Sequence[Row],
) -> Iterator[CutMark]:
    """Marks for all first cuts; those that fall on the same spot are bundled.

    Where cuts of one kind at one place came to different outcomes, their marks stand one below the
    other.
    """
    operation = {one.t: describe(one) for one in timeline if one.kind != "boot"}
    bundles: dict[tuple[int, str], dict[Outcome, list[str]]] = defaultdict(dict)
    for cut in first_cuts:
        bundles[cut.t, cut.kind].setdefault(cut.outcome, []).append(cut.label)
    row_of = {row.name: row for row in kinds}
    for (t, kind), by_outcome in sorted(bundles.items()):
        x = columns.middle(t) if kind in INSIDE else columns.left(t)
        present = [outcome for outcome in OUTCOMES if outcome in by_outcome]
        for number, outcome in enumerate(present):
            y = row_of[kind].middle + (2 * number - len(present) + 1) * OFFSET_OF_OUTCOME
            labels = by_outcome[outcome]
            title = _title(kind, outcome, labels, operation.get(t, "the end of the run"))
            yield CutMark(x, y, outcome, len(labels), title)


def _title(kind: str, outcome: Outcome, labels: Sequence[str], at: str) -> str:
    where = "in" if kind in INSIDE else "before"
    first = labels[0] if len(labels) == 1 else f"{len(labels):,} cuts, the first: {labels[0]}"
    return f"{in_words(outcome)}: {in_words(kind)} cut {where} {at}\n{first}"


def in_words(name: str) -> str:
    """A name of the data as it is shown."""
    return name.replace("_", " ")
