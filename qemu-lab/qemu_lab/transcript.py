"""Console bytes to clean text, and text to a transcript with a time on every line. Pure but for
the file that a `Transcript` writes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Cursor moves and colours (SeaBIOS and GRUB draw on the serial line) say nothing to a reader.
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?=]*[@-~]|[()][A-Z0-9]|[=>78cDEHM])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-9;?=]*|[()])?\Z|\r+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class TextCleaner:
    """Turns serial bytes into text: UTF-8, no terminal escapes, every line end a single newline.

    A sequence cut in two by a read is held back until its rest arrives.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """The clean text of `data`, as far as it is complete."""
        text = self._held + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text)
        self._held = text[unfinished.start() :] if unfinished else ""
        if unfinished:
            text = text[: unfinished.start()]
        text = _ESCAPE.sub("", text)
        # A lone carriage return redraws a line: each drawing becomes a line of its own.
        text = re.sub(r"\r+\n|\r", "\n", text)
        return _CONTROL.sub("", text)


@dataclass(frozen=True)
class Line:
    """One line of console text.

    Attributes:
        seconds: arrival of its first character, since the first power-on.
        text: without the line end.
        end: offset just behind the line in the whole stream of clean text, in characters.
    """

    seconds: float
    text: str
    end: int


class Transcript:
    """Splits clean text into lines and writes each to a file at once, with its time.

    The file is always kept: it is what one reads when a scenario was red in the night.
    """

    def __init__(self, path: Path, clock: Callable[[], float], title: str) -> None:
        """Appends to `path`.

        Args:
            clock: seconds since the first power-on.
            title: first line of this use of the file.
        """
        self.path = path
        self.lines: list[Line] = []
        self.partial = ""
        """Text of the line that has no end yet: a prompt, or the middle of an output."""
        self.received = 0
        """Characters of clean text so far."""
        self.listener: Callable[[str], None] | None = None
        """Hears each line as it is written to the file, for whoever wants to watch."""
        self._clock = clock
        self._partial_since = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._file.write(f"# {title}; seconds since the first power-on\n")

    def feed(self, text: str) -> list[Line]:
        """Takes clean text; returns the lines that it completed."""
        completed = []
        while text:
            if not self.partial:
                self._partial_since = self._clock()
            head, newline, text = text.partition("\n")
            self.received += len(head) + len(newline)
            self.partial += head
            if newline:
                line = Line(self._partial_since, self.partial, self.received)
                self.lines.append(line)
                completed.append(line)
                self._write(line.seconds, line.text)
                self.partial = ""
        return completed

    def flush_partial(self) -> None:
        """Ends the unfinished line: the machine that wrote it is gone."""
        if self.partial:
            self.feed("\n")

    def note(self, text: str) -> None:
        """Adds a line about what the lab did, marked so that nobody takes it for the guest's."""
        self._write(self._clock(), f"=== {text}")

    def tail(self, count: int) -> list[str]:
        """The last `count` lines as they stand in the file, the unfinished one included."""
        rows = [format_line(line.seconds, line.text) for line in self.lines[-count:]]
        if self.partial:
            rows.append(format_line(self._partial_since, self.partial))
        return rows[-count:]

    def line_at(self, offset: int) -> str:
        """The line, as it stands in the file, that holds the character at `offset`."""
        for line in self.lines:
            if line.end > offset:
                return format_line(line.seconds, line.text)
        return format_line(self._partial_since, self.partial)

    def _write(self, seconds: float, text: str) -> None:
        line = format_line(seconds, text)
        if not self._file.closed:
            self._file.write(line + "\n")
        if self.listener is not None:
            self.listener(line)

    def close(self) -> None:
        """Closes the file; the lines stay readable in memory."""
        self.flush_partial()
        self._file.close()


def format_line(seconds: float, text: str) -> str:
    """One line of a transcript file."""
    return f"[{seconds:9.3f}] {text}"
