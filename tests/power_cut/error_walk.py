"""Every fault of a scenario let happen, and every start that follows judged."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from bootsvc.sequence.actions import Boot, Halt
from bootsvc.units import BLOCK_SIZE
from tests.power_cut.disk import Marked, Operation, Snapshot, Written
from tests.power_cut.error_cases import Case, cases_of, cast_of, given_up_in
from tests.power_cut.error_oracle import (
    ErrorFacts,
    Forgiving,
    LastFailure,
    failure_in,
    is_flipped,
    judge,
)
from tests.power_cut.error_results import ErrorViolation, ScenarioErrors
from tests.power_cut.failing_disk import UNREADABLE, Fault, Flip
from tests.power_cut.failing_start import FailingStart, start_failing
from tests.power_cut.fall_backs import fall_back_of, in_words
from tests.power_cut.oracle import MAX_STARTS
from tests.power_cut.scenarios import COPIES, IMAGES, KERNEL_BLOCK, PARTS, Scenario
from tests.power_cut.truth import NOBODY, End
from tests.power_cut.view import RECORD_SIZE, View, end_of, look, newest_record, proven_now
from tests.power_cut.world import HAND_OVER, State, facts_of

KEPT_VIOLATIONS = 50
FOOTER_READ = 2 * BLOCK_SIZE
"""Bytes at an area's end that a hand-over reads: manifest and locator."""


@dataclass
class ErrorWalk:
    """All faults of one scenario, and what has come of them so far."""

    scenario: Scenario
    starts: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    fall_backs: Counter[str] = field(default_factory=Counter)
    violations: list[ErrorViolation] = field(default_factory=list)
    violations_in_all: int = 0
    _views: dict[tuple[int, Flip | None, range], View] = field(default_factory=dict)
    _proven: frozenset[str] = frozenset()
    _cast: dict[str, str] = field(init=False)
    _given_up: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._cast = cast_of(self.scenario)
        self._given_up = given_up_in(self.scenario)

    def run(self, every: int = 1) -> ScenarioErrors:
        """Try every so-many-th fault."""
        begun = time.monotonic()
        cases = list(cases_of(self.scenario))
        tried = cases[len(self.scenario.name) % every :: every]
        for case in tried:
            self.outcomes.setdefault(case.fault.kind, Counter())[self.outcome_of(case)] += 1
        return ScenarioErrors(
            self.scenario.name,
            len({(case.index, case.fault.at) for case in cases}),
            dict(Counter(case.fault.kind for case in tried)),
            {kind: dict(outcomes) for kind, outcomes in self.outcomes.items()},
            dict(self.fall_backs),
            self.starts,
            tuple(self.violations),
            self.violations_in_all,
            time.monotonic() - begun,
        )

    def outcome_of(self, case: Case) -> str:
        """Let the fault happen, start the machine until it settles, judge all of it."""
        label = case.label(self.scenario)
        end: End | None = None
        for start in self.story(case):
            if start is None:
                self._note("settles", label, f"not settled after {MAX_STARTS} starts")
                return "bricked"
            end = self.end_after(start)
        assert end is not None
        return self._judge_end(case, end, label)

    def end_after(self, start: FailingStart) -> End:
        """What the machine looks like after a start, with a flipped bit put right."""
        view = self._look(start.step.after.content, start.flip)
        end = end_of(self.scenario.truth, view, starts=bool(start.step.booted))
        if self.scenario.rotten_until:
            # What was damaged before the scenario began is no news.
            altered = f", holds {NOBODY}"
            primary, backup = (one.removesuffix(altered) for one in (end.primary, end.backup))
            end = replace(end, primary=primary, backup=backup)
        return end

    def story(self, case: Case) -> Iterator[FailingStart | None]:
        """The starts from the fault on, each judged; None where there is no end to them."""
        truth = self.scenario.truth
        record = newest_record(truth, case.sound.step.before.content)
        self._proven = proven_now(truth, record) - self._given_up
        sound = self._facts(case, case.sound)
        start = self._start(case.sound.step.before, case.fault)
        flip = start.flip
        facts = self._facts(case, start, is_failing=True)
        self._judge(case, replace(facts, without_fault=sound))
        yield start
        while_failing = self._again(case, start, flip, is_failing=True)
        for one in while_failing if start.is_failing else ():
            yield one
            if one is None:
                return
            start = one
        yield from self._again(case, start, flip, is_failing=False)

    def _again(
        self, case: Case, start: FailingStart, flip: Flip | None, *, is_failing: bool
    ) -> Iterator[FailingStart | None]:
        """Start after start until the machine rests, or the sector is as good as new."""
        last: object = None
        for _ in range(MAX_STARTS):
            fault = case.fault if is_failing else None
            start = self._start(start.step.after, fault, is_failing=is_failing)
            start = replace(start, flip=flip)
            facts = self._facts(case, start, is_failing=is_failing)
            self._judge(case, facts)
            yield start
            # An OS that asks again and again keeps writing, though nothing comes of it.
            again, last = last, (facts.result, _tries_left(facts)) if is_failing else None
            if start.step.is_rest or (is_failing and last == again):
                return
            if is_failing and not start.is_failing:
                return
        yield None

    def _start(
        self, state: State, fault: Fault | None, *, is_failing: bool = False
    ) -> FailingStart:
        self.starts += 1
        return start_failing(self.scenario, state, fault, is_failing=is_failing)

    # --- judging --------------------------------------------------------------------------------

    def _judge(self, case: Case, facts: ErrorFacts) -> None:
        for clause, seen in judge(facts):
            self._note(clause, case.label(self.scenario), seen)
        self._proven = proven_now(facts.truth, facts.step.after.record) - self._given_up

    def _judge_end(self, case: Case, end: End, label: str) -> str:
        if end.request != "none":
            self._note("staging_consumed", label, f"the request {end.request} is left")
        if end in self.scenario.truth.ends():
            return (
                "went_on" if end == self.scenario.end else "fell_back" if end.starts else "halted"
            )
        words = in_words(end, self._cast)
        row = fall_back_of(case.fault.kind, case.place, words)
        if row is None:
            self._note("ends_as_documented", label, f"{case.place}: {words} ({end})")
            return "bricked"
        self.fall_backs[row.why] += 1
        return "fell_back" if end.starts else "halted"

    def _facts(self, case: Case, start: FailingStart, *, is_failing: bool = False) -> ErrorFacts:
        step, outcome, flip = start.step, start.outcome, start.flip
        truth = replace(self.scenario.truth, proven=self._proven)
        if self._is_as_delivered("primary", step.after.content):
            truth = replace(truth, rotten_until=sys.maxsize)
        bad = case.fault.sector(self.scenario.sector_size)
        if case.place.area != "status" or case.fault.kind not in UNREADABLE:
            bad = range(0)
        later = bad if start.is_failing else range(0)
        facts = facts_of(step, lambda content: self._look(content, flip, later))
        if is_failing:
            before = self._look(step.before.content, flip, bad)
            facts = replace(facts, before=before)
        at_boot = step.at_boot or step.after.content
        was = facts.before.record.failed if facts.before.record else ()
        now = facts.after.record.failed if facts.after.record else ()
        return ErrorFacts(
            truth=truth,
            fault=case.fault,
            place=case.place,
            step=facts,
            as_it_is=self._look(at_boot, None),
            loads_whole=not step.booted or _loads_whole(step.booted, at_boot),
            runs_as_delivered=self._is_as_delivered(step.booted, at_boot),
            halts=isinstance(outcome, Halt),
            alarm=outcome.alarm.name if isinstance(outcome, Boot) and outcome.alarm else "",
            told=step.told,
            failures=tuple(failures_in(step.log)),
            marked=frozenset(truth.name_of(identity) for identity in {*now} - {*was}),
            fails=is_failing or is_flipped(step.before.content, flip),
        )

    def _is_as_delivered(self, area: str, content: Snapshot) -> bool:
        """Whether an area was damaged before the scenario began, and stands as it did then."""
        if not area or not self.scenario.rotten_until:
            return False
        where = PARTS[area]
        disks = (content, Snapshot(self.scenario.base))
        now, before = (disk.read(where.start, len(where)) for disk in disks)
        return now == before

    def _look(self, content: Snapshot, flip: Flip | None, unreadable: range = range(0)) -> View:
        known = content.key, flip, unreadable
        if known not in self._views:
            disk = Forgiving(content, flip, unreadable)
            self._views[known] = look(self.scenario.truth, disk)
        return self._views[known]

    def _note(self, clause: str, label: str, seen: str) -> None:
        self.violations_in_all += 1
        if len(self.violations) < KEPT_VIOLATIONS:
            self.violations.append(ErrorViolation(clause, label, seen))


def _tries_left(facts: ErrorFacts) -> int:
    return facts.step.after.record.tries_left if facts.step.after.record else 0


def _loads_whole(booted: str, content: Snapshot) -> bool:
    """Whether a hand-over reads manifest, locator and kernel of an approved image."""
    where, at = PARTS[booted], KERNEL_BLOCK * BLOCK_SIZE
    footer = content.read(where.stop - FOOTER_READ, FOOTER_READ)
    kernel = content.read(where.start + at, BLOCK_SIZE)
    return any(
        image.footer[-FOOTER_READ:] == footer and image.content[at : at + BLOCK_SIZE] == kernel
        for image in IMAGES.values()
    )


def failures_in(log: Sequence[Operation]) -> Iterator[LastFailure]:
    """What the records name that the updater wrote."""
    for one in log:
        if isinstance(one, Marked) and one.phase == HAND_OVER:
            return
        if isinstance(one, Written) and one.offset in COPIES:
            failure = failure_in(one.data[:RECORD_SIZE])
            if failure is not None:
                yield failure
