"""One fuzzer at work on one target, in a process of its own: ``engine.py TARGET FINDINGS FLAG...``.

The flags are libFuzzer's. An error that the target may not raise does not end the work: the input
is saved below FINDINGS, each kind of error once, and the fuzzer goes on. Hangs and exhausted memory
end it; libFuzzer then saves the input itself.
"""

from __future__ import annotations

import hashlib
import importlib
import resource
import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from tests.fuzz.target import Target

WATCHED = ("bootsvc", "elftools", "tomllib")
"""Packages whose branches guide the fuzzer."""

IMPORTED_LATE = ("elftools.elf.elffile", "tomllib")
"""What the parsers import when they first need it; by then it is too late to watch it."""

MEASURED_EVERY = 64
"""One input of so many is run a second time with its memory counted exactly."""


class Guard:
    """Gives inputs to the target and keeps those that are findings."""

    def __init__(self, target: Target, findings: Path) -> None:
        self._target = target
        self._findings = findings
        self._count = 0
        self._highest = 0

    def __call__(self, data: bytes) -> None:
        """One execution."""
        self._count += 1
        try:
            self._target.try_input(data)
            if self._is_to_measure():
                # Time is libFuzzer's: its timer and ours would be the same one.
                self._target.try_within_memory(data)
        except Exception as exc:  # noqa: BLE001  # whatever it is, it is a finding
            self._keep(data, exc)

    def _is_to_measure(self) -> bool:
        """Also where the process grew as never before."""
        before, self._highest = self._highest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return self._highest > before or self._count % MEASURED_EVERY == 0

    def _keep(self, data: bytes, exc: Exception) -> None:
        frames = traceback.extract_tb(exc.__traceback__)
        kind = f"{type(exc).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
        digest = hashlib.sha256(kind.encode()).hexdigest()
        path = self._findings / f"{self._target.name}-{digest[:12]}"
        if path.exists():
            return
        path.write_bytes(data)
        path.with_suffix(".txt").write_text("".join(traceback.format_exception(exc)))


def main() -> None:
    """Fuzz until libFuzzer's flags say that it is enough; the process ends there."""
    name, findings, *flags = sys.argv[1:]
    with atheris.instrument_imports(include=list(WATCHED)):
        for module in IMPORTED_LATE:
            importlib.import_module(module)
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    guard = Guard(target, Path(findings))
    for seed in target.seeds():
        guard(seed)
    # libFuzzer starts itself again to minimise a corpus, by a shell and by its first argument.
    itself = shlex.join([sys.executable, sys.argv[0], name, findings])
    atheris.Setup([itself, *flags], guard)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
