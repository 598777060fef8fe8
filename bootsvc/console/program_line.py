"""The lines on which a program may drive the console.

A virtio-serial port named ``org.bootsvc.console`` where the machine has one; else, by the kernel
option ``bootsvc.json``, a serial line (``ttyS1``, ``ttyS1,9600``) or the console itself, on which
people's text is then replaced by JSON.
"""

from __future__ import annotations

import os
import re
import termios
from contextlib import suppress
from typing import Any

from bootsvc.boot.program_peer import DEV, OPEN_FLAGS, has_peer
from bootsvc.console.program_port import Line
from bootsvc.errors import SettingsError

CONSOLE = "console"
DEFAULT_BAUD = 115200

_SERIAL = re.compile(r"((?:tty|hvc)[A-Za-z]*\d{1,3})(?:,(\d{1,7}))?")


def serial_line(option: str) -> Line:
    """The line that the kernel option ``bootsvc.json`` names, open.

    Raises:
        SettingsError: it names no serial line, or the line cannot be opened.
    """
    found = _SERIAL.fullmatch(option)
    baud = int(found[2] or DEFAULT_BAUD) if found else 0
    speed = getattr(termios, f"B{baud}", None) if baud else None
    if option != CONSOLE and speed is None:
        raise SettingsError(
            f"kernel option bootsvc.json: no serial line {option[:40]!r}",
            hint="bootsvc.json=ttyS1, bootsvc.json=ttyS1,9600 or bootsvc.json=console",
        )
    name = found[1] if found else CONSOLE
    try:
        return SerialLine(name, os.open(DEV / name, OPEN_FLAGS), speed)
    except (OSError, termios.error) as exc:
        raise SettingsError(f"no program can reach the console on {name}: {exc}") from exc


class VirtioLine:
    """A virtio-serial port (``program_peer``); see ``Line``."""

    name = "virtio-serial"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """See ``Line``."""
        return self._fd

    def has_peer(self) -> bool:
        """See ``Line``."""
        return has_peer(self._fd)

    def close(self) -> None:
        """See ``Line``."""
        os.close(self._fd)


class SerialLine:
    """A serial line in raw mode; see ``Line``."""

    def __init__(self, name: str, fd: int, speed: int | None) -> None:
        """``speed``: one of termios's constants, None: the line keeps its own."""
        self.name = name
        self._fd = fd
        self._found = termios.tcgetattr(fd)
        termios.tcsetattr(fd, termios.TCSANOW, _raw(self._found, speed))

    def fileno(self) -> int:
        """See ``Line``."""
        return self._fd

    def has_peer(self) -> bool:
        """Nobody can tell: three wires say nothing of who listens."""
        return True

    def close(self) -> None:
        """See ``Line``."""
        with suppress(termios.error):  # pulled out
            termios.tcsetattr(self._fd, termios.TCSANOW, self._found)
        os.close(self._fd)


def _raw(found: list[Any], speed: int | None) -> list[Any]:
    """Eight bits as they are, no echo, no signals, no flow control, no modem lines."""
    _, _, cflag, _, *speeds, characters = found
    cflag &= ~(termios.PARENB | termios.CSIZE | termios.CRTSCTS)
    cflag |= termios.CS8 | termios.CREAD | termios.CLOCAL
    characters = list(characters)
    # A read of nothing is refused rather than empty, which would be the line's end.
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [0, 0, cflag, 0, *(speeds if speed is None else (speed, speed)), characters]
