"""What is on a disk that is really there, before anybody overwrites it.

``lsblk`` is asked, the kernel has the last word: a disk that it holds for a mount, swap, a RAID or
a volume group cannot be opened exclusively, however well the mount is hidden (the disk that the
system runs from, below an overlay).
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootsvc.boot.disks import model_of, partition_name_of, serial_of
from bootsvc.disk.create_on_disk import is_unfinished
from bootsvc.disk.tools import run_tool
from bootsvc.errors import DiskBusyError, StorageError, ToolError
from bootsvc.storage.device import DirectDevice
from bootsvc.units import MIB, describe_size

_COLUMNS = "PATH,TYPE,SIZE,MODEL,SERIAL,TRAN,RO,LOG-SEC,FSTYPE,LABEL,PARTLABEL,MOUNTPOINTS"
_LSBLK = ("lsblk", "--json", "--tree", "--bytes", "--output", _COLUMNS)
"""Without --tree the partitions stand beside their disk."""
_WHOLE = ("disk", "loop")


@dataclass(frozen=True)
class Part:
    """A partition, or what a disk or partition serves (a volume, an array).

    Attributes:
        kind: part, crypt, lvm, raid1 ... as lsblk says.
        size: bytes.
        content: file system, label and partition name, as far as there are any.
        mounts: where it is mounted; ``[SWAP]`` where it is swap.
    """

    path: str
    kind: str
    size: int
    content: str
    mounts: tuple[str, ...]


@dataclass(frozen=True)
class RealDisk:
    """A whole disk and what is on it.

    Attributes:
        kind: disk or loop, else it is none.
        size: bytes; sector_size: logical, bytes.
        model, serial, bus: as the disk says, "" where it says nothing.
        whole: what fills the disk itself, without a partition.
        parts: everything on it.
    """

    path: str
    kind: str
    size: int
    sector_size: int
    is_read_only: bool
    model: str
    serial: str
    bus: str
    whole: Part
    parts: tuple[Part, ...]


def is_block_device(path: Path) -> bool:
    """Whether ``path`` is a device rather than a file, or nothing yet."""
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except OSError:
        return False


def look_at(path: Path) -> RealDisk:
    """What is on the disk ``path``, whatever name leads to it.

    lsblk knows contents and serial numbers from udev only, and partitions from the kernel only;
    where these know nothing, the kernel's files and the disk's own bytes are asked.

    Raises:
        ToolError: lsblk is missing or does not know it.
        StorageError: what lsblk says cannot be understood.
    """
    disk = parse_lsblk(run_tool([*_LSBLK, path.resolve()]))
    whole = replace(disk.whole, content=disk.whole.content or _content(disk.path))
    node = Path(disk.path)
    parts = tuple(_with_content(part, node) for part in disk.parts)
    return replace(
        disk,
        model=disk.model or model_of(node),
        serial=disk.serial or serial_of(node),
        whole=whole,
        parts=parts or _parts_in_table(disk),
    )


def is_empty(disk: RealDisk) -> bool:
    """Whether nothing is lost with ``disk``: its first and last MiB are zeros, or its making was
    cut off.

    There stands every partition table and what begins a file system, an array or a volume group;
    a new disk has zeros there.

    Raises:
        StorageError, DeviceError: it cannot be read.
    """
    with DirectDevice(Path(disk.path), writable=False) as device:
        if is_unfinished(device):
            return True
        if disk.parts:
            return False
        length = min(MIB, device.size)
        return not any(any(device.read_at(offset, length)) for offset in (0, device.size - length))


def _with_content(part: Part, disk: Path) -> Part:
    content = part.content or _content(part.path)
    name = partition_name_of(disk, Path(part.path))
    if name and name not in content:
        content = f"{content} {name}".strip()
    return replace(part, content=content)


def _content(path: str, offset: int = 0, size: int = 0) -> str:
    """The file system that stands on a device, or at ``offset`` (bytes) of it, and its label."""
    place = ["-O", str(offset), "-S", str(size)] if size else []
    try:
        lines = run_tool(["blkid", "-p", "-o", "export", *place, path]).splitlines()
    except ToolError:  # it found nothing
        return ""
    found = dict(line.partition("=")[::2] for line in lines)
    label = found.get("LABEL", "")
    names = (found.get("TYPE", ""), f'"{label}"' if label else "")
    return " ".join(name for name in names if name)


def _parts_in_table(disk: RealDisk) -> tuple[Part, ...]:
    """Partitions of a table that the kernel has not read."""
    try:
        table = json.loads(run_tool(["sfdisk", "--json", disk.path]))["partitiontable"]
        sector = int(table.get("sectorsize", disk.sector_size))
        parts = []
        for entry in table["partitions"]:
            offset, size = int(entry["start"]) * sector, int(entry["size"]) * sector
            names = (_content(disk.path, offset, size), str(entry.get("name", "")))
            content = " ".join(name for name in names if name)
            parts.append(Part(str(entry["node"]), "part", size, content, ()))
    except (ToolError, ValueError, KeyError, TypeError):  # no table that it can read
        return ()
    return tuple(parts)


def parse_lsblk(text: str) -> RealDisk:
    """The disk that lsblk describes as JSON. Pure.

    Raises:
        StorageError: it describes none.
    """
    try:
        (entry,) = json.loads(text)["blockdevices"]
        return RealDisk(
            path=str(entry["path"]),
            kind=str(entry["type"]),
            size=int(entry["size"]),
            sector_size=int(entry["log-sec"]),
            is_read_only=bool(entry["ro"]),
            model=_words(entry, "model"),
            serial=_words(entry, "serial"),
            bus=_words(entry, "tran"),
            whole=_part(entry),
            parts=tuple(_parts_below(entry)),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise StorageError(f"lsblk describes no single disk: {exc!r}") from exc


def _parts_below(entry: dict[str, Any]) -> list[Part]:
    found = []
    for child in entry.get("children") or ():
        found += [_part(child), *_parts_below(child)]
    return found


def _part(entry: dict[str, Any]) -> Part:
    label = _words(entry, "label")
    names = (_words(entry, "fstype"), f'"{label}"' if label else "", _words(entry, "partlabel"))
    content = " ".join(name for name in names if name)
    mounts = tuple(str(one) for one in entry.get("mountpoints") or () if one)
    return Part(str(entry["path"]), str(entry["type"]), int(entry["size"]), content, mounts)


def _words(entry: dict[str, Any], name: str) -> str:
    return str(entry.get(name) or "").strip()


def describe(disk: RealDisk) -> list[str]:
    """What a person should know before it is gone, a line each. Pure."""
    facts = [disk.model, f"serial {disk.serial}" if disk.serial else "", disk.bus]
    facts += [describe_size(disk.size), f"{disk.sector_size}-byte sectors"]
    lines = [f"{disk.path}: {', '.join(word for word in facts if word)}"]
    parts = [disk.whole, *disk.parts] if disk.whole.content or disk.whole.mounts else disk.parts
    for part in parts:
        mounted = f"  in use: {', '.join(part.mounts)}" if part.mounts else ""
        content = part.content or "nothing that is known"
        lines.append(f"  {part.path}  {describe_size(part.size):>10}  {content}{mounted}")
    if not parts:
        lines.append("  no partition and no file system that is known")
    return lines


def refusal_of(disk: RealDisk) -> str:
    """Why ``disk`` may not be overwritten, as a sentence; "" where a person may decide. Pure."""
    if disk.kind not in _WHOLE:
        return f"{disk.path} is not a whole disk but of the kind {disk.kind}"
    if disk.is_read_only:
        return f"{disk.path} is read-only"
    for part in (disk.whole, *disk.parts):
        if part.mounts:
            return f"{part.path} is in use: {', '.join(part.mounts)}"
    return ""


def check_free(disk: RealDisk) -> None:
    """Check that nobody uses ``disk``.

    Raises:
        StorageError: it may not be overwritten.
        DiskBusyError: the kernel holds it for a mount, swap or another layer.
    """
    if reason := refusal_of(disk):
        raise StorageError(reason, hint="name the whole disk that is meant, with nothing mounted")
    try:
        os.close(os.open(disk.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC))
    except OSError as exc:
        raise DiskBusyError(
            f"{disk.path}: the kernel does not give it away: {exc.strerror}",
            hint="does this system run from it, or from a volume on it?",
        ) from exc
