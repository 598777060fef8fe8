"""``python -m tests.power_cut``: the proof, its tables, its JSON and its page."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bootsvc.cli.output import duration, show, show_note
from tests.power_cut import mutants
from tests.power_cut.proof import FULL, SAMPLE, prove
from tests.power_cut.repeat import repeat
from tests.power_cut.report import COMMAND, repeat_line, write_html
from tests.power_cut.results import Origin, ProofResult, table, to_json
from tests.power_cut.scenarios import BY_NAME, SCENARIOS

OUT = Path("build/power-cut")
PLAIN_INTERVAL_S = 10.0
SHOWN_VIOLATIONS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove, or repeat one state; 0: every promise was kept, 2: a label that names nothing."""
    words = sys.argv[1:] if arguments is None else arguments
    args = _parser().parse_args(words)
    if args.repeat:
        return _repeat(args.repeat, args.seed)
    scenarios = [BY_NAME[name] for name in args.scenario] or list(SCENARIOS)
    plan = replace(SAMPLE if args.sample else FULL, seed=args.seed)
    origin = _origin(words)
    watcher = _Progress()
    result = replace(prove(scenarios, plan, args.jobs, watcher), origin=origin)
    watcher.end()
    show(text(result))
    all_caught = True
    if args.mutants:
        caught = _run_mutants(args.jobs)
        result = replace(result, mutants=tuple(caught))
        all_caught = mutants.all_caught(caught)
    _write(result, args.out)
    return 0 if result.holds and all_caught else 1


def _run_mutants(jobs: int) -> list[mutants.MutantResult]:
    begun = time.monotonic()
    show_note(f"\n{len(mutants.MUTANTS)} mistakes, made on purpose one at a time:")

    def tell(one: mutants.MutantResult) -> None:
        show_note(f"{duration(time.monotonic() - begun)}  {one.name}: {one.clause or 'not caught'}")

    results = mutants.run_mutants(jobs, tell)
    show("\n" + mutants.table(results))
    return results


def _write(result: ProofResult, folder: Path) -> None:
    """The JSON for programs, and the page for people."""
    folder.mkdir(parents=True, exist_ok=True)
    document = to_json(result)
    path = folder / "power-cut.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    page = folder / "power-cut.html"
    write_html(document, page)
    show(f"\nwritten: {path}, {page}")


def _origin(words: Sequence[str]) -> Origin:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    return Origin(begun, done.stdout.strip(), " ".join([COMMAND, shlex.join(words)]).rstrip())


def _repeat(label: str, seed: int) -> int:
    try:
        shown, holds = repeat(label, seed)
    except ValueError as exc:
        show_note(str(exc))
        return 2
    show(shown)
    return 0 if holds else 1


def text(result: ProofResult) -> str:
    """The table, what was broken, and the verdict."""
    lines = [table(result)]
    for one in result.scenarios:
        lines += [f"{one.name}: {shortfall}" for shortfall in one.shortfalls]
        for violation in one.violations[:SHOWN_VIOLATIONS]:
            lines += [
                f"\n{violation.clause}: {violation.seen}",
                f"  {repeat_line(violation.label, result.seed)}",
            ]
    verdict = "every promise was kept" if result.holds else "NOT PROVED"
    lines.append(
        f"\n{verdict}: {result.distinct_disks:,} distinct disks,"
        f" {result.violations_in_all:,} broken promises, {duration(result.wall_s)} with"
        f" {result.jobs} processes, seed {result.seed}"
    )
    return "\n".join(lines)


class _Progress:
    """Shows first cuts done, power-ons a second and the time that is left, on standard error."""

    def __init__(self) -> None:
        self._begun = self._shown = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int, steps: int) -> None:
        now = time.monotonic()
        if not self._is_terminal and now - self._shown < PLAIN_INTERVAL_S:
            return
        self._shown = now
        elapsed = now - self._begun
        line = f"{done:,} of {total:,} first cuts, {steps:,} power-ons, {steps / elapsed:.0f}/s"
        if 0 < done < total:
            line += f", about {duration(elapsed * (total - done) / done)} left"
        sys.stderr.write(f"\r{line}\x1b[K" if self._is_terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the cursor on a line of its own."""
        if self._is_terminal:
            sys.stderr.write("\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.power_cut",
        description="Cuts the power everywhere and proves that the machine keeps an image.",
    )
    parser.add_argument("--sample", action="store_true", help="a spread sample: under a minute")
    parser.add_argument(
        "--scenario",
        metavar="NAME",
        action="append",
        choices=BY_NAME,
        default=[],
        help="only this one; may be given again. One of: " + ", ".join(BY_NAME),
    )
    parser.add_argument(
        "--mutants",
        action="store_true",
        help="then make mistakes on purpose, each of which must be caught",
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all random choices")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=OUT,
        help=f"for JSON and page (default: {OUT})",
    )
    parser.add_argument("--repeat", metavar="LABEL", help="make one state again and show it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
