"""A whole disk as bootsvc sees it: the record and three areas, found by its own GPT (DESIGN 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootsvc.errors import LayoutError
from bootsvc.formats.boot_status import Area
from bootsvc.formats.gpt import NAMES, TYPE_GUIDS, Gpt, Partition, parse_gpt
from bootsvc.storage.device import Device, DirectDevice, Window
from bootsvc.storage.lock import lock
from bootsvc.storage.status_store import COPY_OFFSETS, StatusStore
from bootsvc.units import BLOCK_SIZE

ROLE_OF_AREA = {Area.PRIMARY: "primary", Area.BACKUP: "backup", Area.STAGING: "staging"}


@dataclass(frozen=True)
class Disk:
    """The parts of a disk that bootsvc works on."""

    device: Device
    gpt: Gpt
    status: StatusStore
    areas: dict[Area, Window]

    def partition(self, role: str) -> Partition:
        """The one partition of ``role``. Raises LayoutError: none, or more than one."""
        return _only(self.gpt, role, self.device.name)


def disk_on(device: Device, gpt: Gpt | None = None) -> Disk:
    """The parts of the disk on ``device``.

    Args:
        gpt: the table to go by, where it is not yet on the device.

    Raises:
        FormatError: no valid partition table.
        LayoutError: a partition of ours is missing, doubled or too small.
    """
    table = gpt or parse_gpt(device.read_at, device.size, device.sector_size)

    def window(role: str) -> Window:
        part = _only(table, role, device.name)
        return Window(device, NAMES[role], part.offset, part.size)

    status = window("status")
    if status.size < COPY_OFFSETS[-1] + BLOCK_SIZE:
        raise LayoutError(f"{status.name}: {status.size} bytes hold only one copy of the record")
    areas = {area: window(role) for area, role in ROLE_OF_AREA.items()}
    return Disk(device, table, StatusStore(status), areas)


@contextmanager
def open_disk(
    path: Path, *, writable: bool, on_wait: Callable[[str], None] | None = None
) -> Iterator[Disk]:
    """The disk at ``path`` (block device or image file), locked against other writers.

    Args:
        on_wait: is told who is waited for, where another program has the lock.

    Raises:
        DiskBusyError: another program works on it and does not end.
        StorageError, FormatError: it cannot be opened, or is not a bootsvc disk.
    """
    with DirectDevice(path, writable=writable) as device:
        if writable:
            lock(device, on_wait=on_wait)
        yield disk_on(device)


def _only(gpt: Gpt, role: str, where: str) -> Partition:
    found = gpt.by_role(role)
    if len(found) != 1:
        raise LayoutError(
            f"{where}: {len(found)} partitions named {NAMES[role]} of type {TYPE_GUIDS[role]}",
            hint="make a disk with: bootsvc disk create",
        )
    return found[0]
