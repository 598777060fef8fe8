"""Finding the updater's disk among the machine's block devices, and its partitions' nodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bootsvc.errors import BootsvcError, LayoutError, SeveralDisksError
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import Disk, disk_on
from bootsvc.units import SECTOR_SIZE

SYS_BLOCK = Path("/sys/block")
NEVER = ("loop", "ram", "zram", "sr", "fd", "dm-", "md")
"""Block devices that are no disk of the machine."""
_MODEL_FILES = ("device/model", "device/name")
_SERIAL_FILES = ("serial", "device/serial", "device/cid")


def find_disk(wait_s: float, looked: Callable[[], None] = lambda: None) -> Disk:
    """The one disk with our partitions, open for writing.

    Args:
        wait_s: seconds to wait for it to appear.
        looked: called whenever all disks were looked at in vain.

    Raises:
        LayoutError: none appeared; what each disk lacks is named.
        SeveralDisksError: there are several, and nobody may guess (``disk_choice``).
    """
    deadline = time.monotonic() + wait_s
    while True:
        found, problems = _bootsvc_disks()
        if found or time.monotonic() >= deadline:
            break
        looked()
        time.sleep(0.1)
    if len(found) == 1:
        return found[0]
    if not found:
        raise LayoutError(
            "no disk with bootsvc's partitions" + "".join(f"; {one}" for one in problems),
            hint="check the disk and its cable; make one with: bootsvc disk create",
        )
    names = ", ".join(disk.device.name for disk in found)
    raise SeveralDisksError(
        f"several disks bear bootsvc's partitions: {names}",
        hint="unplug one, or choose one at the console",
    )


def partition_node(disk: Disk, role: str) -> Path:
    """/dev node of a partition of ``disk``. Raises LayoutError: the kernel does not show it."""
    index = disk.partition(role).index
    parent = Path(disk.device.name).name
    for entry in (SYS_BLOCK / parent).glob(f"{parent}*"):
        number = entry / "partition"
        if number.exists() and int(number.read_text()) == index:
            return Path("/dev") / entry.name
    raise LayoutError(
        f"{disk.device.name}: the kernel shows no partition {index} ({role})",
        hint="the primary partition table may be damaged; start with the kernel option gpt",
    )


def disk_nodes() -> tuple[Path, ...]:
    """The nodes of all disks of this machine, by their names."""
    names = sorted(entry.name for entry in SYS_BLOCK.iterdir())
    return tuple(Path("/dev") / name for name in names if not name.startswith(NEVER))


def model_of(node: Path) -> str:
    """What the disk says it is; "" where it says nothing."""
    return _said(node, _MODEL_FILES)


def serial_of(node: Path) -> str:
    """The disk's serial number; "" where it says none."""
    return _said(node, _SERIAL_FILES)


def size_of(node: Path) -> int:
    """The disk's size in bytes; 0 where it holds no medium."""
    text = _said(node, ("size",))
    return int(text) * SECTOR_SIZE if text.isdecimal() else 0


def partition_name_of(disk: Path, node: Path) -> str:
    """The name that the partition table gives the partition ``node`` of ``disk``, as the kernel has
    read it; "" where it gives none."""
    for line in _said(disk, (f"{node.name}/uevent",)).splitlines():
        if line.startswith("PARTNAME="):
            return line.removeprefix("PARTNAME=")
    return ""


def _said(node: Path, names: tuple[str, ...]) -> str:
    """What the first of these files in /sys says of a disk; "" where none does."""
    for name in names:
        try:
            text = (SYS_BLOCK / node.name / name).read_text("ascii", errors="replace")
        except OSError:
            continue
        if text.strip():
            return text.strip()
    return ""


def _bootsvc_disks() -> tuple[list[Disk], list[str]]:
    found: list[Disk] = []
    problems: list[str] = []
    for node in disk_nodes():
        device = None
        try:
            device = DirectDevice(node, writable=True)
            found.append(disk_on(device))
        except BootsvcError as exc:
            problems.append(f"{node.name}: {exc}")
            if device is not None:
                device.close()
    return found, problems
