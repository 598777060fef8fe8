"""Drivers for what shows itself after init loaded those of what was there before.

A disk that is plugged in; and every USB keyboard: its controller's driver needs a second to find
it, and init goes on as soon as the disk is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

SYS_BUS = Path("/sys/bus")
LOADED = Path("/proc/modules")
TRIED = Path("/run/bootsvc/aliases")
"""Where init notes for what it has looked for a driver."""
_USB_HID = "ic03"
"""In the alias of a USB interface: the class of keyboards and the like (USB HID 1.11, 4.1)."""

SETTLE_S = 3.0
"""A USB disk shows itself a second or two after its driver was loaded."""


def wake_new_hardware(
    sys_bus: Path = SYS_BUS,
    loaded: Path = LOADED,
    run: Callable[[list[str]], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Load the drivers that the devices of now ask for; where one is new, give it time."""
    aliases = {_text_of(path) for path in sys_bus.glob("*/devices/*/modalias")}
    # Some of ACPI's have blanks: none of their drivers is needed here.
    wanted = sorted(one for one in aliases if one and " " not in one)
    before = _line_count(loaded)
    if wanted:
        (run or _run)(["modprobe", "-a", "-q", "-b", "--", *wanted])
    if _line_count(loaded) > before:
        sleep(SETTLE_S)


class LateKeyboards:
    """Loads the drivers of keyboards as they show themselves, each once."""

    def __init__(
        self,
        sys_bus: Path = SYS_BUS,
        tried: Path = TRIED,
        run: Callable[[list[str]], None] | None = None,
    ) -> None:
        self._sys_bus = sys_bus
        self._run = run or _run
        self._tried = set(_text_of(tried).split("\n"))

    def look(self) -> None:
        """To be called a few times a second while somebody may want to type: it costs two listings
        of folders, and a process only where a keyboard is new."""
        new = sorted(set(self._aliases()) - self._tried)
        if new:
            self._tried.update(new)
            self._run(["modprobe", "-a", "-q", "-b", "--", *new])

    def _aliases(self) -> Iterator[str]:
        for path in self._sys_bus.glob("usb/devices/*/modalias"):
            alias = _text_of(path)
            if _USB_HID in alias:
                yield alias
        for path in self._sys_bus.glob("hid/devices/*/modalias"):
            yield from filter(None, [_text_of(path)])


def _run(words: list[str]) -> None:
    import subprocess  # an ordinary start loads no driver from here

    subprocess.run(words, check=False, capture_output=True)


def _text_of(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):  # it was pulled out just now
        return ""


def _line_count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
