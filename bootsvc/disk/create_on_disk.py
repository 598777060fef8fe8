"""Makes a bootsvc disk on a real one, in an order that a power cut can interrupt anywhere.

The old partition table goes first and the new one comes last, and it is the only thing that makes
a bootsvc disk of what is there: until then firmware, updater and Linux see an empty disk, and the
same command starts over. Each step is flushed and read back before the next one.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bootsvc.disk import data
from bootsvc.disk.create import (
    DiskContents,
    Progress,
    Work,
    fill_areas,
    make_frame,
    no_progress,
    prepared,
)
from bootsvc.disk.partition import DiskLayout
from bootsvc.errors import LayoutError, ReadBackError
from bootsvc.formats.boot_status import Area
from bootsvc.formats.gpt import parse_gpt
from bootsvc.storage.device import CHUNK_SIZE, Device, DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.storage.image_area import Footer
from bootsvc.units import BLOCK_SIZE, MIB

_BLKRRPART = 0x125F

COPIED_ROLES = ("bios-grub", "esp", "status")
"""Partitions that are made in a file, whole, and copied; the rest is made on the disk itself."""


def create_on_disk(
    path: Path, layout: DiskLayout, contents: DiskContents, *, progress: Progress = no_progress
) -> Footer:
    """Make a bootsvc disk of the block device `path` and return the footer of the image on it.

    Nobody is asked: that `path` is the right disk, and free, has been made sure of (``real_disk``).

    Args:
        layout: planned for this device's size and sector size.

    Raises:
        LayoutError: the layout is for another disk; nothing was written.
        BootsvcError: as ``create.prepared``; nothing was written.
        DeviceError, ReadBackError, ToolError: the disk failed, or a program; it has no partition
            table now.
    """
    with prepared(layout, contents) as work:

        def fill(device: Device, frame: Device) -> None:
            _fill(path, device, frame, work, progress)

        put_on_disk(path, layout, lambda frame, size: make_frame(frame, work, size, progress), fill)
    return work.footer


def put_on_disk(
    path: Path,
    layout: DiskLayout,
    make: Callable[[Path, int], None],
    fill: Callable[[Device, Device], None],
) -> None:
    """Fill the disk `path` between taking its old partition table away and giving it the new one.

    Args:
        make: makes the frame, a sparse file with the table and boot code, of so many bytes.
        fill: writes the partitions; is given the disk and the frame.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bootsvc-disk-") as folder,
        DirectDevice(path, writable=True) as device,
    ):
        _check_layout(device, layout)
        frame_path = Path(folder) / "frame"
        make(frame_path, device.size)
        head, tail = range(MIB), range(layout.partitions[-1].end, device.size)
        with DirectDevice(frame_path, writable=False) as frame:
            frame.sector_size = device.sector_size
            for where in (head, tail):
                _write_zeros(device, where)
            _have_table_read(path)
            fill(device, frame)
            device.flush()
            for where in (tail, head):
                copy_verified(frame, device, where)
    _have_table_read(path)


def _fill(path: Path, device: Device, frame: Device, work: Work, progress: Progress) -> None:
    progress("boot partitions", 0, 0)
    for role in COPIED_ROLES:
        part = work.layout[role]
        copy_verified(frame, device, range(part.offset, part.end))
    progress("data partition", 0, 0)
    data.make(path, work.layout, is_blank=False)
    disk = disk_on(device, parse_gpt(frame.read_at, frame.size, frame.sector_size))
    for area in (Area.PRIMARY, Area.BACKUP, Area.STAGING):
        # An image that was here once is found by the last block of its area.
        window = disk.areas[area]
        _write_zeros(window, range(window.size - BLOCK_SIZE, window.size))
    fill_areas(disk, work, progress)


def _check_layout(device: Device, layout: DiskLayout) -> None:
    fits = layout.partitions[-1].end + MIB <= device.size
    if not fits or layout.sector_size != device.sector_size:
        raise LayoutError(
            f"{device.name}: {device.size} bytes in sectors of {device.sector_size}: the layout is"
            " for another disk"
        )


def _write_zeros(device: Device, where: range) -> None:
    _write_verified(device, where, lambda _, length: bytes(length))


def copy_verified(source: Device, target: Device, where: range) -> None:
    """Copy bytes and read them back past every cache.

    Raises:
        ReadBackError: they differ.
    """
    _write_verified(target, where, source.read_at)


def _write_verified(target: Device, where: range, content: Callable[[int, int], bytes]) -> None:
    """Write what ``content`` gives at an offset, of a length; flush; read all of it back."""
    pieces = [
        (offset, min(CHUNK_SIZE, where.stop - offset))
        for offset in range(where.start, where.stop, CHUNK_SIZE)
    ]
    for offset, length in pieces:
        target.write_at(offset, content(offset, length))
    target.flush()
    for offset, length in pieces:
        if target.read_at(offset, length) != content(offset, length):
            raise ReadBackError(
                f"{target.name}: what was written at byte {offset} reads back differently",
                hint="the disk is failing, or smaller than it says; take another",
            )


def _have_table_read(path: Path) -> None:
    """Have the kernel look at the partition table again; a disk file has none that it knows."""
    with suppress(OSError), path.open("rb") as file:
        fcntl.ioctl(file, _BLKRRPART)
