"""Is a program connected that may drive the console? Asked at every start, so it costs little."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

PORT_NAME = "org.bootsvc.console"
"""Name of the virtio-serial port (``console/PROTOCOL.md``)."""

PORTS = Path("/sys/class/virtio-ports")
DEV = Path("/dev")
OPEN_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def port_node(ports: Path = PORTS) -> Path | None:
    """The device node of the virtio-serial port; None where there is no such port."""
    with suppress(OSError):  # no ports at all, or one that was pulled out meanwhile
        for port in sorted(ports.iterdir()):
            if (port / "name").read_text("ascii", "replace").strip() == PORT_NAME:
                return DEV / port.name
    return None


def open_port() -> int | None:
    """The port, open, whether somebody is connected or not; None where there is none."""
    node = port_node()
    if node is not None:
        with suppress(OSError):
            return os.open(node, OPEN_FLAGS)
    return None


def open_port_with_peer() -> int | None:
    """The port, open, where somebody is connected at its other end; None elsewhere.

    What the other end has sent arrives only after this, and is lost where the port is closed again.
    """
    fd = open_port()
    if fd is None or has_peer(fd):
        return fd
    os.close(fd)
    return None


def has_peer(fd: int) -> bool:
    """Whether the other end of a port is connected: the kernel says that it hung up if not."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    gone = select.POLLHUP | select.POLLERR | select.POLLNVAL
    return not any(events & gone for _, events in poll.poll(0))
