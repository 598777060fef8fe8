"""A USB stick that starts the updater on any machine, by BIOS and by UEFI, with images beside it.

It bears none of the names by which a machine's own disk is found, so plugging it in never makes a
second one. Its partition for images is plain FAT32 without a password: images are signed, and may
be put there by any computer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootsvc.disk import esp, grub
from bootsvc.disk.boot_menu import menu_config
from bootsvc.disk.create import Progress, no_progress
from bootsvc.disk.create_on_disk import copy_verified, put_on_disk
from bootsvc.disk.grub_lock import check_locks
from bootsvc.disk.partition import (
    ALIGNMENT,
    BIOS_GRUB_SIZE,
    DEFAULT_ESP_SIZE,
    DiskLayout,
    PlannedPartition,
    guid_for,
    smallest_esp,
    write_table,
)
from bootsvc.disk.tools import require_tools, run_tool
from bootsvc.errors import ImageTooLargeError, LayoutError, StorageError
from bootsvc.formats.gpt import NAMES, TYPE_GUIDS
from bootsvc.storage.device import Device, DirectDevice
from bootsvc.storage.image_file import read_file_footer
from bootsvc.units import describe_size, round_up

REPAIR_OPTION = "bootsvc.repair"
IMAGES_LABEL = "IMAGES"
IMAGES_TYPE = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
"""Microsoft's basic data: every system mounts it."""
ROOM = 64 << 20
"""Bytes for images that come later, and for what the console exports."""
MAX_FILE = (4 << 30) - 1
"""FAT32 holds no larger file."""
SECTOR = 512
TOOLS = ("sfdisk", "mkfs.vfat", "mmd", "mcopy", "grub-mkimage")


@dataclass(frozen=True)
class StickContents:
    """What goes on a stick.

    Attributes:
        kernel, initramfs: of the updater; its keys are those in the initramfs.
        images: .bimg files to install from.
        options: kernel options, beside ``bootsvc.repair`` and those that ``boot_menu`` sets.
        menu_seconds: how long the boot menu may be called up with Esc.
        grub_password: locks the menu's editor, as `trust.grub_password` stores it.
    """

    kernel: Path
    initramfs: Path
    images: tuple[Path, ...]
    options: str
    menu_seconds: int = 3
    grub_password: str = ""


def plan_stick(image_sizes: Sequence[int], updater_size: int = 0) -> DiskLayout:
    """Lay out a stick for images of these sizes, in bytes. Pure, apart from drawing GUIDs.

    Args:
        updater_size: bytes of kernel and initramfs: an installer is large.
    """
    cluster = 32 << 10
    files = sum(round_up(size, cluster) for size in image_sizes)
    images = round_up(max(files + ROOM, smallest_esp(SECTOR)), ALIGNMENT)
    esp_size = esp.size_for(updater_size, SECTOR, DEFAULT_ESP_SIZE)
    partitions = []
    offset = ALIGNMENT
    for role, name, type_guid, size in (
        ("bios-grub", NAMES["bios-grub"], TYPE_GUIDS["bios-grub"], BIOS_GRUB_SIZE),
        ("esp", NAMES["esp"], TYPE_GUIDS["esp"], esp_size),
        ("images", "bootsvc-images", IMAGES_TYPE, images),
    ):
        partitions.append(
            PlannedPartition(role, name, type_guid, guid_for(role, None), offset, size)
        )
        offset += size
    return DiskLayout(offset + ALIGNMENT, SECTOR, guid_for("disk", None), tuple(partitions))


def make_stick_file(
    out: Path, contents: StickContents, *, force: bool = False, progress: Progress = no_progress
) -> DiskLayout:
    """Make the disk file `out`, to be copied to a stick, and return its layout.

    Raises:
        StorageError: `out` exists already and `force` is not set, or an input cannot be read.
        LayoutError, ImageError, SettingsError, ToolError: as `create.prepared`.
    """
    if out.exists() and not force:
        raise StorageError(f"{out} exists already", hint="use --force to replace it")
    layout = _checked(contents)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        _make(part, layout.size, layout, contents, progress)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return layout


def make_stick(
    path: Path, contents: StickContents, *, progress: Progress = no_progress
) -> DiskLayout:
    """Make a stick of the block device `path`, and return its layout.

    Raises:
        LayoutError: the device is too small, or has other sectors than 512 bytes.
        BootsvcError: as `make_stick_file`, or as `create_on_disk.create_on_disk`.
    """
    layout = _checked(contents)
    parts = [range(part.offset, part.end) for part in layout.partitions]
    total = sum(len(part) for part in parts)

    def fill(device: Device, frame: Device) -> None:
        done = 0
        for part in parts:
            copy_verified(frame, device, part)
            done += len(part)
            progress("stick", done, total)

    put_on_disk(
        path, layout, lambda file, size: _make(file, size, layout, contents, progress), fill
    )
    return layout


def _checked(contents: StickContents) -> DiskLayout:
    require_tools(TOOLS)
    for path in (contents.kernel, contents.initramfs, *contents.images):
        if not path.is_file():
            raise StorageError(f"{path}: no such file")
    names = [path.name.lower() for path in contents.images]
    if len(set(names)) != len(names):
        raise StorageError("two images have the same name", hint="rename one of them")
    for path in contents.images:
        with DirectDevice(path, writable=False) as image:
            read_file_footer(image)
        if path.stat().st_size > MAX_FILE:
            raise ImageTooLargeError(
                f"{path} has {describe_size(path.stat().st_size)}, a file on FAT32 at most 4 GiB",
                hint="write it to a disk of its own as it is: the console finds it there, too",
            )
    check_locks(contents.initramfs, contents.grub_password)
    updater_size = contents.kernel.stat().st_size + contents.initramfs.stat().st_size
    return plan_stick([path.stat().st_size for path in contents.images], updater_size)


def _make(
    path: Path, size: int, layout: DiskLayout, contents: StickContents, progress: Progress
) -> None:
    if size < layout.size:
        raise LayoutError(
            f"the stick has {describe_size(size)}, it needs {describe_size(layout.size)}",
            hint="take a larger one, or fewer images",
        )
    config = menu_config(
        f"{contents.options} {REPAIR_OPTION}",
        seconds=contents.menu_seconds,
        password=contents.grub_password,
    )
    progress("partition table", 0, 0)
    with path.open("xb") as file:
        file.truncate(size)
    write_table(path, layout)
    grub.install(path, layout)
    progress("file systems", 0, 0)
    efi_program = grub.make_image(grub.EFI, layout)
    esp.make(
        path, layout, esp.EspContents(contents.kernel, contents.initramfs, config, efi_program)
    )
    _make_images(path, layout, contents.images, progress)


def _make_images(
    path: Path, layout: DiskLayout, images: Sequence[Path], progress: Progress
) -> None:
    place = layout["images"]
    sectors = str(place.offset // SECTOR)
    run_tool(
        [
            *("mkfs.vfat", "-F", "32", "-n", IMAGES_LABEL, "-S", str(SECTOR)),
            *("--offset", sectors, "-h", sectors, path, str(place.size // 1024)),
        ]
    )
    total = sum(image.stat().st_size for image in images)
    done = 0
    for image in images:
        target = f"{path}@@{place.offset}"
        run_tool(["mcopy", "-i", target, image, "::/"], env={"MTOOLS_SKIP_CHECK": "1"})
        done += image.stat().st_size
        progress("images", done, total)
