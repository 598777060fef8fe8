"""The EFI system partition: boot loader configuration, and the updater in slot a of two.

Slot b stays free for an update of the updater itself; /EFI is left for a UEFI boot loader.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bootsvc.disk.grub import initramfs_path, kernel_path
from bootsvc.disk.partition import FAT32_CLUSTERS, DiskLayout
from bootsvc.disk.tools import run_tool
from bootsvc.errors import LayoutError
from bootsvc.units import MIB, describe_size

LABEL = "BOOTSVC"
SLOTS = 2
MARGIN = 1 * MIB
"""Room that FATs, folders and the boot loader's files take."""
KIB_PER_BLOCK = 1024


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


def check_fits(layout: DiskLayout, kernel: Path, initramfs: Path) -> None:
    """Check that two slots of this kernel and initramfs fit, before anything is written.

    Raises:
        LayoutError: they do not.
    """
    slot = kernel.stat().st_size + initramfs.stat().st_size
    needed = SLOTS * slot + MARGIN
    esp = layout["esp"]
    if needed > esp.size:
        raise LayoutError(
            f"ESP of {describe_size(esp.size)}: two slots of {kernel.name} and {initramfs.name}"
            f" need {describe_size(needed)}",
            hint=f"give --esp-size {-(-needed // MIB)}M or more",
        )


def make(path: Path, layout: DiskLayout, *, kernel: Path, initramfs: Path, config: str) -> None:
    """Make the ESP inside the disk file `path` and fill slot a.

    Args:
        path: the disk file.
        layout: where the ESP is.
        kernel: the updater's kernel.
        initramfs: the updater's initramfs.
        config: text of /grub/grub.cfg.

    Raises:
        ToolError: mkfs.vfat or mtools are missing or failed.
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
    # mtools looks for its target by this notation; the check of the size is off because the
    # partition is smaller than the file.
    image = f"{path}@@{esp.offset}"
    env = {"MTOOLS_SKIP_CHECK": "1"}
    folders = ["/EFI", "/grub", "/bootsvc", "/bootsvc/a", "/bootsvc/b"]
    run_tool(["mmd", "-i", image, *(f"::{folder}" for folder in folders)], env=env)
    with tempfile.NamedTemporaryFile("w", prefix="bootsvc-grub-", suffix=".cfg") as file:
        file.write(config)
        file.flush()
        for source, target in (
            (kernel, kernel_path("a")),
            (initramfs, initramfs_path("a")),
            (Path(file.name), "/grub/grub.cfg"),
        ):
            run_tool(["mcopy", "-i", image, source, f"::{target}"], env=env)
