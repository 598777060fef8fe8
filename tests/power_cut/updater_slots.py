"""``python -m tests.power_cut.updater_slots``: no power cut costs a machine its updater.

The OS writes a new updater into the other slot and marks it; GRUB takes the mark away and tries it;
the OS that comes up from it proves it. Product code (``os_side.updater_slots``) works on a
simulated ESP, GRUB is played by the judge. Every write and flush of every start is cut as in the
proof of images (``cuts``), marks are torn at every byte, and what follows each cut is cut again.

    startable   at every cut GRUB starts a whole slot, and only what was approved
    proven      no byte of the proven slot changes, of its folder or its sectors of the tables
    once        a bad updater is started once, and again only where the cut came before that start
                had ended: its mark may not have reached the disk
    at rest     without further cuts the machine comes to rest in few starts, with a good updater,
                and a start at rest writes nothing
    updated     without any cut the new updater is the proven one, if it is good
    no error    product code raises nothing
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from unittest.mock import patch

from bootsvc.cli.output import duration, show
from bootsvc.errors import BootsvcError
from bootsvc.os_side.updater_slots import prove, stage
from bootsvc.storage import updater_slots as product
from bootsvc.storage.updater_slots import SlotStore
from tests.power_cut.cuts import CutRules, cuts_of
from tests.power_cut.disk import Base, Operation, SimulatedDisk, Snapshot
from tests.power_cut.updater_judge import (
    NOTHING,
    Grub,
    Volume,
    clause_proven,
    clause_startable,
    next_version,
    version_in,
)
from tests.volumes import empty_esp, initramfs, kernel

SMALL_PIECE = 4096
"""Bytes that one write of the product takes here, so that a file takes several."""
MAX_STARTS = 8
KEPT_VIOLATIONS = 20

FILES = {
    name: (kernel(number, 26_000 + number), initramfs(number, 14_000))
    for number, name in enumerate(("old", "new", "bad new", "newer"), start=1)
}
VERSIONS = {files: name for name, files in FILES.items()}


@dataclass(frozen=True)
class Scenario:
    """One life of an ESP.

    Attributes:
        wanted: the version that the OS stages.
        insists: it stages again after a cut until the new version was tried.
        before: versions in slots a (proven) and b, and whether b was tried and failed.
        end: the version that runs in the end, if there is no cut.
    """

    name: str
    wanted: str
    end: str
    insists: bool = False
    other: str = ""
    sector_size: int = 512


SCENARIOS = (
    Scenario("a good new updater", "new", "new"),
    Scenario("a good one, staged until it is there", "new", "new", insists=True),
    Scenario("a bad one", "bad new", "old"),
    Scenario("a good one over a bad one", "newer", "newer", other="bad new"),
    Scenario("a good one, 4096-byte sectors", "new", "new", sector_size=4096),
)


@dataclass(frozen=True)
class State:
    """A machine that is off: its disk, and whether the OS has asked already."""

    content: Snapshot
    has_asked: bool = False

    @property
    def key(self) -> tuple[int, bool]:
        """Equal for machines that go on alike."""
        return self.content.key, self.has_asked


@dataclass(frozen=True)
class Start:
    """One power-on without a cut."""

    log: list[Operation]
    after: State
    version: str
    problem: str = ""


@dataclass
class Result:
    """What a walk found."""

    scenario: str
    writes: int = 0
    flushes: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    disks: set[tuple[int, bool]] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def blame(self, clause: str, label: str, seen: str) -> None:
        """Note a broken promise."""
        self.violations.append(f"{clause}: {seen} ({label})")


@contextmanager
def small_pieces() -> Iterator[None]:
    """Have the product write little at a time."""
    with patch.object(product, "PIECE", SMALL_PIECE):
        yield


@cache
def first_state(scenario: Scenario) -> State:
    """A machine whose slot a holds the old version and is the proven one."""
    content = Snapshot(Base(empty_esp(scenario.sector_size)))
    disk = SimulatedDisk(content, scenario.sector_size)
    store = SlotStore(disk)
    store.write("a", *FILES["old"])
    store.prove("a")
    if scenario.other:
        store.write("b", *FILES[scenario.other])
        store.try_once("b")
        Grub(disk).start()
    return State(disk.content)


def power_on(
    scenario: Scenario, state: State, grub: Callable[[SimulatedDisk], Grub] = Grub
) -> Start:
    """GRUB, the updater, and what the OS does where the updater is good."""
    disk = SimulatedDisk(state.content, scenario.sector_size)
    slot = grub(disk).start()
    version = version_in(Volume(disk.content), slot, VERSIONS)
    asked, problem = state.has_asked, ""
    if version in FILES and not version.startswith("bad"):
        try:
            store = SlotStore(disk)
            prove(store, slot)
            is_wanted = scenario.insists and version != scenario.wanted
            if not asked or (is_wanted and store.marks().tried == ""):
                asked = True
                stage(store, *FILES[scenario.wanted], slot)
        except BootsvcError as exc:
            problem = f"{type(exc).__name__}: {exc}"
    return Start(disk.log, State(disk.content, asked), version, problem)


class Walk:
    """All cuts of one scenario."""

    def __init__(
        self, scenario: Scenario, *, every: int = 1, grub: Callable[[SimulatedDisk], Grub] = Grub
    ) -> None:
        """``every``: of the disks that a first cut leaves, only each so many is cut again."""
        self._scenario = scenario
        self._every = every
        self._grub = grub
        self.result = Result(scenario.name)
        volume = Volume(first_state(scenario).content)
        found = [volume.find(f"/bootsvc/{name}") for name in ("try.env", "proven.env")]
        self._records = [volume.offset(one[0][0]) for one in found if one]
        self._settled: dict[tuple[int, bool], str] = {}

    def run(self) -> Result:
        """Walk the run without cuts, every cut of it, and every cut after those."""
        with small_pieces():
            self._run()
        return self.result

    def _run(self) -> None:
        scenario, state = self._scenario, first_state(self._scenario)
        end, distinct = "", 0
        for number in range(MAX_STARTS):
            start = self._start(state, f"{number}")
            self.result.writes += sum(type(one).__name__ == "Written" for one in start.log)
            self.result.flushes += sum(type(one).__name__ == "Flushed" for one in start.log)
            for label, cut in self._cuts(state, start, f"{number}", thorough=True):
                if cut.key in self.result.disks:
                    continue
                self._judge(state, cut, label)
                distinct += 1
                if distinct % self._every == 0:
                    self._again(cut, label)
            end = start.version
            if start.after.key == state.key:
                break
            state = start.after
        if end != scenario.end:
            self.result.blame("updated", "no cut", f"{end or NOTHING} runs in the end")

    def _again(self, state: State, label: str) -> None:
        """Cut the start that follows a first cut."""
        start = self._start(state, label)
        for deeper, cut in self._cuts(state, start, f"{label}/0", thorough=False):
            if cut.key not in self.result.disks:
                self._judge(state, cut, deeper)

    def _cuts(
        self, state: State, start: Start, label: str, *, thorough: bool
    ) -> Iterator[tuple[str, State]]:
        rules = CutRules(self._scenario.sector_size, self._records, is_thorough=thorough)
        for cut in cuts_of(state.content, start.log, rules):
            self.result.cuts[cut.kind] += 1
            yield f"{label}:{cut.label}", State(cut.content, start.after.has_asked)

    def _judge(self, before: State, cut: State, label: str) -> None:
        self.result.disks.add(cut.key)
        size = self._scenario.sector_size
        for clause, seen in (
            ("startable", clause_startable(cut.content, size, VERSIONS)),
            ("proven", clause_proven(before.content, cut.content)),
        ):
            if seen:
                self.result.blame(clause, label, seen)
        self.result.ends[self._settle(cut, label)] += 1

    def _start(self, state: State, label: str) -> Start:
        start = power_on(self._scenario, state, self._grub)
        if start.problem:
            self.result.blame("no error", label, start.problem)
        return start

    def _settle(self, state: State, label: str) -> str:
        """The version at rest, without further cuts."""
        known = self._settled.get(state.key)
        if known is not None:
            return known
        first, bad_starts = state, 0
        for _ in range(MAX_STARTS):
            start = self._start(state, label)
            bad_starts += start.version.startswith("bad")
            if start.after.key == state.key:
                break
            state = start.after
        else:
            self.result.blame("at rest", label, f"still changing after {MAX_STARTS} starts")
        if bad_starts > 1:
            self.result.blame("once", label, f"a bad updater was started {bad_starts} times")
        version = next_version(state.content, self._scenario.sector_size, VERSIONS)
        if version.startswith("bad") or version == NOTHING:
            self.result.blame("at rest", label, f"{version} is what it comes to")
        self._settled[first.key] = version
        return version


def table(results: Sequence[Result]) -> str:
    """One line for each scenario."""
    lines = [
        f"{'scenario':40} {'writes':>6} {'flushes':>7} {'cuts':>8} {'disks':>7} {'broken':>6}  ends"
    ]
    for one in results:
        ends = ", ".join(f"{name} {count:,}" for name, count in sorted(one.ends.items()))
        lines.append(
            f"{one.scenario:40} {one.writes:6} {one.flushes:7} {one.cuts.total():8,}"
            f" {len(one.disks):7,} {len(one.violations):6,}  {ends}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk all scenarios; 0: every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.power_cut.updater_slots")
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="cut only each Nth disk again (default: 1)",
    )
    args = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    begun = time.monotonic()
    results = [Walk(scenario, every=args.every).run() for scenario in SCENARIOS]
    show(table(results))
    violations = [words for one in results for words in one.violations]
    for words in violations[:KEPT_VIOLATIONS]:
        show(f"BROKEN {words}")
    verdict = "NOT PROVED" if violations else "every promise was kept"
    disks = sum(len(one.disks) for one in results)
    took = duration(time.monotonic() - begun)
    show(f"\n{verdict}: {disks:,} distinct disks of the updater, {took}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
