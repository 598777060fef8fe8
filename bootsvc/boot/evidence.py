"""Evidence that the start before this one ended badly: a watchdog reset, a recorded panic.

Only evidence counts (DESIGN 3): a healthy machine may be power-cycled for ever. A panic whose last
words are dm-verity's says more: the image met a block that differs from its digest.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from bootsvc.formats.boot_status import Reason
from bootsvc.formats.verity import PANIC_WORDS
from bootsvc.sequence.states import Crash

PSTORE = Path("/sys/fs/pstore")
"""Where init has mounted the kernel's store of panics; empty where the machine has none."""

PSTORE_BACKEND = Path("/sys/module/pstore/parameters/backend")
"""Names what keeps records of panics on this machine, if anything does."""

WATCHDOGS = Path("/sys/class/watchdog")
_WDIOF_CARDRESET = 0x20
_MAX_DUMP = 1 << 20


def find_crash() -> Crash | None:
    """The newest evidence; a panic says more than the watchdog that ended it."""
    return _recorded_panic() or _watchdog_reset()


def keeps_panics() -> bool:
    """Whether this machine has a place where a panic leaves evidence for the next start."""
    with suppress(OSError):
        return PSTORE_BACKEND.read_text().strip() not in ("", "(null)")
    return False


def _recorded_panic() -> Crash | None:
    with suppress(OSError):
        dumps = [(one.stat().st_mtime_ns, one.name) for one in PSTORE.glob("dmesg-*")]
        if dumps:
            newest = max(dumps)
            event = hashlib.sha256(repr(newest).encode()).digest()[:16]
            # The parts of one record bear the same time.
            parts = [name for at_ns, name in dumps if at_ns == newest[0]]
            is_rot = any(_tells_of_rot(PSTORE / name) for name in parts)
            return Crash(event, Reason.ROTTEN_BLOCK if is_rot else Reason.PANIC)
    return None


def _tells_of_rot(dump: Path) -> bool:
    with suppress(OSError), dump.open("rb") as file:
        return PANIC_WORDS in file.read(_MAX_DUMP)
    return False


def _watchdog_reset() -> Crash | None:
    """The driver forgets a reset once read, so each event gets an id of its own."""
    with suppress(OSError, ValueError):
        for entry in WATCHDOGS.iterdir():
            text = (entry / "bootstatus").read_text().strip()
            if int(text, 0) & _WDIOF_CARDRESET:
                return Crash(os.urandom(16), Reason.WATCHDOG)
    return None
