"""Finds and opens the line on which a program may drive the console.

A virtio-serial port named ``org.bootsvc.console`` where the machine has one; else, by the kernel
option ``bootsvc.json``, a serial line (``ttyS1``, ``ttyS1,9600``) or the console itself, on which
people's text is then replaced by JSON.
"""

from __future__ import annotations

import os
import re
import select
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

from bootsvc.console.program_port import Line
from bootsvc.errors import SettingsError

PORT_NAME = "org.bootsvc.console"
"""Name of the virtio-serial port."""

PORTS = Path("/sys/class/virtio-ports")
DEV = Path("/dev")
CONSOLE = "console"
DEFAULT_BAUD = 115200

_SERIAL = re.compile(r"((?:tty|hvc)[A-Za-z]*\d{1,3})(?:,(\d{1,7}))?")
_OPEN = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def port_node(ports: Path = PORTS) -> Path | None:
    """The device node of the virtio-serial port; None where there is no such port."""
    for name in sorted(ports.glob("*/name")):
        with suppress(OSError):  # it was pulled out meanwhile
            if name.read_text("ascii", "replace").strip() == PORT_NAME:
                return DEV / name.parent.name
    return None


def open_line(option: str, node: Path | None) -> Line | None:
    """The line, open; None where the machine has none.

    Args:
        option: value of the kernel option ``bootsvc.json``, "" where it is not given; it wins.
        node: of the virtio-serial port (``port_node``).

    Raises:
        SettingsError: the option names no serial line, or a line cannot be opened.
    """
    if not option and node is None:
        return None
    try:
        if option:
            return _serial_line(option)
        return VirtioLine(os.open(str(node), _OPEN))
    except (OSError, termios.error) as exc:
        raise SettingsError(f"no program can reach the console: {exc}") from exc


def _serial_line(option: str) -> Line:
    if option == CONSOLE:
        return SerialLine(CONSOLE, os.open(DEV / CONSOLE, _OPEN), None)
    found = _SERIAL.fullmatch(option)
    baud = int(found[2] or DEFAULT_BAUD) if found else 0
    speed = getattr(termios, f"B{baud}", None) if baud else None
    if found is None or speed is None:
        raise SettingsError(
            f"kernel option bootsvc.json: no serial line {option[:40]!r}",
            hint="bootsvc.json=ttyS1, ttyS1,9600 or console",
        )
    return SerialLine(found[1], os.open(DEV / found[1], _OPEN), speed)


class VirtioLine:
    """A virtio-serial port; see ``Line``."""

    name = "virtio-serial"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """See ``Line``."""
        return self._fd

    def has_peer(self) -> bool:
        """Whether the host's end is connected: the kernel says that it hung up where it is not."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        gone = select.POLLHUP | select.POLLERR | select.POLLNVAL
        return not any(events & gone for _, events in poll.poll(0))

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
