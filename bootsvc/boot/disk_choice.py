"""Several disks with the same names: nobody may guess which is meant, so a person is asked.

What is said of each is what tells them apart on a bench: model, serial number, size, and what their
records say. Disks that are copies of each other down to their GUIDs cannot be chosen between: the
image's kernel finds its root by such a GUID, and would be the one who guesses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bootsvc.boot import disks
from bootsvc.errors import BootsvcError, LayoutError, StatusLostError
from bootsvc.formats.describe import next_start
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import Disk, disk_on, open_disk
from bootsvc.units import describe_size


@dataclass(frozen=True)
class FoundDisk:
    """One disk with bootsvc's partitions.

    Attributes:
        node: /dev/sda and the like.
        size: bytes.
        model, serial: as the disk says; "" where it says nothing.
        guids: of the disk and of its partitions.
        sequence: of its boot-status record, 0 where that is lost.
        following: what its next start does, by the record, in words.
    """

    node: str
    size: int
    model: str
    serial: str
    guids: frozenset[str]
    sequence: int
    following: str


def found_disks() -> tuple[FoundDisk, ...]:
    """All disks of this machine with bootsvc's partitions, by the order of their nodes."""
    found = []
    for node in disks.disk_nodes():
        try:
            with open_disk(node, writable=False) as disk:
                found.append(_found(node, disk))
        except BootsvcError:
            continue  # none of ours, or one that nothing can be started from
    return tuple(found)


def choose(node: str) -> Disk:
    """The disk at ``node``, open for writing: the one that a person named.

    Raises:
        LayoutError: it is none of those with our partitions, or a copy of another.
        StorageError, FormatError: it cannot be opened, or changed meanwhile.
    """
    found = found_disks()
    chosen = [disk for disk in found if disk.node == node]
    if not chosen:
        names = ", ".join(disk.node for disk in found) or "none"
        raise LayoutError(f"{node}: no disk with bootsvc's partitions", hint=f"there are: {names}")
    if reason := refusal_of(chosen[0], found):
        raise LayoutError(reason, hint="unplug one")
    return disk_on(DirectDevice(Path(node), writable=True))


def refusal_of(disk: FoundDisk, among: Iterable[FoundDisk]) -> str:
    """Why ``disk`` cannot be chosen, as a sentence without its full stop; "" where it can. Pure."""
    twins = [one.node for one in among if one.node != disk.node and one.guids & disk.guids]
    if not twins:
        return ""
    names = ", ".join(twins)
    return f"{disk.node} and {names} are copies of each other: an image cannot tell them apart"


def describe_disk(disk: FoundDisk) -> str:
    """One line that tells a disk from another. Pure."""
    words = [disk.model, f"serial {disk.serial}" if disk.serial else "", describe_size(disk.size)]
    if disk.sequence:
        words.append(f"record {disk.sequence}")
    return f"{disk.node}: {', '.join(word for word in words if word)}; {disk.following}"


def _found(node: Path, disk: Disk) -> FoundDisk:
    try:
        status = disk.status.read()
        sequence, following = status.sequence, f"next: {next_start(status)}"
    except StatusLostError:
        sequence, following = 0, "its record is lost"
    return FoundDisk(
        node=str(node),
        size=disk.device.size,
        model=disks.model_of(node),
        serial=disks.serial_of(node),
        guids=frozenset((disk.gpt.disk_guid, *(part.guid for part in disk.gpt.partitions))),
        sequence=sequence,
        following=following,
    )
