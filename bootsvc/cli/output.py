"""What the command shows: results on standard output, errors and progress on standard error."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from bootsvc.errors import BootsvcError
from bootsvc.units import describe_size

PLAIN_INTERVAL_S = 5.0
BAR_INTERVAL_S = 0.1
BAR_WIDTH = 24


def show(text: str) -> None:
    """One or more lines of the result."""
    print(text)


def show_json(document: object) -> None:
    """The result for programs."""
    print(json.dumps(document, indent=2))


def show_note(text: str) -> None:
    """A line beside the result, which programs that read the result do not see."""
    print(text, file=sys.stderr)


def show_error(error: BootsvcError) -> None:
    """What went wrong, and the next step."""
    print(f"bootsvc: {error}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


def duration(seconds: float) -> str:
    """``0:05``, ``12:34`` or ``1:02:03``."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def progress_text(work: str, done: int, total: int, elapsed_s: float) -> str:
    """Share, bytes, rate and remaining time in words; pure."""
    share = min(1.0, done / total) if total else 1.0
    text = f"{work}: {int(share * 100):3d} %  {describe_size(done)} of {describe_size(total)}"
    if elapsed_s >= 0.5 and done:
        rate = done / elapsed_s
        text += f"  {describe_size(int(rate))}/s"
        if done < total:
            text += f"  {duration((total - done) / rate)} left"
    return text


def progress_bar(work: str, done: int, total: int, elapsed_s: float, width: int) -> str:
    """``progress_text`` behind a bar, cut to ``width`` columns; pure."""
    share = min(1.0, done / total) if total else 1.0
    filled = int(share * BAR_WIDTH)
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    return f"[{bar}] {progress_text(work, done, total, elapsed_s)}"[: max(20, width - 1)]


class Progress:
    """Shows the progress of one piece of work.

    On a terminal a bar that is drawn anew; elsewhere a plain line every 5 seconds, so that a log
    is not filled and a watcher still sees life.
    """

    def __init__(
        self,
        work: str,
        total: int,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work = work
        self.total = total
        self.done = 0
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._begun = self._drawn = clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return self._clock() - self._begun

    def tick(self, count: int) -> None:
        """``count`` more bytes are done."""
        self.done += count
        interval = BAR_INTERVAL_S if self._is_terminal else PLAIN_INTERVAL_S
        if self._clock() - self._drawn >= interval:
            self._drawn = self._clock()
            self._draw()

    def end(self) -> None:
        """The work ended, well or not; leaves the cursor on a line of its own."""
        if self._is_terminal:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def _draw(self) -> None:
        facts = (self.work, self.done, self.total, self.elapsed_s)
        if self._is_terminal:
            width = shutil.get_terminal_size().columns
            self._stream.write(f"\r{progress_bar(*facts, width)}\x1b[K")
        else:
            self._stream.write(progress_text(*facts) + "\n")
        self._stream.flush()


@contextmanager
def progress(work: str, total: int) -> Iterator[Progress]:
    """Progress on standard error for the length of a with statement."""
    shown = Progress(work, total, sys.stderr)
    try:
        yield shown
    finally:
        shown.end()
