"""A shell for the person at one terminal; the console waits until it is left.

The shell of the initramfs (busybox), with the terminal as its own, so that Ctrl-C and job control
work. Its person may take as long as it takes: the watchdog is fed meanwhile.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from bootsvc.console.terminal import Terminal

SHELL = ("setsid", "-c", "sh")
LOOK_S = 0.5


def run_shell(
    terminal: Terminal, looked: Callable[[], None], command: tuple[str, ...] = SHELL
) -> str:
    """Run a shell on ``terminal`` until it is left.

    Args:
        looked: called about twice a second meanwhile.

    Returns:
        Why there was none, as a sentence; empty where there was one.
    """
    terminal.restore()
    # Not the terminal's own open file, which does not block: a shell would end at once.
    try:
        fd = os.open(terminal.path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as exc:
        return f"no shell: {terminal.path}: {exc.strerror}"
    try:
        shell = subprocess.Popen(command, stdin=fd, stdout=fd, stderr=fd)
    except OSError as exc:
        return f"no shell: {exc.strerror}"
    finally:
        os.close(fd)
    while True:
        try:
            shell.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            looked()
        else:
            return ""
