"""The runner's reports: kept as the record of this start, and told to whoever listens.

Nobody but ``PlainLines`` listens on an ordinary start: each change is a line on the console. While
the technician's console is open, its loop listens instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bootsvc.console.plan import next_phase
from bootsvc.console.render import progress_line, stage_line, wait_line, work_line
from bootsvc.console.reports import Progress, Report, Said, Staged, Wait, Worked
from bootsvc.sequence.actions import Action
from bootsvc.storage.image_area import CopyCounts

UNATTENDED_INTERVAL_S = 5.0
"""Between two plain lines of progress where nobody is known to look."""

TOLD_INTERVAL_S = 0.25
"""Between two reports of progress to listeners, who show as many of them as they like."""


def _nobody() -> None:
    """Nobody listens."""


def _print(line: str) -> None:
    print(line, flush=True)


class PlainLines:
    """A listener that turns each change into a line, and progress into one every few seconds.

    Attributes:
        interval_s: between two lines of progress, or of a wait.
    """

    def __init__(
        self,
        write: Callable[[str], None] = _print,
        interval_s: float = UNATTENDED_INTERVAL_S,
    ) -> None:
        self.interval_s = interval_s
        self._write = write
        self._shown_s = 0.0
        self._work = ""

    def __call__(self, report: Report) -> None:
        """Print what ``report`` says, if its time has come."""
        match report:
            case Staged(name, facts):
                self._write(stage_line(name, dict(facts)))
            case Said(text):
                self._write(f"bootsvc: {text}")
            case Worked():
                self._write(work_line(report))
                self._work = ""
            case Progress(work, _, _, seconds) if self._is_due(work, seconds):
                self._write(progress_line(report))
            case Wait(what, seconds) if self._is_due(what, seconds):
                self._write(wait_line(report))

    def _is_due(self, work: str, seconds: float) -> bool:
        """Whether ``work``, begun ``seconds`` ago, has not been shown for long enough."""
        if work != self._work or seconds < self._shown_s:
            self._work, self._shown_s = work, 0.0
        if seconds - self._shown_s < self.interval_s:
            return False
        self._shown_s = seconds
        return True


class ConsoleReporter:
    """Hears the runner and all other work of a start.

    Attributes:
        entries: what is kept as the record of the start.
        listeners: are called with every report, in the thread that works.
        on_progress: called at every step of work and at every decision: whatever hangs makes none.
        progressed_s: when work last got on, by ``time.monotonic``: a wait is none, nor is a sign
            of life.
        plan: the works that this start is expected to do, in order (``plan.works_of``).
    """

    on_progress: Callable[[], None]

    def __init__(self) -> None:
        self.on_progress = _nobody
        self.entries: list[dict[str, object]] = []
        self.listeners: list[Callable[[Report], None]] = [PlainLines()]
        self.plan: tuple[str, ...] = ()
        self.progressed_s = time.monotonic()
        self._phase = 0
        self._work = ""
        self._total = 0
        self._done = 0
        self._began = 0.0
        self._told = 0.0

    def stage(self, name: str, **facts: object) -> None:
        """A phase of work begins."""
        self.progressed_s = time.monotonic()
        self.entries.append({"at_s": round(_since_kernel_start_s(), 3), "stage": name, **facts})
        self._tell(Staged(name, facts))

    def begin(self, work: str, total: int) -> None:
        """Work on ``total`` bytes begins."""
        self._work, self._total, self._done = work, total, 0
        self._began = self._told = self.progressed_s = time.monotonic()
        self._phase = next_phase(self.plan, self._phase, work)

    def tick(self, count: int) -> None:
        """``count`` bytes of it are done."""
        self.on_progress()
        self._done = min(self._done + count, self._total)
        now = time.monotonic()
        if count:
            self.progressed_s = now
        if self._work and now - self._told >= TOLD_INTERVAL_S:
            self._told = now
            self._tell(self._progress(now))

    def end(self, counts: CopyCounts | None = None) -> None:
        """It ended; without ``counts`` it was pure reading."""
        if not self._work:
            return
        seconds = time.monotonic() - self._began
        counts = counts or CopyCounts(read=self._done)
        self.entries.append(
            {"work": self._work, "seconds": round(seconds, 3), "done": self._done, **vars(counts)}
        )
        self._tell(Worked(self._work, seconds, counts.read, counts.written, counts.skipped))
        self._work = ""

    def say(self, text: str) -> None:
        """One plain sentence."""
        self.entries.append({"at_s": round(_since_kernel_start_s(), 3), "text": text})
        self._tell(Said(text))

    def decided(self, action: Action) -> None:
        """Kept in the record of the start, not told."""
        self.on_progress()
        name = type(action).__name__.lower()
        where = {
            key: value.name.lower()
            for key in ("area", "source", "target")
            if (value := getattr(action, key, None)) is not None
        }
        self.entries.append({"decided": name, **where})

    def wait(self, what: str, limit_s: float | None, then: str) -> Callable[[], None]:
        """Something is waited for from now on (REQUIREMENTS N13).

        Args:
            what: completes "waiting for ..."; ``then``: what happens after ``limit_s`` seconds;
                None: it is waited for ever.

        Returns:
            To be called whenever it was looked for in vain; a wait is no hang.
        """
        began = time.monotonic()

        def looked() -> None:
            self.on_progress()
            since = time.monotonic() - began
            left = None if limit_s is None else max(limit_s - since, 0.0)
            self._tell(Wait(what, since, left, then))

        return looked

    def _progress(self, now: float) -> Progress:
        phases = len(self.plan) if self._phase else 0
        return Progress(self._work, self._done, self._total, now - self._began, self._phase, phases)

    def _tell(self, report: Report) -> None:
        for listener in self.listeners:
            listener(report)


def _since_kernel_start_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
