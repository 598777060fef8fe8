"""``bootsvc.create-disk=WHICH``: a start that has been told to make a disk, with nobody there.

For racks of empty machines that start over the network: the option may stand there at every start.
It names the disk by what does not change from start to start, and nothing is made where any doubt
is left: another disk of bootsvc, several that fit, one that is not empty (unless told).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bootsvc.boot import disks
from bootsvc.boot.install import InstallReporter
from bootsvc.disk import installer
from bootsvc.disk.real_disk import RealDisk, describe, is_empty
from bootsvc.errors import (
    BootsvcError,
    LayoutError,
    SettingsError,
    SeveralDisksError,
    StorageError,
)
from bootsvc.settings import Settings
from bootsvc.storage.device import DirectDevice

ONLY = "only"
ERASE = "erase"
STICK_PARTITION = "bootsvc-images"
"""A stick of ours has it, and is never meant."""

_FORMS = "only, serial:NUMBER or pci:ADDRESS; with ,erase behind it also one that is not empty"


@dataclass(frozen=True)
class Wanted:
    """Which disk is to be made.

    Attributes:
        serial: of the disk with this serial number; "" = not named so.
        pci: of the one disk behind this PCI device, as 0000:00:17.0; "" = not named so. With
            neither: of the machine's only disk.
        may_erase: also if it is not empty.
    """

    serial: str = ""
    pci: str = ""
    may_erase: bool = False


def create_as_told(text: str, settings: Settings, reporter: InstallReporter) -> bool:
    """Make the disk that the option's value ``text`` names; whether that was done. Why it was not
    is said, with what to do next."""
    try:
        wanted = parse_wanted(text)
        if _has_disk_of_bootsvc(settings.disk_wait_s, reporter):
            reporter.say("create-disk: a disk of bootsvc is there, nothing is to be made")
            return False
        disk = chosen(wanted, installer.disks_of_machine(), place_in_machine, is_empty)
        for line in describe(disk):
            reporter.say(f"create-disk: {line.strip()}")
        installer.create(disk, settings, reporter)
    except (BootsvcError, OSError) as exc:  # no room in memory is one of the latter
        reporter.say(f"ALARM bootsvc.create-disk: {exc}; no disk was made")
        if isinstance(exc, BootsvcError) and exc.hint:
            reporter.say(exc.hint)
        return False
    reporter.say(f"create-disk: {disk.path} is a disk of bootsvc now, without an image")
    return True


def parse_wanted(text: str) -> Wanted:
    """Read the option's value. Pure.

    Raises:
        SettingsError: it is none of the three forms.
    """
    which, comma, word = text.partition(",")
    kind, _, name = which.partition(":")
    is_known = which == ONLY or (kind in ("serial", "pci") and name)
    if not is_known or (comma and word != ERASE):
        near = ": names such as /dev/sda change from start to start" if "/dev/" in which else ""
        raise SettingsError(f"{text!r} names no disk{near}", hint=f"write {_FORMS}")
    return Wanted(
        serial=name if kind == "serial" else "",
        pci=name.lower() if kind == "pci" else "",
        may_erase=bool(comma),
    )


def chosen(
    wanted: Wanted,
    found: Iterable[RealDisk],
    place_of: Callable[[RealDisk], str],
    is_empty: Callable[[RealDisk], bool],
) -> RealDisk:
    """The disk that is meant. Pure, apart from what it is given.

    Args:
        place_of: the kernel's path of a disk, through the devices that it hangs on.
        is_empty: as ``real_disk.is_empty``.

    Raises:
        StorageError: none or several fit, or it is not empty.
    """
    ours = [disk for disk in found if not _has(disk, STICK_PARTITION)]
    if wanted.serial:
        fitting = [disk for disk in ours if disk.serial == wanted.serial]
    elif wanted.pci:
        fitting = [disk for disk in ours if wanted.pci in place_of(disk).split("/")]
    else:
        fitting = ours
    if len(fitting) != 1:
        there = "; ".join(describe(disk)[0] for disk in ours) or "none"
        which = f"{len(fitting)} disks fit" if fitting else "no disk fits"
        raise StorageError(f"{which}; there are: {there}", hint=f"write {_FORMS}")
    disk = fitting[0]
    if _has(disk, "bootsvc-"):
        raise StorageError(
            f"{disk.path} bears partitions of bootsvc, and only a person may erase these",
            hint="at the console: create-disk",
        )
    if not wanted.may_erase and not is_empty(disk):
        raise StorageError(
            "the disk is not empty: " + "; ".join(line.strip() for line in describe(disk)),
            hint="bootsvc.create-disk=...,erase erases it, and so does create-disk at the console",
        )
    return disk


def _has_disk_of_bootsvc(wait_s: float, reporter: InstallReporter) -> bool:
    """Whether one is there, or appears in the time that a start waits for it."""
    looked = reporter.wait("a disk of bootsvc", wait_s, "a new one is made")
    try:
        device = disks.find_disk(wait_s, looked).device
    except SeveralDisksError:
        return True
    except LayoutError:
        return False
    if isinstance(device, DirectDevice):
        device.close()
    return True


def place_in_machine(disk: RealDisk) -> str:
    """The kernel's path of a disk: /sys/devices/pci0000:00/0000:00:17.0/ata1/..."""
    return str((disks.SYS_BLOCK / Path(disk.path).name).resolve())


def _has(disk: RealDisk, name: str) -> bool:
    """Whether a partition's name begins so."""
    return any(word.startswith(name) for part in disk.parts for word in part.content.split())
