"""The graph of states: from every start its cuts, from every cut its starts.

A state is a disk and an environment; one step is one power-on. Depth 1 are the cuts of the run
without cuts, depth 2 the cuts of every start that follows a first cut; equal states are merged and
judged once, along their uncut successors. Depth 3 is a seeded random choice.

A label names a state: the scenario, then for each cut the number of the start that it fell into
and the cut itself, such as ``update/1:torn@17+3/0:prefix@4``.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.power_cut import oracle
from tests.power_cut.cuts import CutRules, cuts_of
from tests.power_cut.disk import Snapshot
from tests.power_cut.oracle import Fate
from tests.power_cut.parsed import forget
from tests.power_cut.results import Outcome, Violation
from tests.power_cut.scenarios import Scenario
from tests.power_cut.view import Record, View, end_of, look, newest_record
from tests.power_cut.world import (
    Key,
    State,
    Step,
    after_cut,
    facts_of,
    first_state,
    operations,
    power_on,
)

KEPT_VIOLATIONS = 100
GOES_DEEPER = 0.02
"""The share of second cuts that may be followed by third ones."""

THIRD_CUTS_SHARE = 0.03
"""The share of the third cuts of one start that is tried."""


def nobody_listens(_: int, __: int) -> None:
    """For a walk that nobody watches."""


@dataclass(frozen=True)
class Plan:
    """How much of the graph is walked.

    Attributes:
        shard, shards: this walk takes the ``shard``-th of ``shards`` ranges of the first cuts.
        every: of the first cuts every so-many-th is looked at.
        share: of the second cuts that follow, the share that is looked at, 0 to 1.
        third_cuts: how many third cuts are tried.
        seed: of all choices.
    """

    shard: int = 0
    shards: int = 1
    every: int = 1
    share: float = 1.0
    third_cuts: int = 500
    seed: int = 0


@dataclass(frozen=True)
class FirstCut:
    """A cut of the run without cuts; ``t`` is the operation's number in that whole run."""

    t: int
    kind: str
    label: str
    state: State


@dataclass
class Walk:
    """What one walk over the graph of a scenario has found.

    Attributes:
        listen: is told how many first cuts were done with, and how many power-ons were run, since
            it was told last.
        fates: of every state that was stepped.
        found: every distinct disk that a cut left, by its key: what came of it, and how many cuts
            first led there.
        cuts: how many cuts were made, by kind.
        first_outcomes: of each first cut.
        steps: power-ons that were run.
    """

    scenario: Scenario
    plan: Plan
    listen: Callable[[int, int], None] = nobody_listens
    fates: dict[Key, Fate] = field(default_factory=dict)
    found: dict[int, tuple[Outcome, int]] = field(default_factory=dict)
    cuts: Counter[str] = field(default_factory=Counter)
    first_outcomes: list[tuple[FirstCut, Outcome]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    violations_in_all: int = 0
    steps: int = 0
    _records: dict[int, Record | None] = field(default_factory=dict)
    _views: dict[int, View] = field(default_factory=dict)
    _pending: set[Key] = field(default_factory=set)
    _expanded: set[Key] = field(default_factory=set)
    _deep: list[tuple[State, str]] = field(default_factory=list)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        forget()
        self._random = random.Random(f"{self.plan.seed} {self.plan.shard}")

    # --- the walk -------------------------------------------------------------------------------

    def run(self) -> None:
        """Walk as the plan says."""
        every = list(self.first_cuts())
        shard, shards = self.plan.shard, self.plan.shards
        begin, end = len(every) * shard // shards, len(every) * (shard + 1) // shards
        own = every[begin:end][:: self.plan.every]
        self._pending = {cut.state.key for cut in every}
        for cut in own:
            outcome = self._settled(cut.state, cut.label, cut.kind, depth=1)
            self.first_outcomes.append((cut, outcome))
        self.listen(0, self.steps)
        for cut in own:
            steps = self.steps
            self._cut_again(cut)
            self.listen(1, self.steps - steps)
        self._third_cuts()

    def uncut_run(self) -> list[Step]:
        """The starts of the run without cuts, until one changes nothing."""
        return list(self.chain(first_state(self.scenario)))

    def first_cuts(self) -> Iterator[FirstCut]:
        """The cuts of the run without cuts, one for each state that they leave."""
        self.settle(first_state(self.scenario), self.scenario.name, "")
        t, seen = 0, set()
        is_first_shard = self.plan.shard == 0
        for index, step in enumerate(self.uncut_run()):
            before = self._record_of(step.before.content)
            for cut in cuts_of(step.before.content, step.log, self._rules(depth=1)):
                state = after_cut(step, cut.content, cut.at)
                label = f"{self.scenario.name}/{index}:{cut.label}"
                if is_first_shard:
                    self.cuts[cut.kind] += 1
                    self._judge_records(before, cut.content, label, cut.kind)
                if state.key not in seen:
                    seen.add(state.key)
                    yield FirstCut(t + cut.at, cut.kind, label, state)
            t += len(operations(step.log))

    def _cut_again(self, first: FirstCut) -> None:
        """All second cuts after ``first``, but those in starts that were cut already."""
        for index, step in enumerate(self.chain(first.state)):
            if step.before.key in self._expanded:
                return
            self._expanded.add(step.before.key)
            for state, label, kind in self._cuts_in(
                step, f"{first.label}/{index}", self.plan.share
            ):
                if state.key in self._pending:
                    continue
                is_new = state.key not in self.fates
                self._settled(state, label, kind, depth=2)
                if is_new and self._random.random() < GOES_DEEPER:
                    self._deep.append((state, label))

    def _cuts_in(self, step: Step, label: str, share: float) -> Iterator[tuple[State, str, str]]:
        """A share of the cuts of a later start: state, label, kind; each is held against the disk
        before."""
        before = self._record_of(step.before.content)
        for cut in cuts_of(step.before.content, step.log, self._rules(depth=2)):
            if share < 1 and self._random.random() >= share:
                continue
            self.cuts[cut.kind] += 1
            cut_label = f"{label}:{cut.label}"
            self._judge_records(before, cut.content, cut_label, cut.kind)
            yield after_cut(step, cut.content, cut.at), cut_label, cut.kind

    def _third_cuts(self) -> None:
        """Seeded third cuts, after second cuts chosen by the same seed."""
        self._random.shuffle(self._deep)
        left = self.plan.third_cuts // self.plan.shards
        for second, label in self._deep:
            for index, step in enumerate(self.chain(second)):
                cuts = self._cuts_in(step, f"{label}/{index}", THIRD_CUTS_SHARE)
                for state, cut_label, kind in cuts:
                    if left <= 0:
                        return
                    left -= 1
                    if state.key not in self._pending:
                        self._settled(state, cut_label, kind, depth=3)

    def _rules(self, depth: int) -> CutRules:
        return CutRules(
            self.scenario.sector_size,
            self.scenario.truth.copies,
            is_thorough=depth == 1,
            seed=self.plan.seed,
        )

    def cut_state(self, state: State, index: int, label: str, depth: int) -> State | None:
        """The state that the cut with this label leaves in start ``index`` after ``state``."""
        for number, step in enumerate(self.chain(state)):
            if number == index:
                cuts = cuts_of(step.before.content, step.log, self._rules(depth))
                found = next((cut for cut in cuts if cut.label == label), None)
                return after_cut(step, found.content, found.at) if found else None
        return None

    def chain(self, state: State) -> Iterator[Step]:
        """The starts that follow ``state`` without cuts, until one changes nothing."""
        for _ in range(oracle.MAX_STARTS):
            step = power_on(self.scenario, state)
            yield step
            if step.is_rest:
                return
            state = step.after

    # --- judging --------------------------------------------------------------------------------

    def _settled(self, state: State, label: str, kind: str, depth: int) -> Outcome:
        """Judge a disk that a cut left; its outcome."""
        fate = self.settle(state, label, kind)
        outcome = outcome_of(self.scenario, fate)
        self.found.setdefault(state.content.key, (outcome, depth))
        return outcome

    def settle(self, state: State, label: str, kind: str) -> Fate:
        """Start the machine until it rests, judging every start that was not judged before."""
        path: dict[Key, tuple[State, View, str]] = {}
        fate: Fate | None = None
        while fate is None:
            if state.key in self.fates:
                fate = self.fates[state.key]
            elif state.key in path or len(path) > oracle.MAX_STARTS:
                fate = Fate(len(path), None, ())
            else:
                step = power_on(self.scenario, state)
                self.steps += 1
                view = self._view(state.content)
                runs = self._judge_step(step, view, label, kind)
                path[state.key] = state, view, runs
                if step.is_rest:
                    end = end_of(self.scenario.truth, view, starts=bool(step.booted))
                    fate = Fate(0, end, ())
                state = step.after
        for known, view, runs in reversed(path.values()):
            fate = Fate(fate.starts + 1, fate.end, with_in_front(runs, fate.runs))
            self.fates[known.key] = fate
            self._judge_fate(view, fate, label, kind)
        return fate

    def _view(self, content: Snapshot) -> View:
        if content.key not in self._views:
            self._views[content.key] = look(self.scenario.truth, content)
        return self._views[content.key]

    def _judge_step(self, step: Step, view: View, label: str, kind: str) -> str:
        """Judge one start; the image that ran."""
        truth = self.scenario.truth
        facts = facts_of(step, self._view)
        for disk_clause in oracle.DISK_CLAUSES:
            self._note(disk_clause.__name__, disk_clause(truth, view), label, kind)
        for step_clause in oracle.STEP_CLAUSES:
            self._note(step_clause.__name__, step_clause(truth, facts), label, kind)
        self._judge_records(view.record, step.after.content, label, kind)
        return facts.runs

    def _judge_records(
        self, earlier: Record | None, content: Snapshot, label: str, kind: str
    ) -> None:
        later = self._record_of(content)
        for clause in oracle.RECORD_CLAUSES:
            self._note(clause.__name__, clause(earlier, later), label, kind)

    def _judge_fate(self, view: View, fate: Fate, label: str, kind: str) -> None:
        for clause in oracle.FATE_CLAUSES:
            seen = clause(self.scenario.truth, view, fate)
            self._note(clause.__name__, seen, label, kind)

    def _record_of(self, content: Snapshot) -> Record | None:
        if content.key not in self._records:
            self._records[content.key] = newest_record(self.scenario.truth, content)
        return self._records[content.key]

    def _note(self, clause: str, seen: str | None, label: str, kind: str) -> None:
        if seen is None:
            return
        self.violations_in_all += 1
        if len(self.violations) < KEPT_VIOLATIONS:
            self.violations.append(Violation(clause, self.scenario.name, label, kind, seen))


def with_in_front(name: str, runs: tuple[str, ...]) -> tuple[str, ...]:
    """``runs`` with ``name`` in front, unless it is there already, or nothing ran."""
    return runs if not name or runs[:1] == (name,) else (name, *runs)


def outcome_of(scenario: Scenario, fate: Fate) -> Outcome:
    """The documented end that the run without cuts has, another one, or none."""
    if fate.end == scenario.end:
        return "went_on"
    return "fell_back" if fate.end in scenario.fallbacks else "bricked"
