"""A new disk is made, by an updater that carries what goes on it (``bootsvc.disk.installer``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.boot.disk_choice import found_disks
from bootsvc.console.actions import LOOK, Outcome
from bootsvc.console.doing.disks import close_disk
from bootsvc.errors import SequenceError
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import disk_on

if TYPE_CHECKING:
    from bootsvc.console.perform import Session
    from bootsvc.disk.real_disk import RealDisk

NAME = "create-disk"
NO_IMAGE_YET = "the disk is new, and no image is on it yet"
UNFINISHED = "the making of a disk was not finished; it starts over"


def create_disk(session: Session, answers: Mapping[str, str]) -> Outcome:
    """List all disks with what is on them, or make a bootsvc disk of one that was listed."""
    from bootsvc.disk import installer  # only an installer carries it

    found = installer.disks_of_machine()
    if answers["disk"] == LOOK:
        return _look_around(session, found)
    disk = _named(session, answers["disk"], found)
    if session.runner is not None:
        close_disk(session)
        session.runner = None
    session.problem = UNFINISHED
    installer.create(disk, session.settings, session.reporter)
    session.runner = session.start_on(disk_on(DirectDevice(Path(disk.path), writable=True)))
    session.problem = NO_IMAGE_YET
    lines = [
        f"{disk.path} is a disk of bootsvc now; there is no image on it yet.",
        "Next: install, which lists the images on other disks; or install http://...",
    ]
    others = [one.node for one in found_disks() if one.node != disk.path]
    if others:
        lines.append(f"Unplug {', '.join(others)} before the next start, or choose there.")
    return Outcome(is_done=True, lines=tuple(lines), facts=(("disk", disk.path),))


def _look_around(session: Session, found: tuple[RealDisk, ...]) -> Outcome:
    from bootsvc.disk.real_disk import describe, refusal_of

    session.listed[NAME] = tuple(map(_seen, found))
    lines = []
    for disk in found:
        lines += describe(disk)
        if reason := refusal_of(disk):
            lines.append(f"  cannot be made anew: {reason}")
    lines.append(f"To make one anew: {NAME} /dev/NODE" if found else "There is no disk.")
    facts = [
        {"disk": disk.path, "size": disk.size, "model": disk.model, "serial": disk.serial}
        for disk in found
    ]
    return Outcome(is_done=True, lines=tuple(lines), facts=(("disks", facts),))


def _named(session: Session, node: str, found: tuple[RealDisk, ...]) -> RealDisk:
    """The disk at ``node``, as it was shown: nobody gives away what he has not seen."""
    for disk in found:
        if disk.path == node:
            if _seen(disk) in session.listed.get(NAME, ()):
                return disk
            raise SequenceError(
                f"{node} was not shown yet, or is another one by now",
                hint=f"look at it first: {NAME} {LOOK}",
            )
    names = ", ".join(disk.path for disk in found) or "none"
    raise SequenceError(f"there is no disk {node}", hint=f"there are: {names}")


def _seen(disk: RealDisk) -> str:
    from bootsvc.disk.real_disk import describe

    return "\n".join(describe(disk))
