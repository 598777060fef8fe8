"""The data partition: ext4 with the folders that outlive images (DESIGN 2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bootsvc.disk.partition import DiskLayout
from bootsvc.disk.tools import nobody_waits, run_tool

LABEL = "bootsvc-data"
FOLDERS = (
    ("overlays", 0o755),  # what an OS with a kept overlay wrote, by image identity
    ("identity", 0o700),  # machine-id, SSH host keys and the like, bound into every version
    ("log", 0o755),  # records of past starts
)
"""Folder names and their permissions."""

_DIRECTORY = 0o040000
_BYTES_PER_KIB = 1024


def make(
    path: Path,
    layout: DiskLayout,
    *,
    is_blank: bool = True,
    looked: Callable[[], None] = nobody_waits,
) -> None:
    """Make the data file system inside the disk or disk file `path`.

    Args:
        is_blank: nothing but zeros is there, so that tables of zeros cost nothing. Elsewhere the
            kernel clears them behind the first start: of a large disk they are gigabytes.
        looked: called now and then while the file system is made.

    Raises:
        ToolError: mkfs.ext4 or debugfs is missing or failed.
    """
    part = layout["data"]
    lazy = int(not is_blank)
    # A small file system has blocks of 1 KiB, which no kernel mounts on sectors larger than that.
    block_size = ["-b", str(layout.sector_size)] if layout.sector_size > _BYTES_PER_KIB else []
    run_tool(
        [
            *("mkfs.ext4", "-q", "-F", "-L", LABEL, "-U", part.guid, "-m", "0"),
            *block_size,
            *("-E", f"offset={part.offset},lazy_itable_init={lazy},lazy_journal_init=0,nodiscard"),
            path,
            f"{part.size // _BYTES_PER_KIB}k",
        ],
        looked=looked,
    )
    commands = [
        line
        for name, mode in FOLDERS
        for line in (
            f"mkdir /{name}",
            f"set_inode_field /{name} mode 0{_DIRECTORY | mode:o}",
        )
    ]
    run_tool(
        ["debugfs", "-w", "-f", "-", f"{path}?offset={part.offset}"],
        stdin="\n".join(commands) + "\n",
    )
