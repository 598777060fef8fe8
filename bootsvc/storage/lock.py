"""One writer at a time: the exclusive lock on a disk (DESIGN 4, "takes a lock").

It is flock(2) on the whole disk, which udev takes as well, shared, for as long as it looks at a
disk that was just written. So a lock that is held is nothing wrong yet: it is waited for.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bootsvc.errors import DiskBusyError
from bootsvc.storage.device import DirectDevice

WAIT_S = 60.0
"""Longer than a confirm or a look of udev's takes, shorter than an update."""

_ASK_AGAIN_S = 0.1
_SILENT_S = 2.0
_PROC = Path("/proc")


def lock(
    device: DirectDevice, *, wait_s: float = WAIT_S, on_wait: Callable[[str], None] | None = None
) -> None:
    """Take the exclusive lock on ``device``; closing the device gives it back.

    Args:
        wait_s: seconds to wait for whoever holds it.
        on_wait: is told once, in words, who is waited for and until when, if that takes long.

    Raises:
        DiskBusyError: it was not given back in that time; its holder is named.
    """
    begun = time.monotonic()
    while not _try_lock(device.fileno()):
        waited = time.monotonic() - begun
        if waited >= wait_s:
            raise DiskBusyError(
                f"{device.name}: {_holder(device.fileno())} works on this disk, and has for the"
                f" {waited:.0f} s that were waited",
                hint="wait for it to end, then try again",
            )
        if on_wait is not None and waited >= _SILENT_S:
            on_wait(
                f"{device.name}: waiting for {_holder(device.fileno())}, at most {wait_s:.0f} s"
            )
            on_wait = None
        time.sleep(_ASK_AGAIN_S)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> str:
    """Who holds the lock, by /proc/locks: ``bootsvc stage (process 312)``."""
    inode = f":{os.fstat(fd).st_ino}"
    with suppress(OSError):
        for line in (_PROC / "locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(inode):
                return f"{_command(fields[4])} (process {fields[4]})"
    return "another program"


def _command(process: str) -> str:
    """The program and its first argument; a script's own name, not its interpreter's."""
    words = ["a program"]
    with suppress(OSError):
        raw = (_PROC / process / "cmdline").read_bytes().decode(errors="replace")
        words = raw.split("\0")[:-1] or words
    if "python" in words[0] and len(words) > 1:
        words = words[1:]
    return " ".join([Path(words[0]).name, *words[1:2]])
