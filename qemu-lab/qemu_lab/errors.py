"""What can go wrong in the lab, each kind apart from the others.

    LabError
    |-- VMLaunchFailure        QEMU did not come up: the machine never ran
    |-- LostVMError            the machine ran and vanished: nobody asked it to go
    |-- MonitorError           QEMU refused a QMP command
    |-- ExpectationError       the machine runs, but not as the scenario says
    |   |-- DeadlineError      what was waited for did not come in time
    |   `-- BadOutputError     the console shows something that must never be there (see stages.Bad)
    |-- WriteLogError          a log of writes is damaged, or belongs to another disk
    `-- DiskToolError          qemu-img or another tool on the host failed

The distinction matters when a scenario is red: an `ExpectationError` is a finding about the
system under test, every other error is one about the lab or the host.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence


class LabError(Exception):
    """Root of every error raised on purpose by this package."""


class VMLaunchFailure(LabError):  # noqa: N818 - the name that QEMU's own tools use
    """QEMU ended, or never answered on QMP, before the machine could run.

    Attributes:
        exit_code: exit status of QEMU (negative: ended by that signal); None when it still ran.
        command: the full command line, ready to be pasted into a shell.
        output: everything QEMU wrote to stdout and stderr.
    """

    def __init__(self, exit_code: int | None, command: Sequence[str], output: str) -> None:
        self.exit_code = exit_code
        self.command = shlex.join(command)
        self.output = output
        ended = "did not answer on QMP" if exit_code is None else f"ended with status {exit_code}"
        super().__init__(
            f"QEMU {ended} at launch.\n"
            f"  output: {output.strip() or '(nothing)'}\n"
            f"  command: {self.command}"
        )


class LostVMError(LabError):
    """The machine vanished (QEMU ended, or closed a channel) though nobody asked it to."""


class MonitorError(LabError):
    """QEMU refused a QMP command; the machine is as it was before."""

    def __init__(self, command: str, reason: str) -> None:
        self.command = command
        self.reason = reason
        super().__init__(f"QMP command {command!r} was refused: {reason}")


class ExpectationError(LabError):
    """The machine lives, but did not do what the scenario expects."""


class DeadlineError(ExpectationError):
    """What was waited for did not happen before the deadline."""


class BadOutputError(ExpectationError):
    """The console shows one of the bad patterns and the wait did not declare it expected."""


class WriteLogError(LabError):
    """A file is not a log of writes, is damaged, or does not fit the disk it is replayed on."""


class DiskToolError(LabError):
    """A tool on the host that works on disk files failed; its message is part of this one."""
