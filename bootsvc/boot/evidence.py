"""Evidence that the start before this one ended badly: a watchdog reset, a recorded panic.

Only evidence counts (DESIGN 3): a healthy machine may be power-cycled for ever.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from bootsvc.formats.boot_status import Reason
from bootsvc.sequence.states import Crash

PSTORE = Path("/sys/fs/pstore")
"""Where init has mounted the kernel's store of panics; empty where the machine has none."""

WATCHDOGS = Path("/sys/class/watchdog")
_WDIOF_CARDRESET = 0x20


def find_crash() -> Crash | None:
    """The newest evidence; a panic says more than the watchdog that ended it."""
    return _recorded_panic() or _watchdog_reset()


def _recorded_panic() -> Crash | None:
    with suppress(OSError):
        dumps = [(one.stat().st_mtime_ns, one.name) for one in PSTORE.glob("dmesg-*")]
        if dumps:
            event = hashlib.sha256(repr(max(dumps)).encode()).digest()[:16]
            return Crash(event, Reason.PANIC)
    return None


def _watchdog_reset() -> Crash | None:
    """The driver forgets a reset once read, so each event gets an id of its own."""
    with suppress(OSError, ValueError):
        for entry in WATCHDOGS.iterdir():
            text = (entry / "bootstatus").read_text().strip()
            if int(text, 0) & _WDIOF_CARDRESET:
                return Crash(os.urandom(16), Reason.WATCHDOG)
    return None
