"""File systems on disks that are not ours, mounted so that nothing on them changes.

Their kind is read from their first bytes rather than tried out, so that the kernel's log shows no
failures that are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootsvc.boot import syscalls
from bootsvc.boot.handover import RUN_DIR
from bootsvc.errors import BootsvcError, StorageError
from bootsvc.storage.device import DirectDevice
from bootsvc.units import BLOCK_SIZE

MOUNTS = RUN_DIR / "media"

OPTIONS = {
    # Names in UTF-8; 437 is the code page of short names, as FAT has had it since DOS.
    "vfat": "utf8,codepage=437,iocharset=ascii",
    "exfat": "",
    # Without noload the kernel would write to the disk what the journal holds.
    "ext4": "noload",
}
"""File systems that images are taken from, with their options."""


@contextmanager
def mounted(node: Path) -> Iterator[Path]:
    """The files on the partition or disk ``node``, for reading.

    Raises:
        StorageError: it cannot be read, or holds no file system of those.
        BootError: the kernel does not mount it.
    """
    kind = kind_of(node)
    place = MOUNTS / node.name
    place.mkdir(parents=True, exist_ok=True)
    flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount(str(node), place, kind, flags, OPTIONS[kind])
    try:
        yield place
    finally:
        syscalls.umount(place)


def kind_of(node: Path) -> str:
    """The file system on ``node``: one of OPTIONS.

    Raises:
        StorageError: it cannot be read, or holds none of them.
    """
    try:
        with DirectDevice(node, writable=False) as device:
            head = device.read_at(0, min(device.size, BLOCK_SIZE))
    except BootsvcError as exc:
        raise StorageError(f"{node}: {exc}", hint=exc.hint) from exc
    kind = kind_of_bytes(head)
    if not kind:
        raise StorageError(
            f"{node}: no file system that can be read here ({', '.join(OPTIONS)})",
            hint="copy the image to a stick with FAT, or write it to a disk as it is",
        )
    return kind


def kind_of_bytes(head: bytes) -> str:
    """The file system that begins with ``head`` (4 KiB), "" for none that is known."""
    if head[3:11] == b"EXFAT   ":
        return "exfat"
    if head[510:512] == b"\x55\xaa" and b"FAT" in (head[54:57], head[82:85]):
        return "vfat"
    if head[1080:1082] == b"\x53\xef":
        return "ext4"
    return ""
