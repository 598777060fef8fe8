"""The judge. It stands outside: no product code, only raw bytes, ``struct`` and approved images.

A clause is a small function that looks at one step, at one cut, or at how a state ends, and says
what it saw where that breaks the promise; ``None`` where all is well. Clauses never raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from tests.formats.decoder import Value, decode

RECORD_SIZE = 512
MAX_STARTS = 12
"""An update with every try used up takes 6 starts, its restore and the proof of rest 2 more."""

PHASES = (
    "UNKNOWN", "INSTALL", "IDLE", "CHECK", "BACKUP", "COPY", "VERIFY", "TRIAL", "CONFIRM",
    "RESTORE", "DEGRADED", "ROLLBACK", "ROT", "HALT",
)  # fmt: skip
AREAS = ("none", "primary", "backup", "staging")
STATES = ("EMPTY", "WRITING", "VALID", "CONFIRMED", "BAD")
REQUESTS = ("none", "update", "rollback", "boot-once")
NOBODY = "?"
CARRIES = frozenset({"INSTALL", "COPY", "TRIAL", "ROLLBACK", "ROT"})


class RawDisk(Protocol):
    """Bytes to look at."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``."""


@dataclass(frozen=True)
class ApprovedImage:
    """An image that may run: its name here, the bytes that an area begins and ends with, and its
    identity, 32 bytes."""

    name: str
    content: bytes = field(repr=False)
    footer: bytes = field(repr=False)
    identity: bytes = field(repr=False)


@dataclass(frozen=True)
class End:
    """What a settled machine looks like.

    Attributes:
        name: for people; not compared.
        primary, backup, staging: image and state by the record, such as ``v2 VALID``; followed by
            what the area holds in truth where that is something else.
        failed: names of the images remembered as failed.
        starts: whether the machine starts an image by itself (False: it halts).
    """

    name: str = field(compare=False)
    code: int
    phase: str
    boot: str
    primary: str
    backup: str
    staging: str = "EMPTY"
    request: str = "none"
    floor: int = 0
    failed: tuple[str, ...] = ()
    starts: bool = True


@dataclass(frozen=True)
class Truth:
    """What the judge knows of a scenario.

    Attributes:
        images: all approved images.
        parts: role -> bytes of the disk.
        copies: offsets of the record's two copies on the disk.
        proven: names of the images that proved themselves before the scenario begins.
        good: names of the images that would prove themselves.
        end: where the run without cuts ends.
        fallbacks: the other documented ends.
        leaves: name of the image that must not run again by itself once another one ran after it.
        is_first: a first installation: there is nothing proven, the image stands in staging.
        rotten_until: a record of at most this sequence may name primary, which is damaged before
            the first start.
        carries: phases in which the table says that what was begun goes on to its end.
    """

    images: tuple[ApprovedImage, ...]
    parts: Mapping[str, range]
    copies: tuple[int, int]
    proven: frozenset[str]
    good: frozenset[str]
    end: End
    fallbacks: tuple[End, ...] = ()
    leaves: str = ""
    is_first: bool = False
    rotten_until: int = 0
    carries: frozenset[str] = CARRIES

    def ends(self) -> tuple[End, ...]:
        """All documented ends."""
        return (self.end, *self.fallbacks)

    def name_of(self, identity: str) -> str:
        """The image with this identity (hex)."""
        found = (one.name for one in self.images if one.identity.hex() == identity)
        return next(found, NOBODY)


@dataclass(frozen=True)
class Record:
    """A whole copy of the boot-status record, in words: states by area, identities in hex."""

    sequence: int
    code: int
    phase: str
    boot: str
    request: str
    tries_left: int
    transaction: str
    floor: int
    states: Mapping[str, str]
    identities: Mapping[str, str]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A disk as the judge sees it: the newest record (``None``: lost), whether its two copies are
    the same, and which image each area holds from the first byte to the last."""

    record: Record | None
    has_equal_copies: bool
    holds: Mapping[str, str]


@dataclass(frozen=True)
class StepFacts:
    """What the judge is told of one power-on; disks are views.

    Attributes:
        at_boot: at the hand-over; ``None`` where nothing was started.
        booted: the area that was started: primary, backup, or empty.
        wrote_before_boot, wrote_after_boot: whether anything was written then.
        asked: the running OS asked for something in this step.
        problem: an exception out of product code, in words.
    """

    before: View
    after: View
    at_boot: View | None
    booted: str
    wrote_before_boot: bool
    wrote_after_boot: bool
    asked: bool
    problem: str = ""

    @property
    def runs(self) -> str:
        """The image that was started; ``NOBODY`` where the area held no whole image."""
        return self.at_boot.holds[self.booted] if self.at_boot else ""


@dataclass(frozen=True)
class Fate:
    """How a state ends without further cuts.

    Attributes:
        starts: power-ons until one changed nothing.
        end: what the disk looks like then; ``None`` where that never came.
        runs: the images that ran on the way, repetitions left out.
    """

    starts: int
    end: End | None
    runs: tuple[str, ...]


# --- looking ------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _record_in(sector: bytes) -> Record | None:
    fields = decode(sector)
    if fields is None:
        return None
    numbers = {name: int(str(value)) for name, value in fields.items() if isinstance(value, int)}
    areas = {name: _group(fields[name]) for name in AREAS[1:]}
    failed = fields["failed"]
    assert isinstance(failed, list)
    return Record(
        sequence=numbers["sequence"],
        code=numbers["status_code"],
        phase=PHASES[numbers["phase"]],
        boot=AREAS[numbers["boot_area"]],
        request=REQUESTS[numbers["request"]],
        tries_left=numbers["tries_left"],
        transaction=str(fields["transaction"]),
        floor=numbers["version_floor"],
        states={name: STATES[int(area["state"])] for name, area in areas.items()},
        identities={name: str(area["identity"]) for name, area in areas.items()},
        failed=tuple(one for one in failed if one.strip("0")),
    )


def _group(value: Value) -> dict[str, int | str]:
    assert isinstance(value, dict)
    return value


def newest_record(truth: Truth, disk: RawDisk) -> Record | None:
    """The whole copy with the higher sequence; two that differ at one sequence are none."""
    first, second = (disk.read(at, RECORD_SIZE) for at in truth.copies)
    one, other = _record_in(first), _record_in(second)
    if one is None or other is None:
        return one or other
    if one.sequence == other.sequence:
        return one if first == second else None
    return max(one, other, key=lambda record: record.sequence)


def held(truth: Truth, disk: RawDisk, area: str) -> str:
    """The image whose every byte stands in ``area``, or ``NOBODY``."""
    where = truth.parts[area]
    for image in truth.images:
        footer_at = where.stop - len(image.footer)
        if disk.read(footer_at, len(image.footer)) == image.footer:
            is_whole = disk.read(where.start, len(image.content)) == image.content
            return image.name if is_whole else NOBODY
    return NOBODY


def look(truth: Truth, disk: RawDisk) -> View:
    """The disk as it is, with nothing believed that was not compared byte by byte."""
    first, second = (disk.read(at, RECORD_SIZE) for at in truth.copies)
    holds = {area: held(truth, disk, area) for area in AREAS[1:]}
    return View(newest_record(truth, disk), first == second, holds)


def end_of(truth: Truth, view: View, *, starts: bool) -> End:
    """The documented end that ``view`` is, or one without a name."""
    record = view.record
    if record is None:
        return End("record lost", 0, "", "none", "", "", starts=starts)
    seen = End(
        name="",
        code=record.code,
        phase=record.phase,
        boot=record.boot,
        primary=_area_text(truth, view, record, "primary"),
        backup=_area_text(truth, view, record, "backup"),
        staging=_area_text(truth, view, record, "staging"),
        request=record.request,
        floor=record.floor,
        failed=tuple(truth.name_of(one) for one in record.failed),
        starts=starts,
    )
    return next((end for end in truth.ends() if end == seen), seen)


def _area_text(truth: Truth, view: View, record: Record, area: str) -> str:
    state = record.states[area]
    if state in ("EMPTY", "WRITING"):
        return state
    name, holds = truth.name_of(record.identities[area]), view.holds[area]
    return f"{name} {state}" + ("" if holds == name else f", holds {holds}")


def proven_now(truth: Truth, record: Record | None) -> frozenset[str]:
    """The images that have proved themselves: before the beginning, or by the record since."""
    if record is None or record.states["primary"] != "CONFIRMED":
        return truth.proven
    return truth.proven | {truth.name_of(record.identities["primary"])}


# --- clauses on the disk of a cut ---------------------------------------------------------------


def record_names_whole_image(truth: Truth, view: View) -> str | None:
    """At the very cut, before any repair, the newest record names a whole area, or none."""
    record = view.record
    if record is None or record.boot == "none":
        return None
    if record.boot == "primary" and record.sequence <= truth.rotten_until:
        return None
    holds = view.holds[record.boot]
    if holds == NOBODY:
        return f"the record ({record.phase}) names {record.boot}, which holds no whole image"
    if truth.name_of(record.identities[record.boot]) != holds:
        return f"the record ({record.phase}) names another image than {record.boot} holds"
    return None


def never_without_image(truth: Truth, view: View) -> str | None:
    """At every moment an area holds a whole image that has proved itself (in a first
    installation: the first image)."""
    areas = AREAS[1:] if truth.is_first else AREAS[1:3]
    every = frozenset(one.name for one in truth.images)
    wanted = every if truth.is_first else proven_now(truth, view.record)
    if any(view.holds[area] in wanted for area in areas):
        return None
    return "no area holds a whole image that has proved itself: " + ", ".join(
        f"{area} {view.holds[area]}" for area in areas
    )


# --- clauses on the record of a cut or a step, against the one before it ------------------------


def floor_never_sinks(before: Record | None, after: Record | None) -> str | None:
    """The version floor never goes down."""
    if before is None or after is None or after.floor >= before.floor:
        return None
    return f"floor {before.floor} became {after.floor}"


def floor_rises_only_with_proof(before: Record | None, after: Record | None) -> str | None:
    """The version floor rises only when an image has proved itself."""
    if before is None or after is None or after.floor <= before.floor:
        return None
    if after.phase == "IDLE" and after.states["primary"] == "CONFIRMED":
        return None
    return f"the floor rose in {after.phase}, with primary {after.states['primary']}"


def sequence_never_goes_back(before: Record | None, after: Record | None) -> str | None:
    """The newest record's sequence never goes back, and a record is never lost."""
    if before is None:
        return None
    if after is None:
        return "the record is lost"
    if after.sequence >= before.sequence:
        return None
    return f"sequence {before.sequence} became {after.sequence}"


# --- clauses on a step --------------------------------------------------------------------------


def crashes(truth: Truth, step: StepFacts) -> str | None:
    """Product code ends as it says it does: no unexpected exception, no endless work."""
    del truth
    return step.problem or None


def boots_whole_image(truth: Truth, step: StepFacts) -> str | None:
    """What is started is, byte for byte, an approved image; nothing is started only where that is
    a documented end."""
    if step.problem:
        return None
    if step.at_boot is None:
        may_halt = any(not end.starts for end in truth.ends())
        return None if may_halt else "nothing is started"
    if step.runs != NOBODY:
        return None
    return f"started {step.booted}, which holds no whole image"


def unproven_only_on_trial(truth: Truth, step: StepFacts) -> str | None:
    """An image that never proved itself runs only as a trial, with its try paid for."""
    if step.at_boot is None or step.runs == NOBODY:
        return None
    record = step.at_boot.record
    if step.runs in proven_now(truth, record):
        return None
    if record is None or record.phase != "TRIAL" or step.booted != "primary":
        phase = record.phase if record else "no phase"
        return f"{step.runs} runs from {step.booted} in {phase}, and never proved itself"
    return None if step.wrote_before_boot else f"{step.runs} runs, and no try was paid for"


def only_the_tried_confirms(truth: Truth, step: StepFacts) -> str | None:
    """Primary becomes CONFIRMED only by the OS that ran it on this very transaction."""
    after = step.after.record
    if after is None or after.states["primary"] != "CONFIRMED":
        return None
    name = truth.name_of(after.identities["primary"])
    if name in proven_now(truth, step.before.record):
        return None
    tried = step.at_boot.record if step.at_boot else None
    if tried is None or step.runs != name or step.booted != "primary":
        return f"{name} became CONFIRMED while {step.runs or 'nothing'} ran"
    if tried.states["primary"] == "CONFIRMED":
        return f"{name} was CONFIRMED before it ran"
    if tried.transaction != after.transaction:
        return f"{name} became CONFIRMED on another transaction"
    return None if name in truth.good else f"{name} became CONFIRMED, and is no good"


def failed_does_not_run(truth: Truth, step: StepFacts) -> str | None:
    """An image that the record remembers as failed is not started by itself."""
    failed = step.before.record.failed if step.before.record else ()
    if step.runs and step.runs in [truth.name_of(one) for one in failed]:
        return f"{step.runs} runs, and failed before"
    return None


def healthy_start_writes_nothing(truth: Truth, step: StepFacts) -> str | None:
    """A start of a settled, healthy machine writes nothing."""
    record, holds = step.before.record, step.before.holds
    is_healthy = (
        record is not None
        and record.phase == "IDLE"
        and record.request == "none"
        and step.before.has_equal_copies
        and record.states["primary"] == "CONFIRMED"
        and record.states["backup"] in ("VALID", "BAD")
        and holds["primary"] == truth.name_of(record.identities["primary"])
    )
    if is_healthy and (step.wrote_before_boot or (step.wrote_after_boot and not step.asked)):
        return "a healthy start wrote to the disk"
    return None


# --- clauses on how a state ends ----------------------------------------------------------------


def settles(truth: Truth, view: View, fate: Fate) -> str | None:
    """The machine comes to rest within a bounded number of starts."""
    del truth, view
    if fate.end is None or fate.starts > MAX_STARTS:
        return f"not settled after {fate.starts} starts, which ran {' '.join(fate.runs)}"
    return None


def same_end(truth: Truth, view: View, fate: Fate) -> str | None:
    """Left alone, the machine ends as the run without cuts does, or in a documented fall-back."""
    del view
    if fate.end is None or fate.end in truth.ends():
        return None
    return f"ended as {fate.end}"


def update_goes_on(truth: Truth, view: View, fate: Fate) -> str | None:
    """What the record carries is not lost: the end is that of the run without cuts."""
    record = view.record
    if record is None or fate.end in (None, truth.end):
        return None
    if record.request == "none" and record.phase not in truth.carries:
        return None
    is_given_up = record.phase == "TRIAL" and record.tries_left == 0
    if is_given_up and "RESTORE" not in truth.carries:
        return None
    return f"lost in {record.phase}, ended as {fate.end}"


def staging_consumed(truth: Truth, view: View, fate: Fate) -> str | None:
    """After the end no request is left."""
    del truth, view
    if fate.end is None or fate.end.request == "none":
        return None
    return f"the request {fate.end.request} is left"


def does_not_return(truth: Truth, view: View, fate: Fate) -> str | None:
    """An image that was refused, failed or rolled back does not run again by itself."""
    del view
    if fate.runs.count(truth.leaves) > 1:
        return f"{truth.leaves} runs again: {' '.join(fate.runs)}"
    return None


DISK_CLAUSES: tuple[Callable[[Truth, View], str | None], ...] = (
    record_names_whole_image,
    never_without_image,
)
RECORD_CLAUSES: tuple[Callable[[Record | None, Record | None], str | None], ...] = (
    floor_never_sinks,
    floor_rises_only_with_proof,
    sequence_never_goes_back,
)
STEP_CLAUSES: tuple[Callable[[Truth, StepFacts], str | None], ...] = (
    crashes,
    boots_whole_image,
    unproven_only_on_trial,
    only_the_tried_confirms,
    failed_does_not_run,
    healthy_start_writes_nothing,
)
FATE_CLAUSES: tuple[Callable[[Truth, View, Fate], str | None], ...] = (
    settles,
    same_end,
    update_goes_on,
    staging_consumed,
    does_not_return,
)
CLAUSES: tuple[str, ...] = tuple(
    clause.__name__ for clause in (*DISK_CLAUSES, *RECORD_CLAUSES, *STEP_CLAUSES, *FATE_CLAUSES)
)
"""The names of all clauses."""
