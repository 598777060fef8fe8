"""The hardware watchdog, armed before a trial start and never stopped by us (DESIGN 5).

Its driver was loaded with ``nowayout=1`` by init; without that, kexec would stop it. The image's
own driver and systemd feed it from then on.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

NODE = Path("/dev/watchdog0")
_WDIOC_SETTIMEOUT = 0xC0045706


def arm(timeout_s: int, *, same_kernel: bool) -> str:
    """Start the watchdog and say in one sentence what now guards the machine.

    Args:
        timeout_s: seconds until it resets the machine; 0 = leave it alone.
        same_kernel: the OS will run on this very kernel, so a software watchdog may serve where
            there is no hardware.
    """
    if not timeout_s:
        return "watchdog: switched off by setting"
    if not NODE.exists() and same_kernel:
        subprocess.run(
            ["/sbin/modprobe", "softdog", "nowayout=1"], check=False, capture_output=True
        )
    if not NODE.exists():
        return "watchdog: this machine has none; a hang will need a person"
    try:
        fd = os.open(NODE, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as exc:
        return f"watchdog: cannot be opened: {exc.strerror}"
    try:
        fcntl.ioctl(fd, _WDIOC_SETTIMEOUT, timeout_s.to_bytes(4, "little"))
        os.write(fd, b"\0")
    except OSError as exc:
        return f"watchdog: armed with its own time-out ({exc.strerror})"
    finally:
        os.close(fd)
    return f"watchdog: armed, resets this machine after {timeout_s} s unfed"
