"""The judge where the disk fails: the clauses of ``oracle``, and what they do not ask for.

He forgives the disk what the disk itself did, and nothing else: areas and record are looked at with
a flipped bit put right, so that whatever is missing then is the machine's own doing. What a start
has to notice by itself is judged by the bytes as they are.

Where this differs from ``oracle``:

- a start in which the disk fails, or a bit is still flipped, may write;
- primary started with the alarm that the backup is bad may hold any whole image (DESIGN 4);
- a primary that was changed before the scenario began may run on (DESIGN 2);
- a lost record and one area that cannot be read: the image in the other is CONFIRMED (DESIGN 3);
- what a clause finds on a disk counts where the start before left it otherwise;
- where it may all end, and which update may be lost, is the business of ``fall_backs`` alone; that
  an image which failed does not return is judged at every start, not over the whole story.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.formats.decoder import decode
from tests.power_cut import oracle
from tests.power_cut.failing_disk import FOR_GOOD, REFUSED_WITH, Fault, Flip
from tests.power_cut.fall_backs import Place
from tests.power_cut.oracle import StepFacts
from tests.power_cut.truth import Truth
from tests.power_cut.view import AREAS, PHASES, RawDisk, View, proven_now

IO_ERROR, STATUS_LOST = 11, 23
NO_IDENTITY = "0" * 64
LED_TO = (13, 14)
"""Reasons that say what an error led to: nothing to fall back to, primary changed."""

NAMED_PHASES = {
    "INSTALL": ("INSTALL",),
    "IDLE": ("IDLE", "CHECK", "ROT", "ROLLBACK", "BACKUP"),
    "BACKUP": ("BACKUP", "CHECK"),
    "COPY": ("COPY", "VERIFY"),
    "TRIAL": ("TRIAL", "ROT"),
    "RESTORE": ("RESTORE",),
    "ROLLBACK": ("ROLLBACK",),
    "ROT": ("ROT", "COPY", "VERIFY"),
    "DEGRADED": ("DEGRADED", "CHECK"),
}
"""Phase of the record when the disk failed -> what the failure may be called in it."""

COPYING = ("INSTALL", "BACKUP", "COPY", "RESTORE", "ROLLBACK", "ROT")


@dataclass(frozen=True)
class LastFailure:
    """What a record names: phase and area in words, the reason's number, the error number; and the
    images that it remembers as failed, identities in hex."""

    phase: str
    reason: int
    area: str
    errno: int
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ErrorFacts:
    """What the judge is told of one start of a machine whose disk fails or has failed.

    Attributes:
        step: views with the flipped bit put right.
        as_it_is: the disk at the hand-over, or when the machine halted, every bit as it stands.
        loads_whole: footer and kernel of what was started are those of an approved image.
        runs_as_delivered: what was started stands as it did before the scenario began.
        halts: nothing was started, and no exception was the reason.
        alarm: name of the alarm that the OS was started with, or empty.
        told: what updater and OS said.
        failures: what the records that the updater wrote in this start name.
        marked: images newly remembered as failed, by name.
        fails: the disk fails in this start, or a bit of it is still flipped.
        without_fault: the same start without the fault; None: it is not the one the fault fell on.
    """

    truth: Truth
    fault: Fault
    place: Place
    step: StepFacts
    as_it_is: View
    loads_whole: bool
    runs_as_delivered: bool
    halts: bool
    alarm: str
    told: tuple[str, ...]
    failures: tuple[LastFailure, ...]
    marked: frozenset[str]
    fails: bool
    without_fault: ErrorFacts | None = None

    @property
    def result(self) -> tuple[object, ...]:
        """What is to be explained where it differs from the start without the fault."""
        after = self.step.after
        record = after.record
        named = (record.phase, record.boot, dict(record.states), record.failed) if record else ()
        return named, after.holds, self.step.booted, self.alarm


@dataclass(frozen=True)
class Forgiving:
    """A disk as the judge looks at it: a flipped bit put right, unless it was overwritten since,
    and zeros where a sector of the status partition cannot be read."""

    disk: RawDisk
    flip: Flip | None = None
    unreadable: range = range(0)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``."""
        data, flip = self.disk.read(offset, length), self.flip
        if flip is not None and is_flipped(self.disk, flip) and 0 <= flip.at - offset < length:
            at = flip.at - offset
            data = data[:at] + bytes([flip.was]) + data[at + 1 :]
        first, end = max(offset, self.unreadable.start), min(offset + length, self.unreadable.stop)
        if first < end:
            data = data[: first - offset] + bytes(end - first) + data[end - offset :]
        return data


def is_flipped(disk: RawDisk, flip: Flip | None) -> bool:
    """Whether the bit is still flipped, and was not overwritten since."""
    return flip is not None and disk.read(flip.at, 1)[0] == flip.became


def failure_in(sector: bytes) -> LastFailure | None:
    """What a record names; None: it is none."""
    fields = decode(sector)
    if fields is None:
        return None
    failure = fields["last_failure"]
    assert isinstance(failure, dict)
    phase, reason, area, errno = (
        int(failure[name]) for name in ("phase", "reason", "area", "errno")
    )
    failed = fields["failed"]
    assert isinstance(failed, list)
    return LastFailure(PHASES[phase], reason, AREAS[area], errno, frozenset(failed))


# --- clauses -------------------------------------------------------------------------------------


def halts_only_without_image(facts: ErrorFacts) -> str | None:
    """Nothing is started only where no area that can be read holds a whole, proven image."""
    if not facts.halts:
        return None
    proven = proven_now(facts.truth, facts.step.after.record)
    for area in ("primary", "backup"):
        if facts.as_it_is.holds[area] in proven and area != facts.place.area:
            return f"nothing is started, and {area} holds {facts.as_it_is.holds[area]}"
    return None


def loads_only_what_is_whole(facts: ErrorFacts) -> str | None:
    """Footer and kernel of what is started are those of an approved image, every bit of them."""
    if facts.step.booted and not facts.loads_whole:
        return f"started {facts.step.booted}, and its footer or kernel is altered"
    return None


def io_error_marks_no_image(facts: ErrorFacts) -> str | None:
    """An image is remembered as failed for its digest or its trial, never for an error of the
    disk."""
    errno = REFUSED_WITH[facts.fault.kind]
    if not facts.marked or not errno:
        return None
    base = facts.without_fault
    if base is not None and not facts.place.by_os and not facts.marked <= base.marked:
        return f"{', '.join(sorted(facts.marked))} is marked as failed, and the disk failed"
    known = frozenset(facts.step.before.record.failed) if facts.step.before.record else frozenset()
    for failure in facts.failures:
        if failure.reason == IO_ERROR and not failure.failed - {NO_IDENTITY} <= known:
            return f"{', '.join(sorted(facts.marked))} is marked as failed for error {errno}"
        known |= failure.failed
    return None


def names_the_reason(facts: ErrorFacts) -> str | None:
    """Where a fault changes what becomes of a start, a record that it wrote names phase, reason,
    area and error number. There are six exceptions. A technician asked for something: he is told.
    The record cannot be written: the start says so. The record was lost: what is rebuilt names
    that. The OS is at work: its command fails with the error. A start with an alarm: the OS gets
    the alarm, and the start says what failed. Primary was rotten before: the record goes on naming
    that, and the start says what else failed."""
    if facts.without_fault is None or facts.result == facts.without_fault.result:
        return None
    place, told = facts.place, "; ".join(facts.told)
    if "technician: " in told:
        return None
    if place.by_os:
        return None if f"{facts.step.runs}: " in told else f"the OS says nothing: {told}"
    if place.area == "status" or "record cannot be written" in told:
        is_said = "record" in told or "status lost" in told
        return None if is_said else f"nothing is said of the record: {told}"
    if any(_names(facts, failure) for failure in facts.failures):
        return None
    if place.phase == "LOST":
        is_named = any(failure.reason == STATUS_LOST for failure in facts.failures)
        return None if is_named else "the record does not name that it was lost"
    may_be_said = facts.alarm or facts.truth.rotten_until
    if may_be_said and place.area in told:
        return None
    return f"named are only {', '.join(map(str, facts.failures)) or 'nothing'}; {told}"


def _names(facts: ErrorFacts, failure: LastFailure) -> bool:
    """Whether ``failure`` is what the fault was; what reads back otherwise is found at the other
    end of the copy, and a fault that stays fails later phases as well."""
    place, kind = facts.place, facts.fault.kind
    errno = REFUSED_WITH[kind]
    is_of_the_disk = failure.reason in (IO_ERROR, *LED_TO)
    is_reason = is_of_the_disk if errno else failure.reason not in (0, IO_ERROR)
    is_place = failure.area == place.area or (not errno and place.phase in COPYING)
    is_phase = kind in FOR_GOOD or failure.phase in NAMED_PHASES.get(place.phase, ())
    return is_reason and is_place and is_phase and failure.errno == errno


ERROR_CLAUSES: tuple[Callable[[ErrorFacts], str | None], ...] = (
    halts_only_without_image,
    loads_only_what_is_whole,
    io_error_marks_no_image,
    names_the_reason,
)
MAY_BE_ANY_IMAGE = (oracle.unproven_only_on_trial, oracle.failed_does_not_run)
"""What a start with the alarm that the backup is bad is not held against."""


def judge(facts: ErrorFacts) -> Iterator[tuple[str, str]]:
    """The names of the clauses that are broken, and what was seen."""
    truth, step = facts.truth, facts.step
    for disk_clause in oracle.DISK_CLAUSES:
        was_so_before = disk_clause(truth, step.before) is not None
        if (seen := disk_clause(truth, step.after)) and not was_so_before:
            yield disk_clause.__name__, seen
    for record_clause in oracle.RECORD_CLAUSES:
        if seen := record_clause(step.before.record, step.after.record):
            yield record_clause.__name__, seen
    for step_clause in oracle.STEP_CLAUSES:
        if _applies(facts, step_clause) and (seen := step_clause(truth, step)):
            yield step_clause.__name__, seen
    for clause in ERROR_CLAUSES:
        if seen := clause(facts):
            yield clause.__name__, seen


def _applies(facts: ErrorFacts, clause: Callable[[Truth, StepFacts], str | None]) -> bool:
    if clause is oracle.boots_whole_image:
        return not facts.halts and not facts.runs_as_delivered
    if clause is oracle.healthy_start_writes_nothing:
        return not facts.fails
    if clause is oracle.only_the_tried_confirms:
        return facts.place.phase != "LOST"
    return clause not in MAY_BE_ANY_IMAGE or facts.alarm != "BACKUP_BAD"
