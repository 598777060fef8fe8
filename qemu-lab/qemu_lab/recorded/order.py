"""Whether the recorded order of writes obeys the invariant of the design (DESIGN 4).

    the newest valid record names only an area that was completely written, flushed and read back
    before that record was written, and no byte of that area changes until a later record names
    another area.

That what is named is whole is judged with the rebuilt disks, byte for byte; here it is the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qemu_lab.errors import ExpectationError, WriteLogError
from qemu_lab.recorded.cuts import touches
from qemu_lab.recorded.oracle import AREAS, Approved, Bytes, Oracle
from qemu_lab.recorded.trace import Request
from qemu_lab.subject import Record, decode_record
from qemu_lab.write_log import Entry, WriteLog


@dataclass(frozen=True)
class Step:
    """One copy of a record that was written.

    Attributes:
        entry: number of the entry in the log.
        copy: 0 or 1.
        record: what the copy says.
    """

    entry: int
    copy: int
    record: Record


@dataclass(frozen=True)
class ReadBack:
    """A record that names another area than the one before, and what was read before it.

    Attributes:
        record: the record.
        proof: bytes that prove the image in the area.
        read: how many of them were read from the disk, in the same start, after the area's last
            write was flushed and before the record was written.
    """

    record: Record
    proof: int
    read: int


@dataclass
class Order:
    """What was found; ``violations`` name the clause first."""

    steps: list[Step] = field(default_factory=list)
    read_backs: list[ReadBack] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def check_order(
    oracle: Oracle, before: Bytes, log: WriteLog, starts: Sequence[Sequence[Request]]
) -> Order:
    """All that is to be said of a recording.

    Args:
        before: the disk at the beginning of the log.
        starts: the requests of each power-on, in order.

    Raises:
        WriteLogError: trace and log do not show the same writes.
    """
    order = Order()
    check_writes(oracle, before, log, order)
    check_reads(oracle, before, starts, order)
    return order


def check_writes(oracle: Oracle, before: Bytes, log: WriteLog, order: Order) -> None:
    """Walk the log: what is named is flushed, is left alone, and copies go one after the other.

    Args:
        before: the disk at the beginning of the log.
        order: is told what is found.
    """
    durable = oracle.record(before)  # what a cut leaves at least
    on_the_way: list[Step] = []  # copies of records that a cut may leave
    unflushed: set[int] = set()  # areas with writes that a cut may lose

    def violated(entry: Entry, clause: str, text: str) -> None:
        order.violations.append(f"{clause}: entry {entry.number}: {text}")

    for entry in log.entries:
        if entry.is_flush:
            for step in on_the_way:
                durable = max(durable, step.record, key=lambda record: record.sequence)
            on_the_way, unflushed = [], set()
        named = {durable.boot_area, *(step.record.boot_area for step in on_the_way)}
        written = {area for area, where in oracle.areas.items() if touches(entry, [where])}
        for area in sorted(written & named):
            text = f"{AREAS[area]} changes while a record names it"
            violated(entry, "named_area_untouched", text)
        unflushed |= written
        for step in _steps(oracle, log, entry):
            if on_the_way:
                violated(entry, "one_copy_per_epoch", "two copies without a flush between them")
            if step.record.boot_area in unflushed:
                name = AREAS[step.record.boot_area]
                violated(entry, "named_area_flushed", f"it names {name} before it is flushed")
            if step.record.sequence != durable.sequence + (step.copy == 0):
                violated(entry, "sequence_goes_up", f"{step.record.sequence} on {durable.sequence}")
            on_the_way.append(step)
            order.steps.append(step)


def _steps(oracle: Oracle, log: WriteLog, entry: Entry) -> list[Step]:
    """The copies of the record that ``entry`` writes."""
    steps = []
    for number, at in enumerate(oracle.copies):
        if entry.offset <= at < entry.end:
            sector = log.data(entry)[at - entry.offset :][:512]
            steps.append(Step(entry.number, number, decode_record([sector])))
    return steps


def check_reads(
    oracle: Oracle, before: Bytes, starts: Sequence[Sequence[Request]], order: Order
) -> None:
    """Walk the trace of each start: every record and every area named anew was read back.

    Args:
        before: the disk at the beginning of the log.
        starts: the requests of each power-on, in order.
        order: has the steps that ``check_writes`` found, and is told what is found here.

    Raises:
        WriteLogError: trace and log do not show the same writes.
    """
    steps = iter(order.steps)
    named = oracle.record(before).boot_area
    for requests in starts:
        writes = [one for one in requests if one.kind == "write"]
        for copy in (one for one in writes if _meets(one.where, oracle.status)):
            step = next(steps, None)
            if step is None or copy.where.start != oracle.copies[step.copy]:
                raise WriteLogError("the trace shows another write of a record than the log")
            if not _read_after(requests, copy, oracle.status):
                order.violations.append(
                    f"record_read_back: entry {step.entry}: nobody read copy {step.copy} back"
                )
            if step.copy == 0 and step.record.boot_area != named:
                named = step.record.boot_area
                _check_area(oracle, requests, copy, step, order)
    if next(steps, None) is not None:
        raise WriteLogError("the log has a record of which the trace shows nothing")


def _check_area(
    oracle: Oracle, requests: Sequence[Request], copy: Request, step: Step, order: Order
) -> None:
    """Before ``copy`` was written, all of the area that it names was read from the medium."""
    record = step.record
    where = oracle.areas[record.boot_area]
    image = _image(oracle, record.numbers[record.boot_area - 1])
    written = [
        one.completed
        for one in requests
        if one.kind == "write" and _meets(one.where, where) and one.submitted < copy.submitted
    ]
    flushed = _flushed_after(requests, max(written)) if written else -1
    sectors: set[int] = set()
    for one in requests:
        if one.kind == "read" and flushed < one.submitted and one.completed < copy.submitted:
            sectors.update(range(one.where.start // 512, -(-one.where.stop // 512)))
    proof = {
        sector
        for part in image.proof_in(where)
        for sector in range(part.start // 512, -(-part.stop // 512))
    }
    found = ReadBack(record, len(proof) * 512, len(proof & sectors) * 512)
    order.read_backs.append(found)
    if found.read != found.proof:
        order.violations.append(
            f"named_area_read_back: entry {step.entry}: it names {AREAS[record.boot_area]}, of "
            f"which {found.read} of {found.proof} bytes were read since they were flushed"
        )


def _image(oracle: Oracle, number: int) -> Approved:
    for image in oracle.approved:
        if image.number == number:
            return image
    raise ExpectationError(f"a record names image {number}, which nobody approved")


def _read_after(requests: Sequence[Request], copy: Request, status: range) -> bool:
    """Whether the sector of ``copy`` was read once it was flushed, before anything was written."""
    flushed = _flushed_after(requests, copy.completed)
    for one in requests:
        if one.completed > flushed and one.kind == "write" and _meets(one.where, status):
            return False
        is_read = one.kind == "read" and one.submitted > flushed
        if is_read and one.where.start <= copy.where.start and copy.where.stop <= one.where.stop:
            return True
    return False


def _flushed_after(requests: Sequence[Request], completed: int) -> int:
    """When the first flush after this was complete; beyond all requests where none was."""
    return next(
        (one.completed for one in requests if one.kind == "flush" and one.completed > completed),
        requests[-1].completed + 1,
    )


def _meets(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
