"""Runs the platform's disk tools; a missing one is named together with the package to install."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bootsvc.errors import ToolError

PACKAGES = {
    "sfdisk": "fdisk",
    "fdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "mkfs.ext4": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "mksquashfs": "squashfs-tools",
    "unsquashfs": "squashfs-tools",
    "mkfs.erofs": "erofs-utils",
    "fsck.erofs": "erofs-utils",
    "qemu-img": "qemu-utils",
    "grub-mkimage": "grub-common",
    "xz": "xz-utils",
    "lsblk": "util-linux",
    "blkid": "util-linux",
}
"""The Debian package of each tool."""


def find_tool(name: str) -> str:
    """Return the path of program `name`.

    Raises:
        ToolError: it is not installed; the hint names the package.
    """
    # A plain user's PATH leaves out sbin, where the partition and mkfs tools are.
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise ToolError(
            f"{name} is not installed",
            hint=f"apt-get install {PACKAGES.get(name, name)}   (or: make setup)",
        )
    return found


def require_tools(names: Sequence[str]) -> None:
    """Check that all programs are there before any work is begun.

    Raises:
        ToolError: the first one that is missing.
    """
    for name in names:
        find_tool(name)


def run_tool(
    command: Sequence[str | Path], *, stdin: str = "", env: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and return what it printed on standard output.

    Args:
        command: its name and arguments.
        stdin: text for its standard input.
        env: variables added to the environment.

    Raises:
        ToolError: it is missing or failed; the message has the last line of its errors.
    """
    program = find_tool(str(command[0]))
    result = subprocess.run(
        [program, *map(str, command[1:])],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
    )
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()
        raise ToolError(
            f"{command[0]} failed with exit code {result.returncode}: {lines[-1]}",
            hint=f"the whole command: {' '.join(map(str, command))}",
        )
    return result.stdout
