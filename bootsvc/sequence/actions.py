"""Actions as values. Each says which area may be booted before, during and after it."""

from __future__ import annotations

from dataclasses import dataclass

from bootsvc.formats.boot_status import Area, BootStatus, Reason


@dataclass(frozen=True)
class Look:
    """Read an area's footer; where that fails, read it again, and the whole image with it.

    Bootable: unchanged, nothing is written.
    """

    area: Area


@dataclass(frozen=True)
class Verify:
    """Read an area's image in full and compare it with its signed digests.

    With ``installing`` also: machine type, version floor, size, retired keys, earlier failure.
    Bootable: unchanged, nothing is written.
    """

    area: Area
    installing: bool = False


@dataclass(frozen=True)
class Write:
    """Replace the record.

    Bootable: before and during, what the old record names (its copies are replaced one by one);
    after, what ``status`` names, which was read back in full before.

    Attributes:
        takes_try: this write pays for one trial start, however the one before it failed.
        boot_once: the area to be started afterwards, in this start only.
        reconstructs: there was no valid record before.
        keeps_copy_failure: the copy that failed in this start is not tried again in it.
    """

    status: BootStatus
    takes_try: bool = False
    boot_once: Area = Area.NONE
    reconstructs: bool = False
    keeps_copy_failure: bool = False


@dataclass(frozen=True)
class Copy:
    """Make ``target`` hold the image of ``source``, then read all of it back.

    Bootable before, during and after: the area that the record names, never ``target``.
    """

    source: Area
    target: Area


@dataclass(frozen=True)
class Boot:
    """Hand over to the image in ``area``; ``alarm`` says what is wrong, NONE if nothing."""

    area: Area
    is_trial: bool = False
    alarm: Reason = Reason.NONE


@dataclass(frozen=True)
class Halt:
    """Nothing may be started by itself; ``reason`` says why."""

    reason: Reason


Action = Look | Verify | Write | Copy | Boot | Halt
