"""The other screens of a machine: what the start says on its serial line, tty0 shows as well.

/dev/console is only the last of the kernel's consoles; init's and the updater's lines go there. A
person in front of the machine looks at another one (S0.26).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ACTIVE_CONSOLES = Path("/sys/class/tty/console/active")
DEV = Path("/dev")


def console_paths(active: Path = ACTIVE_CONSOLES, dev: Path = DEV) -> list[Path]:
    """The devices of all consoles of the kernel; the one behind /dev/console first."""
    try:
        names = active.read_text().split()
    except OSError:
        names = []
    return [dev / name for name in reversed(names)] or [dev / "console"]


def writers_of(paths: list[Path]) -> dict[str, Callable[[str], None]]:
    """For each of ``paths`` that can be opened, by its name, what writes one line to it; a screen
    that takes nothing loses the line."""
    writers = {}
    for path in paths:
        with suppress(OSError):
            fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            writers[path.name] = _writer(fd)
    return writers


def _writer(fd: int) -> Callable[[str], None]:
    def write(line: str) -> None:
        with suppress(OSError):
            os.write(fd, line.encode("ascii", "replace") + b"\n")

    return write
