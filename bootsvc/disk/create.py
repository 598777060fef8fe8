"""Makes a bootable disk file from a layout, an image, and the updater's kernel and initramfs.

No root, no loop device: sfdisk, mkfs and mtools work on the file itself at an offset. The work is
done under a temporary name beside the target; only a finished disk gets the name asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootsvc.disk import data, esp, grub
from bootsvc.disk.boot_menu import menu_config
from bootsvc.disk.grub_lock import check_locks
from bootsvc.disk.partition import DiskLayout, write_table
from bootsvc.disk.tools import require_tools
from bootsvc.errors import ImageTooLargeError, StorageError
from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
    StatusCode,
)
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import Disk, disk_on
from bootsvc.storage.image_area import (
    CopyCounts,
    Footer,
    copy_image,
    read_footer,
    read_leaves,
    verify_copy,
)
from bootsvc.units import describe_size

DEFAULT_OPTIONS = "console=ttyS0"

MAX_MENU_SECONDS = 60

TOOLS = ("sfdisk", "mkfs.vfat", "mmd", "mcopy", "mkfs.ext4", "debugfs")
"""Programs that every disk needs; GRUB's are asked for by ``grub``."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes done and bytes in all (0, 0 where they do not matter)."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """For work that nobody watches."""


@dataclass(frozen=True)
class DiskContents:
    """What goes on a disk.

    Attributes:
        image: the .bimg file of the first image.
        kernel: the updater's kernel.
        initramfs: the updater's initramfs.
        confirmed: the image is known to be good: it is put into primary and backup, ready to run.
            Otherwise it waits in staging, and the first start installs it.
        options: kernel options for the updater, beside those that `boot_menu` sets.
        menu_seconds: how long the boot menu may be called up with Esc.
        grub_password: opens GRUB's editor and command line, as `trust.grub_password` stores it;
            empty leaves them open.
    """

    image: Path
    kernel: Path
    initramfs: Path
    confirmed: bool = False
    options: str = DEFAULT_OPTIONS
    menu_seconds: int = 1
    grub_password: str = ""


def first_status(footer: Footer, layout_hash: bytes, *, confirmed: bool) -> BootStatus:
    """Return a new disk's boot-status record (DESIGN 4: IDLE where confirmed, else INSTALL)."""
    image = AreaRecord(
        AreaState.VALID, footer.manifest.size, footer.manifest.number, footer.identity
    )
    if confirmed:
        return BootStatus(
            StatusCode.WORKING,
            Phase.IDLE,
            Area.PRIMARY,
            version_floor=footer.manifest.floor,
            layout_hash=layout_hash,
            primary=AreaRecord(AreaState.CONFIRMED, image.size, image.number, image.identity),
            backup=image,
        )
    return BootStatus(
        StatusCode.WORKING,
        Phase.INSTALL,
        Area.NONE,
        request=Request.UPDATE,
        layout_hash=layout_hash,
        staging=image,
    )


def status_without_image(layout_hash: bytes) -> BootStatus:
    """Return the record of a new disk that no image is on yet: HALT, which takes an image from
    whoever brings one."""
    return BootStatus(
        StatusCode.WORKING,
        Phase.HALT,
        Area.NONE,
        layout_hash=layout_hash,
        last_failure=Failure(Phase.INSTALL, Reason.NO_IMAGE, Area.STAGING),
    )


@dataclass(frozen=True)
class Work:
    """All that a disk is made from, looked through before anything is written.

    Attributes:
        source: the image file, open.
        footer, leaves: of the image.
        esp: what goes on the boot partition.
    """

    layout: DiskLayout
    contents: DiskContents
    source: DirectDevice
    footer: Footer
    leaves: bytes
    esp: esp.EspContents


def boot_contents(
    layout: DiskLayout,
    kernel: Path,
    initramfs: Path,
    *,
    options: str,
    menu_seconds: int = 1,
    grub_password: str = "",
) -> esp.EspContents:
    """Look through what goes on the boot partition, by the rules of `DiskContents`; nothing is
    written.

    Raises:
        LayoutError, SettingsError, ToolError: as `prepared`.
    """
    require_tools(TOOLS)
    esp.check_fits(layout, kernel, initramfs)
    config = menu_config(options, seconds=menu_seconds, password=grub_password)
    return esp.EspContents(kernel, initramfs, config, grub.make_image(grub.EFI, layout))


@contextmanager
def prepared(layout: DiskLayout, contents: DiskContents) -> Iterator[Work]:
    """Look through all that goes on a disk; nothing is written.

    Raises:
        StorageError: an input cannot be read.
        ImageTooLargeError: the image does not fit an area.
        LayoutError: two slots of kernel and initramfs do not fit the ESP.
        ImageError, FormatError: the image file is incomplete, altered or none at all.
        SettingsError: kernel options or a password that GRUB's configuration cannot hold, or an
            updater that locks its console without one.
        ToolError: a program is missing (its package is named).
    """
    for path in (contents.image, contents.kernel, contents.initramfs):
        if not path.is_file():
            raise StorageError(f"{path}: no such file")
    check_locks(contents.initramfs, contents.grub_password)
    boot = boot_contents(
        layout,
        contents.kernel,
        contents.initramfs,
        options=contents.options,
        menu_seconds=contents.menu_seconds,
        grub_password=contents.grub_password,
    )
    with DirectDevice(contents.image, writable=False) as source:
        footer = read_footer(source)
        needed, room = footer.locator.total_size, layout["primary"].size
        if needed > room:
            raise ImageTooLargeError(
                f"{contents.image} needs {describe_size(needed)}, an area has"
                f" {describe_size(room)}",
                hint=f"give --area-size {-(-needed >> 20)}M or more",
            )
        yield Work(layout, contents, source, footer, read_leaves(source, footer), boot)


def create_disk(
    out: Path,
    layout: DiskLayout,
    contents: DiskContents,
    *,
    force: bool = False,
    progress: Progress = no_progress,
) -> Footer:
    """Make the disk file `out` and return the footer of the image on it.

    Args:
        out: the disk file; written sparsely, and under this name only once it is complete.
        layout: where everything goes.
        contents: what goes there.
        force: an existing file is replaced.
        progress: told what is being done.

    Raises:
        StorageError: `out` exists already and `force` is not set.
        BootsvcError: as `prepared`; nothing was written.
        ToolError: a program failed.
    """
    if out.exists() and not force:
        raise StorageError(f"{out} exists already", hint="use --force to replace it")
    with prepared(layout, contents) as work:
        part = out.with_name(f".{out.name}.{os.getpid()}.part")
        try:
            make_frame(part, layout, work.esp, layout.size, progress)
            data.make(part, layout)
            with DirectDevice(part, writable=True) as device:
                # A file does not know its sector size.
                device.sector_size = layout.sector_size
                fill_areas(disk_on(device), work, progress)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    return work.footer


def make_frame(
    path: Path, layout: DiskLayout, boot: esp.EspContents, size: int, progress: Progress
) -> None:
    """Make a new, sparse disk file of `size` bytes with all but the data partition and images.

    Raises:
        ToolError: a program failed.
        LayoutError: GRUB does not fit its partition.
    """
    progress("partition table", 0, 0)
    with path.open("xb") as file:
        file.truncate(size)
    write_table(path, layout)
    if layout.boots_from_bios:
        grub.install(path, layout)
    progress("file systems", 0, 0)
    esp.make(path, layout, boot)


def fill_areas(disk: Disk, work: Work, progress: Progress) -> None:
    """Copy the image, read it back, and only then write the record that names it."""
    confirmed = work.contents.confirmed
    targets = (Area.PRIMARY, Area.BACKUP) if confirmed else (Area.STAGING,)
    # Each area is gone through twice: written, then read back.
    total = 2 * len(targets) * len(work.leaves) // 32 * 4096
    done = 0

    def tick(length: int) -> None:
        nonlocal done
        done += length
        progress("image", done, total)

    for area in targets:
        copy_image(work.source, disk.areas[area], work.footer, work.leaves, CopyCounts(), tick)
        verify_copy(disk.areas[area], work.footer, work.leaves, tick)
    progress("boot-status record", 0, 0)
    disk.status.replace(first_status(work.footer, disk.gpt.layout_hash(), confirmed=confirmed))
