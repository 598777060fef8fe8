"""Terminals as the kernel gives them: raw mode, what kind they are, bytes both ways.

A terminal is asked where its cursor ends up when it is sent far away (DSR, ECMA-48): the answer
names its size and shows that it is a VT100 or like one. One that answers nothing in time is a dumb
one of 80 columns. Linux's own screens are not asked: the kernel knows their size.
"""

from __future__ import annotations

import os
import re
import select
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTLE_S = 0.3
"""How long a terminal may take to answer; what else arrives meanwhile was typed blindly, and is
dropped."""

STUCK_S = 1.0
"""A line that takes nothing for so long (flow control, no carrier) loses what was to be written."""

_OPEN_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_ASK = b"\r\x1b7\x1b[999;999H\x1b[6n\x1b8"
_HIDE_ASKING = b"\r" + b" " * 24 + b"\r"
"""Over what a dumb terminal has printed of the question."""
_ANSWER = re.compile(rb"\x1b\[(\d{1,4});(\d{1,4})R")
_INPUT_FLAGS, _LOCAL_FLAGS, _CONTROL_CHARACTERS = 0, 3, 6  # indexes in termios' list


@dataclass(frozen=True)
class Kind:
    """What a terminal can do; a size in characters."""

    is_vt100: bool = False
    columns: int = 80
    rows: int = 24


DUMB = Kind()


class Terminal:
    """One line with a person at its other end, perhaps.

    Attributes:
        name: ttyS0, tty0, hvc0.
        path: its device.
        kind: what it can do, as far as it was asked.
        is_gone: it hung up; it would be readable for ever.
    """

    def __init__(self, path: Path) -> None:
        """Open it. Raises OSError: there is no such terminal."""
        self.name = path.name
        self.path = path
        self.kind = DUMB
        self.is_gone = False
        self._fd = os.open(path, _OPEN_FLAGS)
        self._found: list[Any] = []

    def fileno(self) -> int:
        """For ``select``; negative where there is nothing to wait for."""
        return -1 if self.is_gone else self._fd

    def make_raw(self) -> None:
        """Every key at once, none of them with a meaning to the kernel, no echo; output as before.

        Flow control goes, too: one stray Ctrl-S on a bad line would stop the console for ever.
        """
        with suppress(termios.error):
            found = termios.tcgetattr(self._fd)
            raw = [*found[:_CONTROL_CHARACTERS], list(found[_CONTROL_CHARACTERS])]
            raw[_INPUT_FLAGS] &= ~(
                termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.IXOFF
            )
            raw[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
            characters = raw[_CONTROL_CHARACTERS]
            characters[termios.VMIN], characters[termios.VTIME] = 1, 0
            termios.tcsetattr(self._fd, termios.TCSANOW, raw)
            self._found = self._found or found

    def restore(self) -> None:
        """The mode in which it was found."""
        if self._found:
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._found)
            self._found = []

    def read(self) -> bytes:
        """What was typed; empty where nothing was."""
        try:
            data = os.read(self._fd, 1024)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        self.is_gone = not data
        return data

    def forget_input(self) -> None:
        """What was typed so far was typed at something else."""
        with suppress(termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)

    def write(self, data: bytes) -> None:
        """Write as much as the line takes; what it does not take within ``STUCK_S`` is lost."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                if not select.select([], [self._fd], [], STUCK_S)[1]:
                    return
            except OSError:
                return

    def reopen(self) -> None:
        """Open it anew: the kernel hangs a terminal up when the shell that had it ends."""
        self.close()
        with suppress(OSError):
            self._fd = os.open(self.path, _OPEN_FLAGS)
            self.is_gone = False
            self.make_raw()

    def close(self) -> None:
        """Leave it as it was found."""
        if self._fd >= 0:
            self.restore()
            os.close(self._fd)
            self._fd = -1

    @property
    def is_own_screen(self) -> bool:
        """A screen of this machine (tty0, tty1 ...), and no line to somewhere else."""
        return self.name.startswith("tty") and self.name.removeprefix("tty").isdecimal()


def open_terminals(paths: Sequence[Path]) -> list[Terminal]:
    """Those of ``paths`` that can be opened, in raw mode."""
    opened = []
    for path in paths:
        with suppress(OSError):
            terminal = Terminal(path)
            terminal.make_raw()
            opened.append(terminal)
    return opened


def here(terminals: Sequence[Terminal]) -> list[Terminal]:
    """Those that did not hang up."""
    return [one for one in terminals if one.fileno() >= 0]


def ask(terminals: Sequence[Terminal]) -> None:
    """Ask each terminal what it can do; what was typed before is forgotten."""
    for terminal in terminals:
        terminal.forget_input()
        terminal.kind = DUMB
        if terminal.is_own_screen:
            terminal.kind = _own_screen(terminal)
        else:
            terminal.write(_ASK)


def hear_answers(terminals: Sequence[Terminal], until_s: float) -> None:
    """Set the kind of each terminal by what it answers; what is typed meanwhile is dropped.

    Args:
        until_s: when the last answer counts, by ``time.monotonic``: it is waited for in any case.
    """
    heard = dict.fromkeys(terminals, b"")
    for wait_s in _until(until_s):
        for terminal in select.select(here(terminals), [], [], wait_s)[0]:
            heard[terminal] = (heard[terminal] + terminal.read())[-256:]
    for terminal, data in heard.items():
        if terminal.is_own_screen:
            continue
        answer = _ANSWER.search(data)
        if answer:
            terminal.kind = _kind_of(int(answer[2]), int(answer[1]))
        else:
            terminal.write(_HIDE_ASKING)


def _until(until_s: float) -> Iterator[float]:
    """Seconds that are left, again and again until there are none; at least once."""
    left = until_s - time.monotonic()
    yield max(left, 0.0)
    while (left := until_s - time.monotonic()) > 0:
        yield left


def _own_screen(terminal: Terminal) -> Kind:
    try:
        size = os.get_terminal_size(terminal.fileno())
    except OSError:
        return Kind(is_vt100=True)
    return _kind_of(size.columns, size.lines)


def _kind_of(columns: int, rows: int) -> Kind:
    """A VT100 of that size; the usual one where the size cannot be."""
    if columns < 10 or rows < 3:
        return Kind(is_vt100=True)
    return Kind(is_vt100=True, columns=columns, rows=rows)
