"""Makes a bootsvc disk on a real one, in an order that a power cut can interrupt anywhere.

The old partition table goes first and the new one comes last, and it is the only thing that makes
a bootsvc disk of what is there: until then firmware, updater and Linux see an empty disk, and the
same command starts over. Each step is flushed and read back before the next one. A sentence in the
disk's first MiB says so meanwhile, so that nobody has to be asked once more.
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
    fill_areas,
    make_frame,
    no_progress,
    prepared,
    status_without_image,
)
from bootsvc.disk.esp import EspContents
from bootsvc.disk.partition import DiskLayout
from bootsvc.errors import LayoutError, ReadBackError
from bootsvc.formats.boot_status import Area
from bootsvc.formats.gpt import parse_gpt
from bootsvc.storage.device import CHUNK_SIZE, Device, DirectDevice
from bootsvc.storage.disk import Disk, disk_on
from bootsvc.storage.image_area import Footer
from bootsvc.units import BLOCK_SIZE, MIB

_BLKRRPART = 0x125F

UNFINISHED = (
    b"bootsvc: this disk is being made and holds nothing; it is made again from the start\n"
)
"""Stands before the first partition, where every other partition table leaves nothing, either."""

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
        _create(path, layout, work.esp, lambda disk: fill_areas(disk, work, progress), progress)
    return work.footer


def create_empty_on_disk(
    path: Path,
    layout: DiskLayout,
    boot: EspContents,
    *,
    scratch: Path | None = None,
    progress: Progress = no_progress,
) -> None:
    """Make a bootsvc disk of the block device `path` that has no image yet.

    Its record says so (HALT): until an image is staged there is nothing to start.

    Args:
        boot: of ``create.boot_contents``.
        scratch: folder for the frame, with room for kernel and initramfs; None: the system's own.

    Raises:
        LayoutError, DeviceError, ReadBackError, ToolError: as `create_on_disk`.
    """

    def record(disk: Disk) -> None:
        progress("boot-status record", 0, 0)
        disk.status.replace(status_without_image(disk.gpt.layout_hash()))

    _create(path, layout, boot, record, progress, scratch)


def _create(
    path: Path,
    layout: DiskLayout,
    boot: EspContents,
    fill_with_images: Callable[[Disk], None],
    progress: Progress,
    scratch: Path | None = None,
) -> None:
    def fill(device: Device, frame: Device) -> None:
        _copy_boot_partitions(device, frame, layout, progress)
        progress("data partition", 0, 0)
        data.make(path, layout, is_blank=False, looked=lambda: progress("data partition", 0, 0))
        disk = disk_on(device, parse_gpt(frame.read_at, frame.size, frame.sector_size))
        for area in (Area.PRIMARY, Area.BACKUP, Area.STAGING):
            # An image that was here once is found by the last block of its area.
            window = disk.areas[area]
            _write_zeros(window, range(window.size - BLOCK_SIZE, window.size))
        fill_with_images(disk)

    def make(frame: Path, size: int) -> None:
        make_frame(frame, layout, boot, size, progress)

    put_on_disk(path, layout, make, fill, scratch)


def put_on_disk(
    path: Path,
    layout: DiskLayout,
    make: Callable[[Path, int], None],
    fill: Callable[[Device, Device], None],
    scratch: Path | None = None,
) -> None:
    """Fill the disk `path` between taking its old partition table away and giving it the new one.

    Args:
        make: makes the frame, a sparse file with the table and boot code, of so many bytes.
        fill: writes the partitions; is given the disk and the frame.
        scratch: folder for the frame.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bootsvc-disk-", dir=scratch) as folder,
        DirectDevice(path, writable=True) as device,
    ):
        _check_layout(device, layout)
        frame_path = Path(folder) / "frame"
        make(frame_path, device.size)
        tail = range(layout.partitions[-1].end, device.size)
        with DirectDevice(frame_path, writable=False) as frame:
            frame.sector_size = device.sector_size
            _write_unfinished(device)
            _write_zeros(device, tail)
            _have_table_read(path)
            fill(device, frame)
            device.flush()
            copy_verified(frame, device, tail)
            copy_verified(frame, device, range(MIB))
    _have_table_read(path)


def _copy_boot_partitions(
    device: Device, frame: Device, layout: DiskLayout, progress: Progress
) -> None:
    parts = [layout[role] for role in COPIED_ROLES]
    total = 2 * sum(part.size for part in parts)  # written, then read back
    done = 0

    def tick(length: int) -> None:
        nonlocal done
        done += length
        progress("boot partitions", done, total)

    for part in parts:
        copy_verified(frame, device, range(part.offset, part.end), tick)


def _check_layout(device: Device, layout: DiskLayout) -> None:
    fits = layout.partitions[-1].end + MIB <= device.size
    if not fits or layout.sector_size != device.sector_size:
        raise LayoutError(
            f"{device.name}: {device.size} bytes in sectors of {device.sector_size}: the layout is"
            " for another disk"
        )


def is_unfinished(device: Device) -> bool:
    """Whether the making of this disk was begun and cut off; a table that it has by now says more.

    Raises:
        DeviceError: it cannot be read.
    """
    return device.size >= MIB and device.read_at(0, MIB) == _unfinished_head()


def _unfinished_head() -> bytes:
    return bytes(MIB - BLOCK_SIZE) + UNFINISHED.ljust(BLOCK_SIZE, b"\0")


def _write_unfinished(device: Device) -> None:
    head = _unfinished_head()
    _write_verified(device, range(MIB), lambda offset, length: head[offset : offset + length])


def _write_zeros(device: Device, where: range) -> None:
    _write_verified(device, where, lambda _, length: bytes(length))


def _nobody_counts(_length: int) -> None:
    """For work that nobody watches."""


def copy_verified(
    source: Device, target: Device, where: range, tick: Callable[[int], None] = _nobody_counts
) -> None:
    """Copy bytes and read them back past every cache.

    Args:
        tick: told how many bytes were written, or read back, at each step.

    Raises:
        ReadBackError: they differ.
    """
    _write_verified(target, where, source.read_at, tick)


def _write_verified(
    target: Device,
    where: range,
    content: Callable[[int, int], bytes],
    tick: Callable[[int], None] = _nobody_counts,
) -> None:
    """Write what ``content`` gives at an offset, of a length; flush; read all of it back."""
    pieces = [
        (offset, min(CHUNK_SIZE, where.stop - offset))
        for offset in range(where.start, where.stop, CHUNK_SIZE)
    ]
    for offset, length in pieces:
        target.write_at(offset, content(offset, length))
        tick(length)
    target.flush()
    for offset, length in pieces:
        if target.read_at(offset, length) != content(offset, length):
            raise ReadBackError(
                f"{target.name}: what was written at byte {offset} reads back differently",
                hint="the disk is failing, or smaller than it says; take another",
            )
        tick(length)


def _have_table_read(path: Path) -> None:
    """Have the kernel look at the partition table again; a disk file has none that it knows."""
    with suppress(OSError), path.open("rb") as file:
        fcntl.ioctl(file, _BLKRRPART)
