"""The hardware watchdog: it guards the updater's own work, then a trial start (DESIGN 5).

Only progress feeds it, in the one thread that works: a thread of its own would go on feeding
while a read hangs. Before an ordinary start it is stopped, since not every image feeds one.
Before a trial it is locked, so that it runs until the image's own driver and systemd feed it.

kexec would stop it on the way: init loads the core of the drivers with ``stop_on_reboot=0``, which
ends that for all of them. ``nowayout`` adds what single drivers know of (i6300esb: a lock bit that
keeps it running while the image's driver loads).
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from contextlib import suppress
from pathlib import Path

NODE = Path("/dev/watchdog0")
SYSFS = Path("/sys/class/watchdog/watchdog0")
FEED_INTERVAL_S = 1.0

_WDIOC_SETOPTIONS = 0x80045704
_WDIOC_SETTIMEOUT = 0xC0045706
_DISABLE_CARD = 1
_ENABLE_CARD = 2
_FEED = b"\0"
_STOP_WHEN_CLOSED = b"V"


class Watchdog:
    """The first watchdog of this machine. What cannot be done is said, and stops no start."""

    def __init__(self) -> None:
        self._fd = -1
        self._fed_s = 0.0

    def guard_work(self, timeout_s: int) -> str:
        """Start it, and say in one sentence what now guards the updater's own work.

        Args:
            timeout_s: seconds without progress until it resets the machine; 0 = leave it alone.
        """
        if not timeout_s:
            return "watchdog: the updater's own work is not guarded, by setting"
        problem = self._open()
        if problem:
            return problem
        return f"watchdog: guards the updater's work, {self._set(timeout_s)} without progress"

    def feed(self) -> None:
        """There was progress; heard once a second, because there is much of it."""
        now_s = time.monotonic()
        if self._fd < 0 or now_s - self._fed_s < FEED_INTERVAL_S:
            return
        self._fed_s = now_s
        with suppress(OSError):
            os.write(self._fd, _FEED)

    def stop(self) -> str:
        """Stop it. The problem as a sentence, empty where none is left running."""
        if self._fd < 0:
            return ""
        with suppress(OSError):
            os.write(self._fd, _STOP_WHEN_CLOSED)
        os.close(self._fd)
        self._fd = -1
        if _says("state", "active"):
            return "ALARM watchdog: locked, it runs on and resets a system that does not feed it"
        return ""

    def guard_trial(self, timeout_s: int, *, same_kernel: bool) -> str:
        """Lock it, and say in one sentence what now guards the trial that follows.

        Args:
            timeout_s: seconds until it resets a system that does not feed it; 0 = none.
            same_kernel: the OS will run on this very kernel, so a software watchdog may serve where
                there is no hardware.
        """
        if not timeout_s:
            self.stop()
            return "watchdog: switched off by setting"
        if not NODE.exists() and same_kernel:
            _load_software_watchdog()
        problem = self._open()
        if problem:
            return problem
        # A driver looks at the lock only when it starts.
        self._option(_DISABLE_CARD)
        lock = "" if _locked() else ", without nowayout: not while the image loads its driver"
        when = self._set(timeout_s)
        self._option(_ENABLE_CARD)
        return f"watchdog: armed, {when} unfed{lock}"

    def starve(self, timeout_s: int) -> str:
        """Start it with this time and feed it no more, until ``guard_work`` or ``stop``.

        Says in one sentence what follows; ``is_running``: whether anything does.
        """
        problem = self._open()
        if problem:
            return problem
        said = self._set(timeout_s)
        self._fed_s = math.inf
        return f"watchdog: {said}"

    @property
    def is_running(self) -> bool:
        """It was started, and not stopped since."""
        return self._fd >= 0

    def _open(self) -> str:
        """Open the node, which starts it. The problem as a sentence, empty where there is none."""
        if self._fd >= 0:
            return ""
        if not NODE.exists():
            return "watchdog: this machine has none; a hang will need a person"
        try:
            self._fd = os.open(NODE, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as exc:
            return f"watchdog: cannot be opened: {exc.strerror}"
        return ""

    def _set(self, timeout_s: int) -> str:
        """Set its time and feed it; says when it resets the machine."""
        self._fed_s = 0.0
        try:
            fcntl.ioctl(self._fd, _WDIOC_SETTIMEOUT, timeout_s.to_bytes(4, "little"))
            os.write(self._fd, _FEED)
        except OSError as exc:
            return f"resets this machine after its own time-out ({exc.strerror})"
        return f"resets this machine after {timeout_s} s"

    def _option(self, option: int) -> None:
        with suppress(OSError):  # one that cannot be stopped need not be started again
            fcntl.ioctl(self._fd, _WDIOC_SETOPTIONS, option.to_bytes(4, "little"))


def _locked() -> bool:
    """Forbid that it is stopped; whether that holds now."""
    with suppress(OSError), (SYSFS / "nowayout").open("r+b", buffering=0) as file:
        file.write(b"1")
    return _says("nowayout", "1")


def _says(attribute: str, value: str) -> bool:
    try:
        return (SYSFS / attribute).read_text().strip() == value
    except OSError:
        return False


def _load_software_watchdog() -> None:
    import subprocess

    subprocess.run(["/sbin/modprobe", "softdog", "nowayout=1"], check=False, capture_output=True)
