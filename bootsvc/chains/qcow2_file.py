"""Reads and writes check information in a qcow2 file on disk (S2.5, F2.4).

The extension first, then the copy at byte 3072 where it harms nobody. Each write is flushed before
the next, so that qemu can open the file after a power cut at any moment; what was written is read
back past the page cache. A file that anybody has open is refused: qemu keeps a file's header in
memory and would write its own over ours. qemu-img's ``amend``, ``rebase``, ``bitmap`` and
``commit`` wipe the copy, ``convert`` loses both; ``write_information`` puts them back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootsvc.errors import (
    DiskFileInUseError,
    FormatError,
    MagicError,
    ReadBackError,
    StorageError,
    UnsupportedDiskError,
)
from bootsvc.formats import qcow2
from bootsvc.formats.check_information import (
    SIZE,
    CheckInformation,
    build_information,
    parse_information,
)
from bootsvc.formats.qcow2 import COMPATIBLE_OFFSET, MAX_HEADER_SIZE, Header, Write
from bootsvc.storage.device import Device, DirectDevice
from bootsvc.units import BLOCK_SIZE, round_up

_LOCK_BYTES = (100, 200)
"""Where qemu's locks lie, begin and count (block/file-posix.c: RAW_LOCK_PERM_BASE and the shared
ones 100 bytes behind it)."""


@dataclass(frozen=True)
class Found:
    """What a file says.

    Attributes:
        header: its header.
        information: its check information, or None.
        place: where that stood, ``extension`` or ``byte 3072``; empty where there is none.
        problem: why what is there cannot be read; empty where all is well.
    """

    header: Header
    information: CheckInformation | None
    place: str
    problem: str = ""


@dataclass(frozen=True)
class Written:
    """What was done: whether anything had to be written, and whether a copy is at byte 3072."""

    is_changed: bool
    is_at_3072: bool


def read_file(path: Path) -> Found:
    """The header and check information of the qcow2 file ``path``; writes nothing.

    Raises:
        FormatError: not qcow2, or a damaged header.
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEADER_SIZE)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    return read_head(head, str(path))


def read_head(head: bytes, name: str) -> Found:
    """As ``read_file``, of a file's first bytes; ``name`` is for messages."""
    try:
        header = qcow2.parse_header(head)
        ours = qcow2.find_ours(header)
    except FormatError as exc:
        raise type(exc)(f"{name}: {exc}", hint=exc.hint) from exc
    problem = ""
    copy = head[COMPATIBLE_OFFSET : COMPATIBLE_OFFSET + SIZE]
    for place, data in (("extension", ours), ("byte 3072", copy)):
        if data is None or (place == "byte 3072" and header.used_to > COMPATIBLE_OFFSET):
            continue
        try:
            return Found(header, parse_information(data), place, problem)
        except MagicError:
            continue
        except FormatError as exc:
            problem = problem or f"{place}: {exc}"
    return Found(header, None, "", problem)


def write_information(path: Path, information: CheckInformation) -> Written:
    """Have the qcow2 file ``path`` say ``information``; writes nothing where it does already.

    Raises:
        FormatError: not qcow2, or no room in its first cluster.
        UnsupportedDiskError: a file whose header must not be touched; the reason is named.
        DiskFileInUseError: somebody has it open.
        StorageError: it cannot be read or written, or is read back differently.
    """
    if path.is_symlink() or not path.is_file():
        raise StorageError(f"{path}: not a plain file")
    with DirectDevice(path, writable=True) as device, _nobody_else(device.fileno(), path):
        return put_information(device, information)


def put_information(device: Device, information: CheckInformation) -> Written:
    """As ``write_information``, on an open device that nobody else writes."""
    content = build_information(information)
    head = _read_head(device)
    found = read_head(head, device.name)
    why = qcow2.unsupported(found.header)
    if why:
        raise UnsupportedDiskError(
            f"{device.name}: {why}", hint="qemu-img check or convert makes a plain file of it"
        )
    is_changed = False
    if qcow2.find_ours(found.header) != content:
        head = _write_all(device, head, qcow2.ours_set(head, content))
        is_changed = True
    is_free = qcow2.is_free_at_3072(head, SIZE)
    if is_free and head[COMPATIBLE_OFFSET : COMPATIBLE_OFFSET + SIZE] != content:
        head = _write_all(device, head, (Write(COMPATIBLE_OFFSET, content),))
        is_changed = True
    if is_changed and _read_head(device) != head:
        raise ReadBackError(f"{device.name}: its header differs from what was written")
    return Written(is_changed, is_free)


def _read_head(device: Device) -> bytes:
    return device.read_at(0, min(device.size, MAX_HEADER_SIZE))


def _write_all(device: Device, head: bytes, writes: tuple[Write, ...]) -> bytes:
    """Carry out ``writes`` one by one, in whole blocks, each flushed; the head after them."""
    for one in writes:
        head = qcow2.applied(head, (one,))
        first = one.offset // BLOCK_SIZE * BLOCK_SIZE
        last = round_up(one.offset + len(one.data), BLOCK_SIZE)
        if last > len(head):  # small clusters: the file may end within a block
            first = one.offset // device.sector_size * device.sector_size
            last = round_up(one.offset + len(one.data), device.sector_size)
        device.write_at(first, head[first:last])
        device.flush()
    return head


@contextmanager
def _nobody_else(fd: int, path: Path) -> Iterator[None]:
    """Keep qemu from opening the file meanwhile, by the locks that it takes itself."""
    begin, count = _LOCK_BYTES
    # struct flock: type, whence, start, length, pid.
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, begin, count, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            raise DiskFileInUseError(
                f"{path}: a virtual machine or another program has it open",
                hint="end that first; nothing was written",
            ) from exc
        raise StorageError(f"{path}: cannot be locked: {exc.strerror}") from exc
    yield
    # The lock goes with the open file.
