"""Runs the platform's disk tools; a missing one is named together with the package to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
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


LOOK_S = 0.5
"""Between two calls of ``looked`` while a program runs."""


def nobody_waits() -> None:
    """For programs that nobody watches."""


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
    command: Sequence[str | Path],
    *,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    looked: Callable[[], None] = nobody_waits,
) -> str:
    """Run a program to its end and return what it printed on standard output.

    Args:
        command: its name and arguments.
        stdin: text for its standard input.
        env: variables added to the environment.
        looked: called every `LOOK_S` seconds until it ends.

    Raises:
        ToolError: it is missing or failed; the message has the last line of its errors.
    """
    program = find_tool(str(command[0]))
    with tempfile.TemporaryFile("w+") as to_read:
        to_read.write(stdin)
        to_read.seek(0)
        running = subprocess.Popen(
            [program, *map(str, command[1:])],
            stdin=to_read,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
        )
        with running:
            said, complained = _ended(running, looked)
    if running.returncode:
        lines = (complained.strip() or said.strip() or "no message").splitlines()
        raise ToolError(
            f"{command[0]} failed with exit code {running.returncode}: {lines[-1]}",
            hint=f"the whole command: {' '.join(map(str, command))}",
        )
    return said


def _ended(running: subprocess.Popen[str], looked: Callable[[], None]) -> tuple[str, str]:
    """What a program has printed by its end, on standard output and as errors."""
    try:
        while True:
            try:
                return running.communicate(timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                looked()
    except BaseException:
        running.kill()
        raise
