"""The EFI system partition: boot loader, its configuration, and the updater in slot a of two.

What lies where, and why, stands in ``ESP.md``.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bootsvc.disk.grub import CONFIG, EFI_PROGRAM
from bootsvc.disk.partition import FAT32_CLUSTERS, DiskLayout
from bootsvc.disk.tools import run_tool
from bootsvc.errors import LayoutError
from bootsvc.formats.fat32 import FAT_ENTRY_SIZE
from bootsvc.formats.updater_slots import FRONT, SLOTS
from bootsvc.storage.device import DirectDevice, Window
from bootsvc.storage.updater_slots import format_slots
from bootsvc.units import MIB, describe_size

LABEL = "BOOTSVC"
KIB_PER_BLOCK = 1024
FIRST_SLOT = SLOTS[0]


@dataclass(frozen=True)
class EspContents:
    """What goes on the ESP.

    Attributes:
        kernel, initramfs: files of the updater, for slot a.
        config: text of GRUB's configuration.
        efi_program: GRUB for UEFI machines.
    """

    kernel: Path
    initramfs: Path
    config: str
    efi_program: bytes


def cluster_sectors(size: int, sector_size: int) -> int:
    """Return sectors per cluster: the most that leave the partition FAT32.

    The larger the clusters, the fewer steps a boot loader takes to read a kernel.
    """
    sectors = 1
    while sectors < 128:
        cluster = 2 * sectors * sector_size
        # Two FATs of 4 bytes a cluster, 32 reserved sectors.
        if (size - 32 * sector_size) // (cluster + 8) < FAT32_CLUSTERS:
            break
        sectors *= 2
    return sectors


def overhead(size: int, sector_size: int) -> int:
    """Return how much of an ESP of `size` bytes no slot can have, at most.

    Tables, room for other files, the folder of the marks, and what is lost because each of four
    regions covers whole sectors of the table.
    """
    cluster = cluster_sectors(size, sector_size) * sector_size
    tables = 2 * FAT_ENTRY_SIZE * (size // cluster)
    return FRONT + tables + 5 * (sector_size // FAT_ENTRY_SIZE) * cluster


def size_for(slot: int, sector_size: int, least: int) -> int:
    """Return the size of an ESP with room for two slots of `slot` bytes, at least `least` bytes."""
    size = least
    while len(SLOTS) * slot + overhead(size, sector_size) > size:
        size += MIB
    return size


def check_fits(layout: DiskLayout, kernel: Path, initramfs: Path) -> None:
    """Check that two slots of this kernel and initramfs fit, before anything is written.

    Raises:
        LayoutError: they do not.
    """
    esp = layout["esp"]
    slot = kernel.stat().st_size + initramfs.stat().st_size
    needed = len(SLOTS) * slot + overhead(esp.size, layout.sector_size)
    if needed > esp.size:
        raise LayoutError(
            f"ESP of {describe_size(esp.size)}: two slots of {kernel.name} and {initramfs.name}"
            f" need {describe_size(needed)}",
            hint=f"give --esp-size {-(-needed // MIB)}M or more",
        )


def make(path: Path, layout: DiskLayout, contents: EspContents) -> None:
    """Make the ESP inside the disk file `path` and fill slot a.

    Raises:
        ToolError: mkfs.vfat or mtools are missing or failed.
        LayoutError: the updater does not fit a slot.
        StorageError: the disk file cannot be written.
    """
    esp = layout["esp"]
    sectors = cluster_sectors(esp.size, layout.sector_size)
    run_tool(
        [
            *("mkfs.vfat", "-F", "32", "-n", LABEL, "-i", esp.guid.partition("-")[0]),
            *("-S", str(layout.sector_size), "-s", str(sectors)),
            *("--offset", str(esp.offset // layout.sector_size)),
            *("-h", str(esp.offset // layout.sector_size)),
            path,
            str(esp.size // KIB_PER_BLOCK),
        ]
    )
    _put(path, esp.offset, EFI_PROGRAM, contents.efi_program)
    _put(path, esp.offset, CONFIG, contents.config.encode("ascii"))
    with DirectDevice(path, writable=True) as device:
        # A file does not know its sector size.
        device.sector_size = layout.sector_size
        slots = format_slots(Window(device, "esp", esp.offset, esp.size))
        slots.write(FIRST_SLOT, contents.kernel.read_bytes(), contents.initramfs.read_bytes())
        slots.prove(FIRST_SLOT)


def _put(path: Path, offset: int, name: str, data: bytes) -> None:
    """Put a file, with the folders above it, on the volume at byte `offset` of `path`."""
    # mtools looks for its target by this notation; the check of the size is off because the
    # partition is smaller than the file.
    image = f"{path}@@{offset}"
    env = {"MTOOLS_SKIP_CHECK": "1"}
    folders = list(PurePosixPath(name).parents)[-2::-1]
    run_tool(["mmd", "-i", image, *(f"::{folder}" for folder in folders)], env=env)
    with tempfile.NamedTemporaryFile(prefix="bootsvc-esp-") as file:
        file.write(data)
        file.flush()
        run_tool(["mcopy", "-i", image, file.name, f"::{name}"], env=env)
