"""A rebuilt disk is started by the updater's own code, in this process, until it is settled.

What is seen of it is judged from outside by ``oracle``: after each start by the bytes of the disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bootsvc.sequence import requests
from bootsvc.sequence.actions import Action, Boot
from bootsvc.sequence.checks import Site
from bootsvc.sequence.runner import Runner, Start
from bootsvc.storage.disk import disk_on
from bootsvc.storage.image_area import CopyCounts
from bootsvc.units import SECTOR_SIZE
from qemu_lab.recorded.oracle import AREAS, Oracle
from qemu_lab.subject import Record

MAX_STARTS = 6
"""Above what any cut takes: two, the trial and a start in which nothing is left to do."""

NOW_S = 1_767_225_600


class Outcome(StrEnum):
    """What became of the machine after the cut."""

    STAYED = "stayed"  # nobody had asked for the update yet
    WENT_ON = "went on"  # the update was under way and came to its end
    WAS_DONE = "was done"  # the update had been confirmed
    FAILED = "FAILED"


@dataclass(frozen=True)
class Started:
    """One start: the area, the number of the image that is in it, and whether it was a trial."""

    area: int
    image: int | None
    is_trial: bool


@dataclass(frozen=True)
class Verdict:
    """Of one rebuilt disk. No violation: it is right.

    Attributes:
        outcome: what became of the update.
        starts: how many it took until a start wrote nothing.
        first_start: what the first of them came to; None where nothing was started.
        violations: what is wrong, with the clause first.
    """

    outcome: Outcome
    starts: int
    first_start: Started | None = None
    violations: tuple[str, ...] = ()


class DiskBytes(Protocol):
    """A disk as bytes that can be changed."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...
    def __setitem__(self, part: slice, data: bytes, /) -> None: ...


class MappedDevice:
    """A disk in memory, for the updater's code; counts the writes."""

    def __init__(self, disk: DiskBytes) -> None:
        self.name = "rebuilt disk"
        self.size = len(disk)
        self.sector_size = SECTOR_SIZE
        self.disk = disk
        self.writes = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        return self.disk[offset : offset + length]

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Change them."""
        self.writes += 1
        self.disk[offset : offset + len(data)] = bytes(data)

    def flush(self) -> None:
        """Nothing to do: this disk forgets nothing any more."""


class _Silent:
    """Reporter that tells nobody."""

    def stage(self, name: str, **facts: object) -> None: ...
    def begin(self, work: str, total: int) -> None: ...
    def tick(self, count: int) -> None: ...
    def end(self, counts: CopyCounts | None = None) -> None: ...
    def say(self, text: str) -> None: ...
    def decided(self, action: Action) -> None: ...


@dataclass(frozen=True)
class Judge:
    """Judges disks of one recorded update.

    Attributes:
        oracle: knows the approved images.
        site: keys and machine type that the updater trusts.
        first, second: numbers of the image that ran before the update, and of the new one.
    """

    oracle: Oracle
    site: Site
    first: int
    second: int

    def judge(self, disk: DiskBytes) -> Verdict:
        """Start the machine with this disk until it is settled; ``disk`` is changed.

        The running system confirms the new image, and asks for nothing else.
        """
        fault = self.oracle.fault_of_record(disk)
        if fault is not None:
            return Verdict(Outcome.FAILED, 0, None, (f"record_names_whole_image: {fault}",))
        outcome = self._expected(self.oracle.record(disk))
        device = MappedDevice(disk)
        starts: list[Started] = []
        violations: list[str] = []
        is_settled = False
        while not violations and not is_settled:
            before, device.writes = self.oracle.record(disk), 0
            try:
                started = self._start(device)
            except Exception as error:  # noqa: BLE001 - whatever it is, the machine did not start
                violations.append(f"crashes: start {len(starts) + 1}: {error!r}")
                break
            if started is None:
                violations.append(f"boots_whole_image: start {len(starts) + 1} halted")
                break
            starts.append(started)
            is_settled = not device.writes
            violations += self._after_start(disk, before, started)
            if is_settled:
                violations += self._at_the_end(disk, outcome, started)
            elif len(starts) == MAX_STARTS:
                violations.append(f"settles: start {MAX_STARTS} still writes")
        first = starts[0] if starts else None
        return Verdict(
            Outcome.FAILED if violations else outcome, len(starts), first, tuple(violations)
        )

    def _start(self, device: MappedDevice) -> Started | None:
        """One start: what was booted, or None where the updater halted. A trial is confirmed."""
        disk = disk_on(device)
        # Equal disks start alike: what is random on a machine is drawn from the record here.
        fresh_id = hashlib.sha256(disk.status.device.read_at(0, SECTOR_SIZE)).digest()[:16]
        runner = Runner(disk, Start(self.site, now_s=NOW_S, fresh_id=fresh_id), _Silent())
        outcome = runner.run()
        if not isinstance(outcome, Boot):
            return None
        image = self.oracle.image_in(device.disk, int(outcome.area))
        if outcome.is_trial:
            status = disk.status.read()
            identity = runner.seen.finding(outcome.area).identity
            running = requests.Started(outcome.area, identity, status.transaction)
            disk.status.replace(requests.confirmed(status, running, floor=0))
        return Started(int(outcome.area), image, outcome.is_trial)

    def _expected(self, record: Record) -> Outcome:
        """What must become of the update, by the record as the cut left it."""
        if self._is_confirmed(record):
            return Outcome.WAS_DONE
        is_asked = record.request == 1 or record.numbers[0] == self.second
        return Outcome.WENT_ON if is_asked else Outcome.STAYED

    def _is_confirmed(self, record: Record) -> bool:
        return record.phase == "idle" and record.numbers[0] == self.second

    def _after_start(self, disk: DiskBytes, before: Record, started: Started) -> list[str]:
        if started.image is None:
            return [f"boots_whole_image: {AREAS[started.area]} was started and is not whole"]
        violations = []
        is_proven = started.image != self.second or self._is_confirmed(before)
        if not is_proven and not started.is_trial:
            violations.append(f"unproven_only_on_trial: {started.image} was started as proven")
        fault = self.oracle.fault_of_record(disk)
        if fault is not None:
            violations.append(f"record_names_whole_image: {fault}")
        elif self.oracle.record(disk).sequence < before.sequence:
            violations.append("sequence_never_goes_back: the newest record is an older one")
        return violations

    def _at_the_end(self, disk: DiskBytes, outcome: Outcome, started: Started) -> list[str]:
        """The machine is settled, and must be where it belongs."""
        runs = self.first if outcome is Outcome.STAYED else self.second
        record = self.oracle.record(disk)
        found = started.area, started.image, record.code, record.phase
        wanted = 1, runs, 1, "idle"
        violations = []
        if found != wanted:
            violations.append(f"same_end: (area, image, code, phase) is {found}, wanted {wanted}")
        if outcome is not Outcome.STAYED and self.oracle.image_in(disk, 2) != self.first:
            violations.append(f"same_end: backup does not hold image {self.first}")
        return violations
