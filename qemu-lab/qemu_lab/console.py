"""The serial console: every wait fails on bad output, and the transcript is always kept.

A `Pump` reads the socket all the time, stamps each line and follows the stages; `pexpect` does
the waiting on the text that it hands on. The console belongs to the machine, not to one QEMU
process: it lives on across a reset, and a new power-on is attached to the same transcript.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pexpect
from pexpect.socket_pexpect import SocketSpawn

from qemu_lab.deadline import Deadline
from qemu_lab.errors import BadOutputError, DeadlineError, ExpectationError, LostVMError
from qemu_lab.pump import Pump
from qemu_lab.stages import (
    PROOFS,
    Bad,
    Progress,
    Stage,
    StageSeen,
    StageTracker,
    bad_in,
    is_prompt,
    progress_of_line,
)
from qemu_lab.transcript import Line, TextCleaner, Transcript

TAIL_LINES = 30
"""How many lines of the console a failed wait shows."""

# The rest of a line, from the words that prove a stage on. The line end is part of the match,
# since a pattern that is content with half a line matches too early.
_TELLING_LINE = "|".join(
    f"(?:{proof.pattern})" + ("" if proof.prompt else r"[^\n]*\n") for proof in PROOFS
)
_PROGRESS_LINE = r"bootsvc: [a-z]+(?: [a-z]+)?\s+[\d.]+ / [^\n]*\n"


class _PumpedSpawn(SocketSpawn):  # type: ignore[misc]  # pexpect has no types
    """A SocketSpawn that takes text from the console's pump instead of from the socket.

    Sending stays pexpect's; only the reading end is replaced, because the socket is read
    whether somebody waits or not.
    """

    def __init__(self, sock: socket.socket, console: Console) -> None:
        super().__init__(sock, encoding="utf-8", codec_errors="replace")
        self._console = console
        # pexpect sleeps 50 ms before each send to let a person's terminal turn echo off.
        self.delaybeforesend = None

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> str:  # noqa: ARG002
        """All text that arrived, however much; waits up to `timeout` seconds for some."""
        return self._console.next_text(0.0 if timeout is None else max(0.0, timeout))


class Console:
    """The serial line of one machine.

    Attributes:
        transcript: what the machine said, with times; `transcript.path` is the file.
        stages: every stage that was seen, in order, with its time (for `timeline`).
    """

    def __init__(self, path: Path, clock: Callable[[], float], title: str = "console") -> None:
        """A console that writes its transcript to `path`; attach() connects it.

        Args:
            clock: seconds since the first power-on.
        """
        self.transcript = Transcript(path, clock, title)
        self.stages: list[StageSeen] = []
        self._clock = clock
        self._changed = threading.Condition()
        self._fresh: list[str] = []  # clean text not yet handed to pexpect
        self._handed = 0  # characters handed to pexpect so far
        self._bad: list[tuple[Bad, int]] = []  # with the stream offset where its line began
        self._bad_in_partial: set[Bad] = set()
        self._forgiven: dict[Bad, int] = {}  # bad output before this offset was expected
        self._expected: list[frozenset[Bad]] = []  # nested `with expecting(...)`
        self._live = StageTracker()  # at the pump: what the machine is doing now
        self._read = StageTracker()  # at the waits: what the scenario has seen
        self._prompted = False
        self._pump: Pump | None = None
        self._cleaner = TextCleaner()
        self._socket: socket.socket | None = None
        self._spawn: _PumpedSpawn | None = None
        self._ended = "the machine was never started"
        self._why_ended: Callable[[], str] = str

    # ---- connection ------------------------------------------------------------------------

    def attach(self, sock: socket.socket, note: str, why_ended: Callable[[], str]) -> None:
        """Connects the serial line of a machine that is about to start; forgets unread text.

        Args:
            note: a line for the transcript.
            why_ended: asked when QEMU closes the line by itself, for the error message.
        """
        with self._changed:
            self.transcript.note(note)
            self._cleaner = TextCleaner()
            self._ended = ""
            self._why_ended = why_ended
            self._socket = sock
        self.restart()
        self._pump = Pump("console", sock, self._take, self._end)

    def detach(self, reason: str) -> None:
        """Disconnects; `reason` is what a later wait reports ("power cut at 12.3 s")."""
        if self._pump is not None:
            self._pump.close()
            self._pump = None
        with self._changed:
            self.transcript.flush_partial()
            self.transcript.note(reason)
            self._ended = reason

    def close(self) -> None:
        """Closes the transcript; the console cannot be attached again."""
        self.detach("end of transcript")
        self.transcript.close()

    def settle(self, deadline: Deadline | float = 1.0) -> None:
        """Returns when all output of a paused machine was read."""
        if self._pump is not None:
            self._pump.settle(Deadline.of(deadline))

    def restart(self) -> None:
        """A new start of the machine: output of the last one that nobody read is forgotten."""
        with self._changed:
            self._fresh.clear()
            self._handed = self.transcript.received
            self._forgiven = dict.fromkeys(Bad, self.transcript.received)
            self._live.restart()
            self._read.restart()
            if self._socket is not None:
                self._spawn = _PumpedSpawn(self._socket, self)

    # ---- the pump's side -------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        with self._changed:
            text = self._cleaner.feed(data)
            lines = self.transcript.feed(text)
            for line in lines:
                self._inspect(line.text, line.end - len(line.text) - 1)
                if not self._prompted:  # else it was counted when the prompt appeared
                    self._follow(line)
                self._bad_in_partial.clear()
                self._prompted = False
            partial = self.transcript.partial
            if partial:
                self._inspect(partial, self.transcript.received - len(partial))
                if not self._prompted and is_prompt(partial):
                    self._prompted = True
                    self._follow(Line(self._clock(), partial, self.transcript.received))
            if text:
                self._fresh.append(text)
            self._changed.notify_all()

    def _inspect(self, text: str, offset: int) -> None:
        for bad in bad_in(text):
            # An unfinished line is looked at again with each piece that arrives.
            if bad not in self._bad_in_partial:
                self._bad_in_partial.add(bad)
                self._bad.append((bad, offset))

    def _follow(self, line: Line) -> None:
        seen = self._live.feed(line.text, line.seconds)
        if seen is not None:
            self.stages.append(seen)

    def _end(self) -> None:
        with self._changed:
            if not self._ended:
                self._ended = "QEMU closed the serial line"
            self._changed.notify_all()

    def next_text(self, timeout: float) -> str:
        """Text that pexpect has not seen yet; waits up to `timeout` seconds for some.

        Raises:
            pexpect.TIMEOUT, pexpect.EOF: there is none yet, there will be none.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self._ended, timeout)
            if not self._fresh:
                if self._ended:  # and everything that came before was handed over
                    raise pexpect.EOF(self._ended)
                raise pexpect.TIMEOUT("nothing arrived")
            text = "".join(self._fresh)
            self._fresh.clear()
            self._handed += len(text)
            return text

    # ---- waiting ---------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """The last stage that the machine has shown."""
        return self._live.current

    @contextmanager
    def expecting(self, *bad: Bad) -> Iterator[None]:
        """Within the block these kinds of bad output fail no wait."""
        self._expected.append(frozenset(bad))
        try:
            yield
        finally:
            self._expected.pop()

    def wait_for(
        self, stage: Stage, timeout: Deadline | float, *, expecting: Collection[Bad] = ()
    ) -> StageSeen:
        """Waits until the console proves `stage`; lines before it count as read.

        Args:
            timeout: seconds (times the host's patience) or a deadline to share.
            expecting: bad output that this wait accepts. HALT need not be named to wait for it.

        Raises:
            DeadlineError: it did not come in time.
            BadOutputError: bad output came first.
            LostVMError: the machine vanished.
        """
        deadline = Deadline.of(timeout)
        accept = set(expecting) | ({Bad.HALT} if stage is Stage.HALT else set())
        what = f"stage {stage.value!r}"
        while True:
            text = self._expect(_TELLING_LINE, deadline, what, accept)
            for row in text.splitlines():
                seen = self._read.feed(row, self._clock())
                if seen is not None and seen.stage is stage:
                    return seen

    def wait_for_progress(
        self,
        stage: Stage,
        percent: int,
        timeout: Deadline | float,
        *,
        expecting: Collection[Bad] = (),
    ) -> Progress:
        """Waits until the progress of `stage` is at least `percent`.

        Raises:
            ExpectationError: another stage began first; otherwise as wait_for().
        """
        deadline = Deadline.of(timeout)
        what = f"{percent}% of stage {stage.value!r}"
        reached: int | None = None
        while True:
            last = "no progress was shown" if reached is None else f"it was at {reached}%"
            text = self._expect(
                f"{_PROGRESS_LINE}|{_TELLING_LINE}", deadline, what, set(expecting), last
            )
            for row in text.splitlines():
                progress = progress_of_line(row)
                # What is read back during "check" is not stage "verify": the mark decides, and
                # the line's own word only where no mark was read.
                within = self._read.current
                if progress is not None and (
                    within is stage or (within is Stage.UNKNOWN and progress.word == stage.value)
                ):
                    reached = progress.percent
                    if reached >= percent:
                        return progress
                seen = self._read.feed(row, self._clock())
                if seen is not None and seen.stage is not stage and reached is not None:
                    raise ExpectationError(
                        self.report(f"{what}: stage {seen.stage.value!r} came first; {last}")
                    )

    def wait_for_text(
        self, text: str, timeout: Deadline | float, *, expecting: Collection[Bad] = ()
    ) -> None:
        """Waits for this very text (not a pattern); raises as wait_for()."""
        self._expect(re.escape(text), Deadline.of(timeout), f"text {text!r}", set(expecting))

    def wait_for_bad(self, bad: Bad, timeout: Deadline | float) -> None:
        """Waits for bad output that the scenario provokes; raises as wait_for()."""
        self._expect(bad.value, Deadline.of(timeout), f"expected {bad.words}", {bad})

    def send(self, text: str) -> None:
        """Types `text` on the serial line; add a newline for Enter.

        Raises:
            LostVMError: there is no machine to type to.
        """
        if self._spawn is None or self._ended:
            raise LostVMError(self.report(f"typing {text!r}: {self._ended}"))
        with self._changed:
            self.transcript.note(f"typed {text!r}")
        self._spawn.send(text)

    def check(self, what: str, expecting: Collection[Bad] = ()) -> None:
        """Raises when bad output came that no wait has read; for waits on other channels.

        Raises:
            BadOutputError: see above; `what` names the wait in the message.
        """
        accepted = self._accepted(expecting)
        with self._changed:
            read = self._handed - (len(self._spawn.buffer) if self._spawn else 0)
            found = [
                (bad, offset)
                for bad, offset in self._bad
                if offset >= max(read, self._forgiven.get(bad, 0)) and bad not in accepted
            ]
        if found:
            self._raise_bad(what, *found[0])

    def forgive(self, expecting: Collection[Bad]) -> None:
        """Bad output of these kinds so far was expected: a wait on another channel has ended."""
        with self._changed:
            for bad in self._accepted(expecting):
                self._forgiven[bad] = self.transcript.received

    def tail(self, count: int = TAIL_LINES) -> str:
        """The last lines of the console with their times, as one text."""
        with self._changed:
            return "\n".join(self.transcript.tail(count))

    def _accepted(self, expecting: Collection[Bad]) -> frozenset[Bad]:
        return frozenset(expecting).union(*self._expected)

    def _expect(
        self, wanted: str, deadline: Deadline, what: str, expecting: set[Bad], last: str = ""
    ) -> str:
        """Reads up to the first match of `wanted`; returns the matched text."""
        accepted = self._accepted(expecting)
        refused = [bad for bad in Bad if bad not in accepted]
        if self._spawn is None:
            raise LostVMError(self.report(f"waited for {what}: {self._ended}"))
        patterns = [re.compile(wanted)] + [re.compile(bad.value) for bad in refused]
        while True:
            index = self._spawn.expect_list(
                [*patterns, pexpect.EOF, pexpect.TIMEOUT], timeout=deadline.remaining
            )
            matched = str(self._spawn.after)
            if index == 0 and not set(bad_in(matched)) & set(refused):
                return matched
            if index == len(patterns):
                ended = f"{self._ended} {self._why_ended()}".rstrip()
                raise LostVMError(self.report(f"waited for {what}: {ended}"))
            if index > len(patterns):
                note = f" ({last})" if last else ""
                raise DeadlineError(
                    self.report(f"waited {deadline.seconds:.1f} s for {what} in vain{note}")
                )
            # Text that is wanted and bad at once (a halt, seen on the way) is bad.
            bad = refused[index - 1] if index else bad_in(matched)[0]
            with self._changed:
                offset = self._handed - len(self._spawn.buffer) - len(matched)
            if offset >= self._forgiven.get(bad, 0):
                self._raise_bad(f"waited for {what}", bad, offset)

    def _raise_bad(self, what: str, bad: Bad, offset: int) -> NoReturn:
        # The line itself stands first: what follows it (a stack trace) may be long.
        with self._changed:
            line = self.transcript.line_at(offset)
        raise BadOutputError(self.report(f"{what}: {bad.words} on the console:\n    {line}"))

    def report(self, reason: str) -> str:
        """`reason` with the last stage, the transcript's name and the last console lines."""
        return (
            f"{reason}\n"
            f"  last stage: {self.stage.value}\n"
            f"  transcript: {self.transcript.path}\n"
            f"  last {TAIL_LINES} lines of the console:\n{self.tail()}"
        )
