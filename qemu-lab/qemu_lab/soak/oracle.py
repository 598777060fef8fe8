"""The judge outside: named clauses over the raw bytes of the disk, and over what the console said.

Each clause returns what is wrong, if anything, as findings; no clause raises. The record and the
areas are read by ``recorded.oracle``, which runs no code of bootsvc.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootsvc.formats.boot_status import Reason
from qemu_lab.errors import ExpectationError
from qemu_lab.recorded.oracle import AREAS, Bytes, Oracle
from qemu_lab.soak.world import End, World
from qemu_lab.subject import Record

BRICKS = ("settles", "never_seen", "record_is_there")
"""The clauses that mean, where they end a run, that the machine does not come up any more."""


@dataclass(frozen=True)
class Finding:
    """Something that must not be.

    Attributes:
        clause: which rule was broken.
        text: what was seen.
    """

    clause: str
    text: str

    def __str__(self) -> str:
        return f"{self.clause}: {self.text}"


@dataclass(frozen=True)
class HandOver:
    """An image is about to be started, as the console says.

    Attributes:
        area: primary or backup.
        number: of the image.
        is_trial: whether it still has to prove itself.
    """

    area: str
    number: int
    is_trial: bool


def record_finding(oracle: Oracle, disk: Bytes) -> Iterator[Finding]:
    """At every moment the newest record names an area that holds a whole approved image."""
    fault = oracle.fault_of_record(disk)
    if fault is not None:
        yield Finding("record_names_whole_image", fault)


def progress_findings(before: Record, after: Record) -> Iterator[Finding]:
    """From one moment to a later one neither the floor nor the sequence sinks."""
    if after.floor < before.floor:
        yield Finding("floor_never_sinks", f"from {before.floor} to {after.floor}")
    if after.sequence < before.sequence:
        text = f"from {before.sequence} to {after.sequence}"
        yield Finding("sequence_never_goes_back", text)


def hand_over_findings(
    oracle: Oracle, disk: Bytes, start: HandOver, world: World, tried: int | None
) -> Iterator[Finding]:
    """What is started is whole and approved, proven or on trial, and not one that failed.

    Args:
        world: as it was before the chapter.
        tried: the image that was asked for in this chapter, if any.
    """
    areas = {name: number for number, name in AREAS.items()}
    found = oracle.image_in(disk, areas[start.area]) if start.area in areas else None
    if found is None:
        text = f"{start.area} is started and holds no whole approved image"
        yield Finding("boots_whole_image", text)
    elif found != start.number:
        text = f"{start.area} is started as image {start.number} and holds {found}"
        yield Finding("boots_whole_image", text)
    if start.number in world.failed and start.number != tried:
        yield Finding("does_not_return", f"image {start.number} failed before and is started")
    if start.number not in {world.runs, world.backup, tried}:
        text = f"image {start.number} is started and nobody asked for it"
        yield Finding("does_not_return", text)
    if start.is_trial and start.number != tried:
        yield Finding("only_the_new_on_trial", f"image {start.number} is on trial")


def proof_findings(start: HandOver, tried: int | None, *, is_proven: bool) -> Iterator[Finding]:
    """An image that never confirmed runs only on trial."""
    if start.number == tried and not start.is_trial and not is_proven:
        yield Finding("unproven_only_on_trial", f"image {start.number} is started as proven")


def settled_findings(oracle: Oracle, disk: Bytes, right: tuple[End, ...]) -> Iterator[Finding]:
    """In the end one of the right ends was reached, and both areas are settled."""
    if end_of(oracle, disk, right) is None:
        runs, backup = (_words(oracle.image_in(disk, area)) for area in (1, 2))
        wanted = " or ".join(
            f"{end.outcome}: {end.world.runs} before {end.world.backup}" for end in right
        )
        text = f"primary holds {runs}, backup {backup}; wanted {wanted}"
        yield Finding("right_end", text)
    try:
        record = oracle.record(disk)
    except ExpectationError as error:
        yield Finding("record_is_there", str(error))
        return
    found = record.code, record.phase, record.boot_area, record.request
    if found != (1, "idle", 1, 0):
        text = f"(code, phase, boot area, request) is {found}"
        yield Finding("settles", text)


def end_of(oracle: Oracle, disk: Bytes, right: tuple[End, ...]) -> End | None:
    """The right end that the areas show, None where they show another."""
    found = oracle.image_in(disk, 1), oracle.image_in(disk, 2)
    return next((end for end in right if (end.world.runs, end.world.backup) == found), None)


def reason_of(record: Record) -> str:
    """The last failure's reason in words; bootsvc lends the word for the number on the disk."""
    number, _ = record.failure
    known = number in {int(one) for one in Reason}
    return Reason(number).name.lower().replace("_", " ") if known else f"reason {number}"


def _words(number: int | None) -> str:
    return "no whole image" if number is None else f"image {number}"
