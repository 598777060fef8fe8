"""The whole proof: the walks of all scenarios, shared out among processes, put together again."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized

from tests.power_cut.cuts import KINDS
from tests.power_cut.explore import KEPT_VIOLATIONS, Plan, Walk
from tests.power_cut.results import (
    OUTCOMES,
    CopyingPhase,
    FirstCutOutcome,
    Outcome,
    ProofResult,
    ScenarioResult,
    Violation,
)
from tests.power_cut.scenarios import BY_NAME, Scenario
from tests.power_cut.timeline import copying_of, counts_of, moments_of

LEAST_WRITES = 8
LEAST_EPOCHS = 3
"""What each copying phase must be cut into, so that its cuts mean something."""

FIRST_CUTS_OF_A_SHARD = 1500
FULL = Plan(third_cuts=4000)
SAMPLE = Plan(every=16, share=0.004, third_cuts=20)
LOOK_EVERY_S = 1.0

Watcher = Callable[[int, int, int], None]
"""Hears how many first cuts are done, of how many, and how many power-ons that took."""


def nobody_watches(_: int, __: int, ___: int) -> None:
    """For a proof that nobody watches."""


@dataclass(frozen=True)
class Part:
    """What one walk brings home."""

    scenario: str
    shard: int
    cuts: Counter[str]
    found: dict[int, tuple[Outcome, int]]
    first_cuts: tuple[FirstCutOutcome, ...]
    violations: tuple[Violation, ...]
    violations_in_all: int
    steps: int
    wall_s: float
    cpu_s: float


def walk(name: str, plan: Plan, listen: Callable[[int, int], None] | None = None) -> Part:
    """Walk one shard of one scenario; ``listen`` hears of first cuts done and power-ons run."""
    begun, used = time.monotonic(), time.process_time()
    one = Walk(BY_NAME[name], plan)
    if listen is not None:
        one.listen = listen
    one.run()
    return Part(
        name,
        plan.shard,
        one.cuts,
        one.found,
        tuple(
            FirstCutOutcome(cut.t, cut.kind, outcome, cut.label)
            for cut, outcome in one.first_outcomes
        ),
        tuple(one.violations),
        one.violations_in_all,
        one.steps,
        time.monotonic() - begun,
        time.process_time() - used,
    )


def prove(
    scenarios: Sequence[Scenario],
    plan: Plan,
    jobs: int = 2,
    watcher: Watcher = nobody_watches,
) -> ProofResult:
    """Walk all ``scenarios`` in ``jobs`` processes."""
    begun = time.monotonic()
    sizes = {one.name: sum(1 for _ in Walk(one, plan).first_cuts()) for one in scenarios}
    tasks = list(_tasks(sizes, plan, jobs))
    total = sum(-(-size // plan.every) for size in sizes.values())
    parts: dict[str, list[Part]] = {one.name: [] for one in scenarios}
    for part in _run_tasks(tasks, jobs, total, watcher):
        parts[part.scenario].append(part)
    results = tuple(put_together(one, parts[one.name]) for one in scenarios)
    is_sample = plan.every > 1 or plan.share < 1
    return ProofResult(results, jobs, plan.seed, is_sample, time.monotonic() - begun)


def _tasks(sizes: dict[str, int], plan: Plan, jobs: int) -> Iterator[tuple[str, Plan]]:
    """The shards of all scenarios, those of the biggest first.

    Many scenarios keep all processes busy whole; shards of one find some disks twice.
    """
    are_many = len(sizes) >= 4 * jobs
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        shards = jobs if sizes[name] > FIRST_CUTS_OF_A_SHARD and not are_many else 1
        for shard in range(shards):
            yield name, replace(plan, shard=shard, shards=shards)


_done: Synchronized[int]
_steps: Synchronized[int]


def _begin_worker(done: Synchronized[int], steps: Synchronized[int]) -> None:
    global _done, _steps
    _done, _steps = done, steps


def _count(done: int, steps: int) -> None:
    with _done.get_lock():
        _done.value += done
        _steps.value += steps


def _walk_in_worker(task: tuple[str, Plan]) -> Part:
    return walk(*task, _count)


def _run_tasks(
    tasks: Iterable[tuple[str, Plan]], jobs: int, total: int, watcher: Watcher
) -> Iterator[Part]:
    context = multiprocessing.get_context("fork")
    done, steps = context.Value("q", 0), context.Value("q", 0)
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin_worker, initargs=(done, steps)
    ) as pool:
        running = {pool.submit(_walk_in_worker, task) for task in tasks}
        while running:
            ended, running = wait(running, timeout=LOOK_EVERY_S)
            for one in ended:
                yield one.result()
            watcher(done.value, total, steps.value)


def put_together(scenario: Scenario, parts: Sequence[Part]) -> ScenarioResult:
    """The result of a scenario from its shards; a disk found by several counts once."""
    ordered = sorted(parts, key=lambda part: part.shard)
    found: dict[int, tuple[Outcome, int]] = {}
    for part in ordered:
        for key, (outcome, depth) in part.found.items():
            known = found.get(key)
            found[key] = (outcome, depth if known is None else min(depth, known[1]))
    steps = Walk(scenario, Plan()).uncut_run()
    timeline = tuple(moments_of(steps))
    copying = tuple(copying_of(timeline))
    writes, flushes = counts_of(steps)
    cuts = sum((part.cuts for part in ordered), Counter())
    outcomes = Counter(outcome for outcome, _ in found.values())
    violations = [one for part in ordered for one in part.violations]
    return ScenarioResult(
        name=scenario.name,
        about=scenario.about,
        sector_size=scenario.sector_size,
        writes=writes,
        flushes=flushes,
        copying=copying,
        cuts={kind: cuts[kind] for kind in KINDS},
        distinct_disks=len(found),
        depths=dict(sorted(Counter(depth for _, depth in found.values()).items())),
        outcomes={name: outcomes[name] for name in OUTCOMES},
        violations=tuple(violations[:KEPT_VIOLATIONS]),
        violations_in_all=sum(part.violations_in_all for part in ordered),
        shortfalls=tuple(shortfalls(scenario, copying, cuts)),
        steps=sum(part.steps for part in ordered),
        wall_s=round(sum(part.wall_s for part in ordered), 2),
        cpu_s=round(sum(part.cpu_s for part in ordered), 2),
        timeline=timeline,
        first_cuts=tuple(cut for part in ordered for cut in part.first_cuts),
    )


def shortfalls(
    scenario: Scenario, copying: Sequence[CopyingPhase], cuts: Counter[str]
) -> Iterator[str]:
    """Why the run proves less than it seems to: too few writes, epochs or cuts."""
    phases = [one.phase for one in copying]
    if sorted(phases) != sorted(scenario.copies):
        yield f"copying phases are {phases}, not {list(scenario.copies)}"
    for one in copying:
        if one.writes < LEAST_WRITES or one.epochs < LEAST_EPOCHS:
            yield f"{one.phase} made {one.writes} writes in {one.epochs} flush epochs"
    for kind in KINDS if scenario.copies else ("prefix", "nothing", "torn_record"):
        if not cuts[kind]:
            yield f"no cut of kind {kind}"
