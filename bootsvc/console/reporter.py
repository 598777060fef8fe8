"""The runner's reports as lines on the console, and as the record of this start."""

from __future__ import annotations

import time
from collections.abc import Callable

from bootsvc.console.render import progress_line, stage_line, work_line
from bootsvc.sequence.actions import Action
from bootsvc.storage.image_area import CopyCounts

PROGRESS_INTERVAL_S = 1.0


def _nobody() -> None:
    """Nobody listens."""


class ConsoleReporter:
    """Prints each change once and progress every second.

    Attributes:
        entries: what is kept as the record of the start.
        on_progress: called at every step of work and at every decision: whatever hangs makes none.
    """

    on_progress: Callable[[], None]

    def __init__(self) -> None:
        self.on_progress = _nobody
        self.entries: list[dict[str, object]] = []
        self._work = ""
        self._total = 0
        self._done = 0
        self._began = 0.0
        self._printed = 0.0

    def stage(self, name: str, **facts: object) -> None:
        """A phase of work begins."""
        self.entries.append({"at_s": round(_since_kernel_start_s(), 3), "stage": name, **facts})
        _print(stage_line(name, facts))

    def begin(self, work: str, total: int) -> None:
        """Work on ``total`` bytes begins."""
        self._work, self._total, self._done = work, total, 0
        self._began = self._printed = time.monotonic()

    def tick(self, count: int) -> None:
        """``count`` bytes of it are done."""
        self.on_progress()
        self._done = min(self._done + count, self._total)
        now = time.monotonic()
        if now - self._printed >= PROGRESS_INTERVAL_S:
            self._printed = now
            _print(progress_line(self._work, self._done, self._total, now - self._began))

    def end(self, counts: CopyCounts | None = None) -> None:
        """It ended; without ``counts`` it was pure reading."""
        if not self._work:
            return
        seconds = time.monotonic() - self._began
        counts = counts or CopyCounts(read=self._done)
        self.entries.append(
            {"work": self._work, "seconds": round(seconds, 3), "done": self._done, **vars(counts)}
        )
        _print(work_line(self._work, seconds, counts.read, counts.written, counts.skipped))
        self._work = ""

    def say(self, text: str) -> None:
        """One plain sentence."""
        self.entries.append({"at_s": round(_since_kernel_start_s(), 3), "text": text})
        _print(f"bootsvc: {text}")

    def decided(self, action: Action) -> None:
        """Kept in the record of the start, not printed."""
        self.on_progress()
        name = type(action).__name__.lower()
        where = {
            key: value.name.lower()
            for key in ("area", "source", "target")
            if (value := getattr(action, key, None)) is not None
        }
        self.entries.append({"decided": name, **where})


def _since_kernel_start_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _print(line: str) -> None:
    print(line, flush=True)
