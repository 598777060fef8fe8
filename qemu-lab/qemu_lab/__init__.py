"""qemu_lab: boot chains in QEMU, watched over serial and QMP, with faults put in on purpose.

    from qemu_lab import VM, Drive, Machine, Stage

The names exported here are the library's public face; see qemu-lab/README.md.
"""

from __future__ import annotations

from qemu_lab.deadline import Deadline
from qemu_lab.errors import (
    BadOutputError,
    DeadlineError,
    DiskToolError,
    ExpectationError,
    LabError,
    LostVMError,
    MonitorError,
    VMLaunchFailure,
)
from qemu_lab.machine import Drive, Machine
from qemu_lab.port import Reply
from qemu_lab.stages import Bad, Stage
from qemu_lab.state import SavedState
from qemu_lab.vm import VM

__all__ = [
    "VM",
    "Bad",
    "BadOutputError",
    "Deadline",
    "DeadlineError",
    "DiskToolError",
    "Drive",
    "ExpectationError",
    "LabError",
    "LostVMError",
    "Machine",
    "MonitorError",
    "Reply",
    "SavedState",
    "Stage",
    "VMLaunchFailure",
]
