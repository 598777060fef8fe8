"""Drivers for what was plugged in after the start: init loads those of what was there before."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SYS_BUS = Path("/sys/bus")
LOADED = Path("/proc/modules")
SETTLE_S = 3.0
"""A USB disk shows itself a second or two after its driver was loaded."""


def wake_new_hardware(
    sys_bus: Path = SYS_BUS,
    loaded: Path = LOADED,
    run: Callable[[list[str]], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Load the drivers that the devices of now ask for; where one is new, give it time."""
    aliases = {_line_of(path) for path in sys_bus.glob("*/devices/*/modalias")}
    # Some of ACPI's have blanks: none of their drivers is needed here.
    wanted = sorted(one for one in aliases if one and " " not in one)
    before = _line_count(loaded)
    if wanted:
        (run or _run)(["modprobe", "-a", "-q", "-b", "--", *wanted])
    if _line_count(loaded) > before:
        sleep(SETTLE_S)


def _run(words: list[str]) -> None:
    subprocess.run(words, check=False, capture_output=True)


def _line_of(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):  # it was pulled out just now
        return ""


def _line_count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0
