"""The judge. It stands outside: no product code, only raw bytes, ``struct`` and approved images.

A clause is a small function that looks at one step, at one cut, or at how a state ends, and says
what it saw where that breaks the promise; ``None`` where all is well. Clauses never raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.power_cut.truth import NOBODY, End, Truth
from tests.power_cut.view import AREAS, Record, View, proven_now

MAX_STARTS = 12
"""An update with every try used up takes 6 starts, its restore and the proof of rest 2 more."""


@dataclass(frozen=True)
class StepFacts:
    """What the judge is told of one power-on; disks are views.

    Attributes:
        at_boot: at the hand-over; ``None`` where nothing was started.
        booted: the area that was started: primary, backup, or empty.
        wrote_before_boot, wrote_after_boot: whether anything was written then.
        flushed_before_boot: nothing of it was left in the disk's cache at the hand-over.
        asked: the running OS asked for something in this step, or a technician did.
        asked_before_boot: it was a technician, at the console.
        problem: an exception out of product code, in words.
    """

    before: View
    after: View
    at_boot: View | None
    booted: str
    wrote_before_boot: bool
    wrote_after_boot: bool
    asked: bool
    asked_before_boot: bool = False
    flushed_before_boot: bool = True
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


# --- clauses on the disk of a cut ---------------------------------------------------------------


def record_names_whole_image(truth: Truth, view: View) -> str | None:
    """At the very cut, before any repair, the newest record names a whole area, or none."""
    record = view.record
    if record is None or record.boot == "none":
        return None
    if record.boot == "primary" and record.sequence <= truth.rotten_until:
        return None
    holds = view.holds.get(record.boot, NOBODY)
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
    if not step.wrote_before_boot:
        return f"{step.runs} runs, and no try was paid for"
    return None if step.flushed_before_boot else f"{step.runs} runs, and its try is not flushed"


def last_try_falls_back(truth: Truth, step: StepFacts) -> str | None:
    """The last try is made with the backup named in the record, so that a machine that hangs for
    ever comes back to it."""
    del truth
    record = step.at_boot.record if step.at_boot else None
    if record is None or record.phase != "TRIAL" or record.tries_left:
        return None
    if record.boot == "backup" or record.states["backup"] not in ("VALID", "CONFIRMED"):
        return None
    return f"the last try was made with {record.boot} in the record"


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
    """An image that the record remembers as failed is not started by itself; a technician who
    asks for it has the record forget that."""
    failed = step.before.record.failed if step.before.record else ()
    if step.asked_before_boot and step.at_boot and step.at_boot.record:
        failed = tuple(one for one in failed if one in step.at_boot.record.failed)
    if step.runs and step.runs in [truth.name_of(one) for one in failed]:
        return f"{step.runs} runs, and failed before"
    return None


def healthy_start_writes_nothing(truth: Truth, step: StepFacts) -> str | None:
    """A start of a settled, healthy machine writes nothing, unless somebody asks."""
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
    wrote_unasked = (step.wrote_before_boot and not step.asked_before_boot) or (
        step.wrote_after_boot and not step.asked
    )
    if is_healthy and wrote_unasked:
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
    last_try_falls_back,
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
