"""What the updater asks of the data partition, which it otherwise leaves to the OS (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bootsvc.boot import syscalls
from bootsvc.boot.disks import partition_node
from bootsvc.boot.handover import RUN_DIR
from bootsvc.errors import BootsvcError
from bootsvc.formats import failed_list
from bootsvc.storage.disk import Disk

_MOUNT_POINT = RUN_DIR / "data-looked-at"


def failed_images(disk: Disk, say: Callable[[str], None]) -> tuple[bytes, ...]:
    """Identities of the images that failed on this machine, by the list in data; newest first.

    Data is mounted read-only for the moment; only ext4 itself may finish what its journal holds.
    Data that cannot be used is said, and then nothing is known.
    """
    try:
        node = partition_node(disk, "data")
        _MOUNT_POINT.mkdir(parents=True, exist_ok=True)
        syscalls.mount(str(node), _MOUNT_POINT, "ext4", syscalls.MS_RDONLY)
        try:
            found = failed_list.parse(_beginning_of(_MOUNT_POINT / failed_list.NAME))
        finally:
            syscalls.umount(_MOUNT_POINT)
    except (BootsvcError, OSError) as exc:
        say(f"no list of failed images can be read from data: {exc}")
        return ()
    say(f"data remembers {len(found)} failed images")
    return found


def _beginning_of(path: Path) -> bytes:
    """The first MAX_SIZE bytes of a file, none where there is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(failed_list.MAX_SIZE)
    except FileNotFoundError:
        return b""
