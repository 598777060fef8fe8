"""``python -m tests.fuzz [TARGET...]``: fuzz the parsers for a set time each and tell the outcome.

Work goes to ``build/fuzz/``: for each target its minimised corpus, its findings and a log.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bootsvc.units import MIB, describe_size
from tests.fuzz import corpus
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

TREE = Path(__file__).parents[2]
WORK = TREE / "build" / "fuzz"
INTERPRETER_MIB = 256
"""What Python, libFuzzer and its corpus need beside the target's own memory."""

ENGINE_BROKEN = 1
"""What Python exits with; libFuzzer's own codes for findings are 70 and above."""


@dataclass(frozen=True)
class Result:
    """What fuzzing one target came to."""

    target: Target
    executions: int
    per_second: int
    edges: int
    inputs: int
    findings: tuple[Path, ...]
    kept: int = 0

    def row(self) -> str:
        numbers = (self.executions, self.per_second, self.edges, self.inputs, self.kept)
        columns = "".join(f"{number:11}" for number in (*numbers, len(self.findings)))
        return f"{self.target.name:20}{columns}"


HEADING = f"{'target':20}" + "".join(
    f"{name:>11}" for name in ("executions", "per second", "edges", "corpus", "kept", "findings")
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing found; 1: at least one finding."""
    parser = _parser()
    args = parser.parse_args(arguments)
    unknown = [name for name in args.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target named {unknown[0]}; there are {', '.join(TARGETS)}")
    if args.repeat and len(args.targets) != 1:
        parser.error("--repeat needs the name of one target")
    targets = [TARGETS[name] for name in args.targets or TARGETS]
    if args.list:
        print("\n".join(map(_bounds, targets)))
        return 0
    if args.repeat:
        return _repeat(targets[0], args.repeat)
    print(HEADING, flush=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        results = []
        for result in pool.map(lambda one: _fuzz(one, args.seconds, keeps=args.keep), targets):
            print(result.row(), flush=True)
            results.append(result)
    for result in results:
        for path in result.findings:
            where = path.relative_to(TREE)
            print(f"repeat: python -m tests.fuzz {result.target.name} --repeat {where}")
    return int(any(result.findings for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at one time (1)")
    parser.add_argument(
        "--keep", action="store_true", help="add the few inputs that reach most to the tree"
    )
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="run TARGET on one input")
    parser.add_argument("--list", action="store_true", help="show what each target may do")
    return parser


def _bounds(target: Target) -> str:
    errors = ", ".join(error.__name__ for error in target.allowed) or "none"
    return (
        f"{target.name:20} {describe_size(target.memory):>10}  {target.seconds} s  "
        f"inputs to {describe_size(target.longest):>8}  errors: {errors}"
    )


def _repeat(target: Target, path: Path) -> int:
    outcome = target.try_within_bounds(path.read_bytes())
    print(f"{target.name}: {outcome or 'accepted'}")
    return 0


def _fuzz(target: Target, seconds: int, *, keeps: bool) -> Result:
    place = WORK / target.name
    found, seeds, findings, earlier = (
        place / name for name in ("corpus", "seeds", "findings", "earlier")
    )
    for folder in (seeds, earlier):
        shutil.rmtree(folder, ignore_errors=True)
    if findings.is_dir():
        findings.rename(earlier)  # inputs like any other: what still is a finding is found again
    for folder in (found, seeds, findings, earlier):
        folder.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(target.seeds()):
        (seeds / str(index)).write_bytes(seed)
    words = place / "words"
    words.write_text("".join(f"{_quoted(word)}\n" for word in (*target.words, b"\0\0")))
    stored = corpus.FOLDER / target.corpus
    log = _run(
        target,
        *(f"-max_total_time={seconds}", "-print_final_stats=1", "-reload=0", f"-dict={words}"),
        *(str(found), str(seeds), str(earlier), *([str(stored)] if stored.is_dir() else [])),
    )
    _minimise(target, found)
    kept = corpus.keep(target, [path.read_bytes() for path in found.iterdir()]) if keeps else 0
    return Result(
        target,
        executions=_number(r"stat::number_of_executed_units: (\d+)", log),
        per_second=_number(r"stat::average_exec_per_sec: +(\d+)", log),
        edges=_number(r" cov: (\d+)", log),
        inputs=len(list(found.iterdir())),
        findings=tuple(sorted(path for path in findings.iterdir() if path.suffix != ".txt")),
        kept=kept,
    )


def _minimise(target: Target, found: Path) -> None:
    """Leave in ``found`` only what is needed to reach all that it reaches."""
    fewer = found.with_name("fewer")
    shutil.rmtree(fewer, ignore_errors=True)
    fewer.mkdir()
    _run(target, "-merge=1", str(fewer), str(found))
    shutil.rmtree(found)
    fewer.rename(found)


def _run(target: Target, *flags: str) -> str:
    """Run the engine to its end and return its log."""
    place = WORK / target.name
    paths = os.pathsep.join(str(TREE / part) for part in ("", "qemu-lab"))
    command = [
        *(sys.executable, str(Path(__file__).with_name("engine.py")), target.name),
        *(str(place / "findings"), f"-artifact_prefix={place / 'findings'}/"),
        *(f"-max_len={target.longest}", f"-timeout={target.seconds}"),
        f"-rss_limit_mb={INTERPRETER_MIB + target.memory // MIB}",
        *flags,
    ]
    with (place / "log").open("ab+") as log:
        start = log.tell()
        # Safe path: a module of this folder must never stand for one of the standard library's.
        environment = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
        done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
        if done.returncode == ENGINE_BROKEN:
            raise SystemExit(f"{target.name}: the fuzzer cannot work: see {place / 'log'}")
        log.seek(start)
        return log.read().decode("utf-8", "replace")


def _number(pattern: str, log: str) -> int:
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def _quoted(word: bytes) -> str:
    """A line of libFuzzer's dictionary."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


if __name__ == "__main__":
    sys.exit(main())
