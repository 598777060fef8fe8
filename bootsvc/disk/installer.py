"""An updater that makes disks: it carries what goes on them, and does as ``bootsvc disk create``.

What is carried lies in `INSTALLER_DIR`, put there by ``initramfs --installer``: the kernel and the
initramfs of the machine's own updater, and GRUB. The disk gets no image: that is installed
afterwards by the ordinary sequence, from wherever images come.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from bootsvc.boot.cmdline import image_words
from bootsvc.boot.disks import disk_nodes, size_of
from bootsvc.boot.drivers import wake_new_hardware
from bootsvc.boot.handover import RUN_DIR
from bootsvc.boot.install import InstallReporter
from bootsvc.disk.create import Progress, boot_contents
from bootsvc.disk.create_on_disk import create_empty_on_disk
from bootsvc.disk.partition import (
    BIOS_GRUB_SIZE,
    DEFAULT_ESP_SIZE,
    MIN_AREA_SIZE,
    MIN_DATA_SIZE,
    STATUS_SIZE,
    DiskLayout,
    plan,
    smallest_esp,
)
from bootsvc.disk.real_disk import RealDisk, check_free, look_at
from bootsvc.errors import LayoutError
from bootsvc.settings import INSTALLER_DIR, Settings
from bootsvc.storage.image_area import CopyCounts
from bootsvc.units import MIB

KERNEL = INSTALLER_DIR / "vmlinuz"
INITRAMFS = INSTALLER_DIR / "updater.img"

LARGEST_AREA = 4 << 30
"""Bytes of an area where nobody says anything else."""

SCRATCH = RUN_DIR
"""A file system in memory, like that of the installer itself; each may take half of the memory."""

CMDLINE_FILE = Path("/proc/cmdline")

_BOOT_AREA = re.compile(r"^mmcblk\d+(boot\d+|rpmb)$")


def disks_of_machine() -> tuple[RealDisk, ...]:
    """Every disk of this machine with what is on it, by the order of their nodes.

    Card readers without a card, and the boot areas of an eMMC, are none.

    Raises:
        ToolError, StorageError: one of them cannot be looked at.
    """
    wake_new_hardware()
    nodes = [node for node in disk_nodes() if size_of(node) and not _BOOT_AREA.search(node.name)]
    return tuple(map(look_at, nodes))


def create(disk: RealDisk, settings: Settings, reporter: InstallReporter) -> None:
    """Make a bootsvc disk without an image of ``disk``, whatever is on it.

    Its boot menu starts the carried updater with the kernel options of this start that are neither
    ours nor the boot loader's, so that it speaks on the same consoles.

    Raises:
        StorageError, DiskBusyError: it may not be overwritten; nothing was written.
        LayoutError: it is too small; nothing was written.
        SettingsError: a kernel option that GRUB cannot pass on; nothing was written.
        DeviceError, ReadBackError, ToolError: it failed; it has no partition table now.
    """
    reporter.stage("create-disk", disk=disk.path)
    check_free(disk)
    layout = layout_for(disk.size, disk.sector_size, settings.area_mib)
    boot = boot_contents(
        layout,
        KERNEL,
        INITRAMFS,
        options=" ".join(image_words(CMDLINE_FILE.read_text("utf-8", errors="replace"))),
        grub_password=settings.grub_password,
    )
    create_empty_on_disk(
        Path(disk.path), layout, boot, scratch=SCRATCH, progress=reported_to(reporter)
    )


def layout_for(size: int, sector_size: int, area_mib: int) -> DiskLayout:
    """Lay out a disk of ``size`` bytes. Pure, apart from drawing GUIDs.

    Args:
        area_mib: of each image area; 0: a quarter of what the boot partitions leave, at most 4 GiB,
            and no more than leaves data its least size.

    Raises:
        LayoutError: it is too small.
    """
    esp_size = max(DEFAULT_ESP_SIZE, smallest_esp(sector_size))
    fixed = 2 * MIB + BIOS_GRUB_SIZE + esp_size + STATUS_SIZE
    left = size - fixed
    shares = (left // 4, (left - MIN_DATA_SIZE) // 3, LARGEST_AREA)
    area_size = area_mib * MIB or max(MIN_AREA_SIZE, min(shares) // MIB * MIB)
    try:
        return plan(area_size=area_size, size=size, sector_size=sector_size)
    except LayoutError as exc:
        raise LayoutError(
            str(exc), hint="take a larger disk, or smaller areas: bootsvc.area_mib=..."
        ) from exc


def reported_to(reporter: InstallReporter) -> Progress:
    """Progress as `create_on_disk` tells it, for a start's reporter: bytes where they are counted,
    a sentence for each other step, and a wait where that takes long."""
    current, shown = "", 0
    looked: Callable[[], None] = reporter.on_progress

    def progress(what: str, done: int, total: int) -> None:
        nonlocal current, shown, looked
        if what != current:
            current, shown = what, 0
            if total:
                reporter.begin(what, total)
            else:
                reporter.say(f"create-disk: {what}")
                looked = reporter.wait(f"the {what} to be made", None, "")
        if total:
            reporter.tick(done - shown)
            shown = done
            if done == total:  # each byte was written and read back
                reporter.end(CopyCounts(read=total // 2, written=total // 2))
        else:
            looked()

    return progress
