"""A file is left on a disk that somebody plugged in, and on no other.

The file system is mounted for the moment, the file written, flushed, read back past the cache, and
the file system unmounted. None of bootsvc's own disks is ever written to, whichever it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootsvc.boot import disks, media, syscalls
from bootsvc.boot.disk_choice import found_disks
from bootsvc.errors import BootsvcError, StorageError
from bootsvc.storage.files import replace_file

OPTIONS = {"vfat": media.OPTIONS["vfat"], "ext4": ""}
"""File systems that a file is left on, with their options."""

_OURS = "bootsvc-"


def places(ours: str) -> tuple[Path, ...]:
    """Partitions, and disks without any, with a file system that a file can be left on.

    Args:
        ours: node of the disk in use, "" where there is none.
    """
    refused = _own_disks(ours)
    found = []
    for disk in disks.disk_nodes():
        if str(disk) in refused:
            continue
        parts = sorted(one.parent.name for one in (disks.SYS_BLOCK / disk.name).glob("*/partition"))
        found += [disk.with_name(name) for name in parts] or [disk]
    return tuple(node for node in found if _kind_of(node))


def leave(node: Path, name: str, content: bytes, ours: str) -> None:
    """Leave ``content`` as file ``name`` at the top of the file system on ``node``.

    Raises:
        StorageError, BootError: it is one of our own disks, has no file system of those, or cannot
            be written to.
    """
    found = places(ours)
    if node not in found:
        names = ", ".join(map(str, found)) or "none"
        raise StorageError(
            f"{node} is no place to leave a file on",
            hint=f"vfat or ext4 on a disk of its own: {names}",
        )
    with _mounted(node) as folder:
        try:
            replace_file(folder / name, content)
        except OSError as exc:
            raise StorageError(f"{node}: {name} cannot be written: {exc.strerror}") from exc


@contextmanager
def _mounted(node: Path) -> Iterator[Path]:
    kind = _kind_of(node)
    place = media.MOUNTS / f"{node.name}-written"
    place.mkdir(parents=True, exist_ok=True)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount(str(node), place, kind, flags, OPTIONS[kind])
    try:
        yield place
    finally:
        syscalls.umount(place)


def _own_disks(ours: str) -> set[str]:
    """The disk in use, those that bear our partitions, and those the kernel saw our names on."""
    own = {ours, *(disk.node for disk in found_disks())}
    for disk in disks.disk_nodes():
        for uevent in (disks.SYS_BLOCK / disk.name).glob("*/uevent"):
            try:
                lines = uevent.read_text("utf-8", errors="replace").splitlines()
            except OSError:
                continue
            if any(line.startswith(f"PARTNAME={_OURS}") for line in lines):
                own.add(str(disk))
    return own


def _kind_of(node: Path) -> str:
    """The file system on ``node`` if it is one of OPTIONS, else ""."""
    try:
        kind = media.kind_of(node)
    except BootsvcError:
        return ""
    return kind if kind in OPTIONS else ""
