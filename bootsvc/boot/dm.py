"""Device-mapper: what stands between an area and the file system that is mounted (DESIGN 5, 7).

Two targets of the kernel are used. ``verity`` holds every block that is read against the image's
digest tree, which lies in the area's footer in dm-verity's own layout; the root comes from the
signed manifest. ``linear`` shows one partition of an image that is itself a disk.

The calls are those of linux/dm-ioctl.h on /dev/mapper/control (interface 4.0.0):

    struct dm_ioctl        version 3 x u32, data_size u32, data_start u32, target_count u32,
                           open_count s32, flags u32, event_nr u32, padding u32, dev u64,
                           name 128 bytes, uuid 129 bytes, 7 bytes; together 312
    struct dm_target_spec  sector_start u64, length u64, status s32, next u32, type 16 bytes;
                           behind it the target's parameters as text, padded to 8 bytes
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bootsvc.errors import BootError
from bootsvc.formats.manifest import InnerPartition
from bootsvc.formats.verity import PANIC, Verity
from bootsvc.units import SECTOR_SIZE, round_up

CONTROL = Path("/dev/mapper/control")
_CONTROL_DEVICE = (10, 236)
_CREATE, _REMOVE, _SUSPEND, _TABLE_LOAD = 3, 4, 6, 9
_READ_ONLY = 1
_HEAD = struct.Struct("<3I3Ii3IQ128s129s7x")
_TARGET = struct.Struct("<QQiI16s")
_DEVICE_AT = 40


@dataclass(frozen=True)
class Table:
    """What a mapping consists of: one target over all of its ``sectors``."""

    target: str
    sectors: int
    parameters: str


def verity_table(device: str, verity: Verity, option: str) -> Table:
    """The table that holds every block of ``device`` (major:minor) against its digest."""
    return Table("verity", verity.size // SECTOR_SIZE, verity.parameters(device, option))


def linear_table(device: str, part: InnerPartition) -> Table:
    """The table that shows ``part`` of ``device`` (major:minor)."""
    return Table("linear", part.size // SECTOR_SIZE, f"{device} {part.offset // SECTOR_SIZE}")


def map_area(
    node: str, name: str, part: InnerPartition | None, verity: Verity | None, option: str = PANIC
) -> list[str]:
    """Lay over the area at ``node`` what its image asks for.

    Args:
        name: of the mappings, for people.
        part: the partition to show, None for the whole image.
        verity: the tree to hold blocks against, None for unchecked reading.
        option: what happens at a bad block; see ``Verity.parameters``.

    Returns:
        The nodes of the mappings, the one to mount last; empty where the area itself is.

    Raises:
        BootError: the kernel refuses; nothing is left behind.
    """
    with ExitStack() as undo:
        nodes: list[str] = []
        if verity:
            nodes.append(_create(name, verity_table(_number_of(node), verity, option)))
            undo.callback(_remove_quietly, name)
        if part:
            name = f"{name}-root"
            nodes.append(
                _create(name, linear_table(_number_of(nodes[-1] if nodes else node), part))
            )
        undo.pop_all()
    return nodes


@contextmanager
def mapped(
    node: str, name: str, part: InnerPartition | None, verity: Verity | None
) -> Iterator[str]:
    """The node to mount, for a look at the image: a bad block is an I/O error, not the machine's
    end. The mappings are gone afterwards. Raises BootError."""
    nodes = map_area(node, name, part, verity, option="")
    try:
        yield nodes[-1] if nodes else node
    finally:
        if part:
            _remove_quietly(f"{name}-root")
        if verity:
            _remove_quietly(name)


def _number_of(node: str) -> str:
    try:
        found = Path(node).stat().st_rdev
    except OSError as exc:
        raise BootError(f"{node}: {exc.strerror}") from exc
    return f"{os.major(found)}:{os.minor(found)}"


def _create(name: str, table: Table) -> str:
    """The node of a new, active, read-only mapping; one of that name from before is replaced."""
    _remove_quietly(name)
    answer = _call(_CREATE, name, "be made")
    minor = os.minor(struct.unpack_from("<Q", answer, _DEVICE_AT)[0])
    try:
        _call(_TABLE_LOAD, name, f"be loaded with {table.target}", table)
        # With no flag to suspend it, this call resumes the device: the table becomes active.
        _call(_SUSPEND, name, "be started")
    except BootError:
        _remove_quietly(name)
        raise
    return f"/dev/dm-{minor}"


def _remove_quietly(name: str) -> None:
    with suppress(BootError):
        _call(_REMOVE, name, "be removed")


def _call(command: int, name: str, what: str, table: Table | None = None) -> bytes:
    request = bytearray(_request(name, table))
    number = 3 << 30 | _HEAD.size << 16 | 0xFD << 8 | command
    try:
        control = _open_control()
        try:
            fcntl.ioctl(control, number, request, True)
        finally:
            os.close(control)
    except OSError as exc:
        raise BootError(
            f"device-mapper: {name} cannot {what}: {exc.strerror} (errno {exc.errno})"
        ) from exc
    return bytes(request)


def _request(name: str, table: Table | None) -> bytes:
    """The bytes of one call; with ``table`` its target behind the head."""
    target = b""
    if table:
        text = table.parameters.encode() + b"\0"
        text += bytes(round_up(len(text), 8) - len(text))
        kind = table.target.encode()
        target = _TARGET.pack(0, table.sectors, 0, _TARGET.size + len(text), kind) + text
    size = _HEAD.size + len(target)
    flags = _READ_ONLY if table else 0
    head = _HEAD.pack(
        4, 0, 0, size, _HEAD.size, int(bool(table)), 0, flags, 0, 0, 0, name.encode(), b""
    )
    return head + target


def _open_control() -> int:
    """Opening the node of this number has the kernel load dm_mod where it is a module."""
    if not CONTROL.exists():
        CONTROL.parent.mkdir(exist_ok=True)
        os.mknod(CONTROL, stat.S_IFCHR | 0o600, os.makedev(*_CONTROL_DEVICE))
    return os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
