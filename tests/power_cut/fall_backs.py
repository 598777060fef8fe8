"""Where a machine may end whose disk failed, by what the record said and which area failed.

Each row is a documented fall-back (DESIGN 2 to 4; ``bootsvc/sequence/DESIGN.md``). An end is four
words: phase; image in primary, where it is CONFIRMED; image in backup, where it is VALID; state of
staging. Images are named by their part in the story:

    old     in primary before the scenario begins
    older   in backup before the scenario begins
    new     in staging, or staged by the OS
    -       whatever stands there does not count

Which images are remembered as failed is not the table's business, but a clause's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.power_cut.failing_disk import FOR_GOOD
from tests.power_cut.truth import End


@dataclass(frozen=True)
class Place:
    """Where a fault fell.

    Attributes:
        phase: of the newest record at that moment; LOST where there was none.
        area: role of the partition; that of the last write for a flush.
        by_os: the running OS was at work, not the updater.
    """

    phase: str
    area: str
    by_os: bool = False


@dataclass(frozen=True)
class FallBack:
    """One row: a fault that falls on one of ``areas`` in one of ``phases`` may end as ``ends``."""

    why: str
    phases: frozenset[str]
    areas: frozenset[str]
    ends: frozenset[str]


def _row(why: str, phases: str, areas: str, *ends: str) -> FallBack:
    return FallBack(why, frozenset(phases.split()), frozenset(areas.split()), frozenset(ends))


FALL_BACKS = (
    _row("a staged image that cannot be read is refused", "IDLE DEGRADED", "staging",
         "IDLE old older BAD", "DEGRADED - older BAD"),
    _row("a staged image that does not verify is not installed by hand: all stays as it was",
         "IDLE", "staging", "IDLE old older VALID", "IDLE old older EMPTY halts"),
    _row("a primary that cannot be read when an update is checked is not backed up",
         "IDLE", "primary", "IDLE new older EMPTY"),
    _row("a primary that cannot be read at its start is rotten: the backup takes over",
         "IDLE TRIAL", "primary",
         "IDLE older older EMPTY", "IDLE older older BAD", "IDLE old old EMPTY",
         "DEGRADED - older EMPTY", "DEGRADED - older BAD", "DEGRADED - older VALID",
         "DEGRADED - old EMPTY", "DEGRADED - new EMPTY"),
    _row("a first image that cannot be read has no backup yet", "IDLE INSTALL", "primary",
         "IDLE new - EMPTY"),
    _row("a backup that cannot be read: no rollback, and no update where primary is no use",
         "IDLE DEGRADED", "backup",
         "IDLE old older EMPTY", "IDLE old older VALID", "DEGRADED - older VALID"),
    _row("a rotten primary and a backup that cannot be read: installed anew from staging",
         "IDLE", "backup", "IDLE old old EMPTY", "IDLE old - EMPTY"),
    _row("a backup cannot be made: the update is dropped, what was staged stays", "BACKUP",
         "primary backup", "IDLE old - VALID", "IDLE new - EMPTY"),
    _row("primary cannot be written, or the staged image not be read: restored, or degraded",
         "COPY", "primary backup staging",
         "IDLE old old EMPTY", "IDLE older older EMPTY", "DEGRADED - old EMPTY",
         "DEGRADED - older EMPTY"),
    _row("an image that cannot be read on trial is thrown back; a first one halts",
         "TRIAL", "primary",
         "IDLE old old EMPTY", "IDLE older older EMPTY", "DEGRADED - old EMPTY",
         "DEGRADED - older EMPTY", "HALT - - EMPTY halts"),
    _row("primary cannot be restored: backup is the working image", "RESTORE ROLLBACK ROT",
         "primary backup", "DEGRADED - old EMPTY", "DEGRADED - older EMPTY"),
    _row("a backup that does not verify is not restored: primary is started with an alarm",
         "RESTORE", "backup", "RESTORE - old EMPTY"),
    _row("a rotten primary that cannot be repaired from staging is restored", "ROT",
         "primary staging", "IDLE older older EMPTY", "IDLE older older VALID"),
    _row("a first image that does not verify is refused", "INSTALL", "staging",
         "INSTALL - - BAD halts"),
    _row("a lost record, and one area that cannot be read: the other one", "LOST",
         "primary backup",
         "IDLE old old EMPTY", "IDLE old - EMPTY", "IDLE older older EMPTY",
         "DEGRADED - older EMPTY"),
)  # fmt: skip

NOTHING_WHOLE = _row(
    "one area half written or rotten, and a bit flipped in the other",
    "IDLE DEGRADED RESTORE ROLLBACK ROT", "backup",
    "IDLE old older EMPTY halts", "DEGRADED - older EMPTY halts", "DEGRADED - older VALID halts",
    "DEGRADED - old EMPTY halts",
)  # fmt: skip
"""The only fall-back in which nothing is started although an image had proved itself."""


def fall_back_of(kind: str, place: Place, end: str) -> FallBack | None:
    """The row that documents ``end`` after a fault of ``kind``, or None.

    What stays broken fails whatever comes to that area later, so every phase's rows apply to it.
    """
    rows = (*FALL_BACKS, NOTHING_WHOLE) if kind == "flipped-medium" else FALL_BACKS
    fitting = [row for row in rows if place.area in row.areas and end in row.ends]
    of_phase = (row for row in fitting if place.phase in row.phases)
    return next(of_phase, fitting[0] if fitting and kind in FOR_GOOD else None)


def in_words(end: End, cast: Mapping[str, str]) -> str:
    """``end`` as the rows write it; ``cast`` has each image's part in the story."""

    def image(text: str, state: str) -> str:
        name, _, found = text.partition(" ")
        if found != state:
            return "-" if state not in found.split(",") else f"{name}, {found}"
        return cast.get(name, name)

    staging = end.staging.split(",")[0].split()[-1] if end.staging else ""
    primary, backup = image(end.primary, "CONFIRMED"), image(end.backup, "VALID")
    return f"{end.phase} {primary} {backup} {staging}" + ("" if end.starts else " halts")
