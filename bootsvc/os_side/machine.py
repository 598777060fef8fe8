"""This machine's disk: which one it is, and the record on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootsvc.errors import FormatError, LayoutError, NotBootsvcError, StorageError
from bootsvc.formats.boot_status import BootStatus
from bootsvc.os_side.started import ThisStart
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import Disk, disk_on, open_disk

SYS = Path("/sys")
DEV = Path("/dev")


@dataclass(frozen=True)
class Machine:
    """The disk, and its record as it was read when the disk was opened."""

    disk: Disk
    status: BootStatus


@contextmanager
def open_machine(
    path: Path, *, writable: bool, on_wait: Callable[[str], None] | None = None
) -> Iterator[Machine]:
    """The bootsvc disk at ``path`` and its record; locked against other writers if ``writable``.

    Args:
        on_wait: is told who is waited for, where another program has the lock.

    Raises:
        DiskBusyError: another program works on it and does not end.
        NotBootsvcError: it has no partitions of bootsvc.
        StatusLostError: both copies of the record are lost.
        LayoutError: for ``writable``: the record belongs to another partition table.
        StorageError: it cannot be opened or read.
    """
    with _opened(path, writable=writable, on_wait=on_wait) as disk:
        status = disk.status.read()
        if writable and status.layout_hash != disk.gpt.layout_hash():
            raise LayoutError(
                f"{path}: the boot-status record belongs to another disk or partition table",
                hint="nothing is written to such a disk; make a new one: bootsvc disk create",
            )
        yield Machine(disk, status)


@contextmanager
def _opened(path: Path, *, writable: bool, on_wait: Callable[[str], None] | None) -> Iterator[Disk]:
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(open_disk(path, writable=writable, on_wait=on_wait))
        except (FormatError, LayoutError) as exc:
            raise NotBootsvcError(
                f"{path} is not a disk of bootsvc: {exc}", hint="name another one: --disk PATH"
            ) from exc
        yield disk


def find_disk(this_start: ThisStart | None, sys: Path = SYS, dev: Path = DEV) -> Path:
    """The disk that this machine was started from, or else the only one with our partitions.

    Raises:
        NotBootsvcError: there is none, or there are several.
    """
    if this_start is not None:
        disk = whole_disk(this_start.root, sys, dev)
        if disk is not None:
            return disk
    disks = [path for path in _disks(sys, dev) if _is_ours(path)]
    if len(disks) == 1:
        return disks[0]
    if disks:
        names = ", ".join(map(str, disks))
        raise NotBootsvcError(
            f"several disks have bootsvc's partitions: {names}", hint="name one: --disk PATH"
        )
    raise NotBootsvcError(
        "no disk of this machine has bootsvc's partitions",
        hint="are you root? For a disk file: --disk FILE; a new one: bootsvc disk create",
    )


def whole_disk(partition: str, sys: Path = SYS, dev: Path = DEV) -> Path | None:
    """/dev/vda for /dev/vda4; None where ``partition`` is not a partition's device node."""
    node = sys / "class/block" / Path(partition).name
    if not partition.startswith("/") or not (node / "partition").exists():
        return None
    return dev / node.resolve().parent.name


def _disks(sys: Path, dev: Path) -> list[Path]:
    """The real disks: loop devices, RAM disks and mappings have no device behind them."""
    try:
        entries = sorted((sys / "block").iterdir())
    except OSError:
        return []
    return [dev / entry.name for entry in entries if (entry / "device").exists()]


def _is_ours(path: Path) -> bool:
    try:
        with DirectDevice(path, writable=False) as device:
            disk_on(device)
    except (StorageError, FormatError):
        return False
    return True
