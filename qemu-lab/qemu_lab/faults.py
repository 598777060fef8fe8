"""Faults between a guest and its disk, put in and taken out while the guest runs.

Each drive's block graph has a raw node on top that does nothing (see `machine`). A fault is a
filter node inserted below it by blockdev-reopen:

    guest device -> top -> [filter] -> ... -> format -> file
"""

from __future__ import annotations

import errno as errno_module
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from qemu_lab.errors import LabError
from qemu_lab.machine import Machine, file_node_options, format_node

SECTOR = 512
"""blkdebug counts in these, whatever the sector size of the drive."""

MAX_RULES = 16384
"""Most rules of one fault: QEMU looks at each of them for each request."""

Operation = Literal["read", "write", "write-zeroes", "discard", "flush"]


def bad_sectors(offset: int, length: int, step: int = 4096) -> list[int]:
    """Sector numbers that make a byte range bad.

    blkdebug can fail one sector a rule, and a rule catches every request that touches its
    sector. One bad sector every `step` bytes therefore catches every request of at least `step`
    bytes (what a page cache sends); 512 catches any.

    Raises:
        ValueError: nothing to make bad, or more than MAX_RULES rules; widen `step`.
    """
    if length <= 0 or offset < 0 or step < SECTOR or step % SECTOR:
        raise ValueError(f"no range to make bad: offset {offset}, length {length}, step {step}")
    first = offset // SECTOR
    last = (offset + length - 1) // SECTOR
    sectors = list(range(first, last + 1, step // SECTOR))
    if sectors[-1] != last:
        sectors.append(last)  # a request that touches only the end of the range
    if len(sectors) > MAX_RULES:
        raise ValueError(
            f"{len(sectors)} rules for {length} bytes are more than {MAX_RULES}: widen step={step}"
        )
    return sectors


@dataclass(eq=False)
class Fault:
    """A fault that is in place; remove() or the end of a `with` block takes it out.

    Attributes:
        drive: index of the drive.
        node: name of the filter node.
    """

    faults: Faults
    drive: int
    node: str
    options: dict[str, object]
    group: str | None = None

    def remove(self) -> None:
        """Takes the fault out; the drive is whole again. Harmless when it is out already."""
        self.faults.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


class Faults:
    """The faults of one machine. A power cut takes all of them out."""

    def __init__(self, execute: Callable[..., object], machine: Machine) -> None:
        """Faults of `machine`, none yet; `execute` runs a QMP command."""
        self._execute = execute
        self._count = 0
        self.restart(machine)

    def restart(self, machine: Machine) -> None:
        """A new QEMU process runs `machine`: no fault is in place."""
        self._machine = machine
        self._chains: list[list[Fault]] = [[] for _ in machine.drives]

    @property
    def active(self) -> bool:
        """True while any fault is in place."""
        return any(self._chains)

    def io_error(
        self,
        drive: int,
        offset: int,
        length: int,
        *,
        operations: tuple[Operation, ...] = ("read", "write"),
        error: int = errno_module.EIO,
        step: int = 4096,
        once: bool = False,
    ) -> Fault:
        """Makes a byte range of a drive fail.

        Args:
            drive: index in Machine.drives.
            offset, length: the range, in bytes from the start of the drive.
            operations: what fails. An injected "flush" error also blocks its own removal, so a
                power cut is the only way out of it.
            error: errno that the guest's driver gets; virtio shows any of them as EIO but
                ENOSPC.
            step: see bad_sectors().
            once: each rule fails one request and is spent.

        Raises:
            ValueError: see bad_sectors().
            MonitorError: QEMU refused it.
        """
        rules: list[dict[str, object]] = []
        for operation in operations:
            common: dict[str, object] = {
                "event": "none",  # active from the start rather than after some QEMU-side event
                "iotype": operation,
                "errno": error,
                "once": once,
                "immediately": False,
            }
            if operation == "flush":
                rules.append(common)  # a flush has no sector
            else:
                rules += [
                    {**common, "sector": sector} for sector in bad_sectors(offset, length, step)
                ]
        return self._add(drive, {"driver": "blkdebug", "inject-error": rules}, "image")

    def throttle(self, drive: int, *, bytes_per_second: int, requests_per_second: int = 0) -> Fault:
        """Makes a drive slow: widens the window in which a power cut hits a copy.

        Args:
            bytes_per_second: reads and writes together.
            requests_per_second: 0 for no limit.
        """
        self._chain(drive)  # a drive that is not there is refused before anything is made
        self._count += 1
        group = f"slow{self._count}"
        limits: dict[str, object] = {"bps-total": bytes_per_second}
        if requests_per_second:
            limits["iops-total"] = requests_per_second
        self._execute("object-add", {"qom-type": "throttle-group", "id": group, "limits": limits})
        return self._add(drive, {"driver": "throttle", "throttle-group": group}, "file", group)

    def hang(self, drive: int) -> Fault:
        """Makes a drive that no longer answers: a request or two still pass, then none.

        What hangs goes on when the fault is taken out, or when the machine is paused. It must not
        be reset before: QEMU's reset waits for every request of a virtio disk.
        """
        return self.throttle(drive, bytes_per_second=1)

    def _chain(self, drive: int) -> list[Fault]:
        if not 0 <= drive < len(self._chains):
            raise LabError(f"drive {drive}: this machine has {len(self._chains)}")
        return self._chains[drive]

    def _add(
        self, drive: int, options: dict[str, object], child: str, group: str | None = None
    ) -> Fault:
        chain = self._chain(drive)
        self._count += 1
        node = f"fault{self._count}"
        below = chain[-1].node if chain else format_node(drive)
        self._execute("blockdev-add", {**options, "node-name": node, child: below})
        self._set_child(drive, node)
        fault = Fault(self, drive, node, {**options, "node-name": node, child: below}, group)
        chain.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Takes one fault out; the others of its drive stay. Harmless when it is out already."""
        chain = self._chains[fault.drive]
        if fault not in chain:
            return
        # A filter in the middle cannot change its own child: all go, the others come back.
        rest = [other for other in chain if other is not fault]
        self._set_child(fault.drive, format_node(fault.drive))
        for other in reversed(chain):
            self._execute("blockdev-del", {"node-name": other.node})
        chain.clear()
        if fault.group is not None:
            self._execute("object-del", {"id": fault.group})
        for other in rest:
            child = "image" if "image" in other.options else "file"
            below = chain[-1].node if chain else format_node(fault.drive)
            other.options[child] = below
            self._execute("blockdev-add", other.options)
            self._set_child(fault.drive, other.node)
            chain.append(other)

    def _set_child(self, drive: int, child: str) -> None:
        options = file_node_options(drive, self._machine.drives[drive])
        options["file"] = child
        self._execute("blockdev-reopen", {"options": [options]})
