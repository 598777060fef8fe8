"""``python -m tests.power_cut.disk_errors``: a disk that fails at every read, write and flush.

The run without faults of each scenario is recorded, the OS's own work included. Then each of its
operations fails in every way that ``failing_disk`` knows. Faults that stay, stay until the machine
has settled; then the disk is as good as before, and the machine is started until it settles again.
Every start is judged by ``error_oracle``, the end by ``fall_backs``.

What is left out: the partition table is read from a sound disk (test_disk_errors.py has its reads
fail); no bit flips in the padding behind a manifest, which nobody reads, and none to what the same
start writes there, which is no damage.

    failing_disk.py    the ways in which an operation fails, and the disk that does it
    failing_start.py   one power-on, hand-over included, on such a disk
    error_cases.py     every fault of a scenario, and where in the story it falls
    error_oracle.py    the judge's clauses, and what he forgives
    fall_backs.py      the documented ends
    error_walk.py      every fault let happen, every start judged
    error_results.py   what came of it

A label names a fault: scenario, number of the start, kind, number of the operation:
``update/1:bad-sector@17``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bootsvc.cli.output import duration, show, show_note
from tests.power_cut.error_cases import Case, cases_of
from tests.power_cut.error_results import DiskErrorResults, ScenarioErrors, table
from tests.power_cut.error_walk import ErrorWalk, failures_in
from tests.power_cut.scenarios import BY_NAME, SCENARIOS, Scenario

SAMPLE_EVERY = 29
"""Of all faults the sample tries every so-many-th; shares no factor with their kinds."""


def run_disk_errors(
    jobs: int = 2, scenarios: Sequence[Scenario] = SCENARIOS, *, sample: bool = False
) -> DiskErrorResults:
    """Try all faults of ``scenarios``, or a spread sample of them, in ``jobs`` processes."""
    begun = time.monotonic()
    every = SAMPLE_EVERY if sample else 1
    tasks = [(one.name, every) for one in scenarios]
    if jobs == 1:
        results = [_run_task(task) for task in tasks]
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
            results = list(pool.map(_run_task, tasks))
    return DiskErrorResults(tuple(results), jobs, sample, time.monotonic() - begun)


def _run_task(task: tuple[str, int]) -> ScenarioErrors:
    name, every = task
    return ErrorWalk(BY_NAME[name]).run(every)


def text(results: DiskErrorResults) -> str:
    """The table, what was broken, and the verdict."""
    lines = [table(results)]
    lines += [f"no fault of kind {kind} was tried" for kind in results.never_fired]
    for one in results.scenarios:
        for violation in one.violations:
            lines.append(f"\n{violation.clause}: {violation.seen}")
            lines.append(f"  python -m tests.power_cut.disk_errors --repeat {violation.label}")
    verdict = "every promise was kept" if results.holds else "NOT PROVED"
    starts = sum(one.starts for one in results.scenarios)
    lines.append(
        f"\n{verdict}: {results.faults:,} faults, {starts:,} starts,"
        f" {results.violations_in_all:,} broken promises, {duration(results.wall_s)}"
    )
    return "\n".join(lines)


def case_of(label: str) -> tuple[Scenario, Case]:
    """The fault with this label.

    Raises:
        ValueError: there is none.
    """
    scenario = BY_NAME.get(label.partition("/")[0])
    for case in cases_of(scenario) if scenario else ():
        if scenario and case.label(scenario) == label:
            return scenario, case
    raise ValueError(f"{label}: there is no such fault")


def repeat(label: str) -> tuple[str, bool]:
    """One fault again, start by start; whether every promise was kept.

    Raises:
        ValueError: there is no such fault.
    """
    scenario, case = case_of(label)
    walk = ErrorWalk(scenario)
    lines = [label, f"  {scenario.about}", f"  {case.fault} in {case.place}"]
    for number, start in enumerate(walk.story(case)):
        if start is not None:
            lines += ["", f"start {number}: {start.outcome}"]
            lines += [f"  {said}" for said in (*start.step.told, start.step.problem) if said]
            lines += [f"  {failure}" for failure in failures_in(start.step.log)]
            lines.append(f"  then: {walk.end_after(start)}")
    walk = ErrorWalk(scenario)
    lines += ["", f"outcome: {walk.outcome_of(case)}"]
    lines += [f"BROKEN {one.clause}: {one.seen}" for one in walk.violations]
    return "\n".join(lines), not walk.violations


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all faults, or repeat one; 0: every promise was kept, 2: a label that names nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.power_cut.disk_errors",
        description="Has the disk fail at every operation and proves that the machine keeps on.",
    )
    parser.add_argument("--sample", action="store_true", help="a spread sample: some seconds")
    parser.add_argument(
        "--scenario", metavar="NAME", action="append", choices=BY_NAME, default=[],
        help="only this one; may be given again. One of: " + ", ".join(BY_NAME),
    )  # fmt: skip
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--repeat", metavar="LABEL", help="one fault again, start by start")
    args = parser.parse_args(arguments)
    if args.repeat:
        try:
            shown, holds = repeat(args.repeat)
        except ValueError as exc:
            show_note(str(exc))
            return 2
        show(shown)
        return 0 if holds else 1
    scenarios = [BY_NAME[name] for name in args.scenario] or list(SCENARIOS)
    results = run_disk_errors(args.jobs, scenarios, sample=args.sample)
    show(text(results))
    return 0 if results.holds else 1


if __name__ == "__main__":
    sys.exit(main())
