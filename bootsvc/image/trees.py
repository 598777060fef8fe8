"""A folder made into a root file system, by the platform's own tools and without root.

The same folder gives the same squashfs and erofs, byte for byte: names are sorted, identifiers are
fixed, and the file system bears the time of the newest file in it. Files keep their own times; with
SOURCE_DATE_EPOCH in the environment none is later than that. An ext4 has its files in the order in
which the folder lists them.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bootsvc.disk.tools import find_tool
from bootsvc.errors import StorageError, ToolError
from bootsvc.units import BLOCK_SIZE, MIB, round_up

KINDS = ("squashfs", "erofs", "ext4")
OWNERS = ("kept", "root")
_UUID = str(uuid.UUID("b0075c00-0007-4b5a-8f3e-6d1c52a90001"))
_POLL_S = 0.2
_INODE_SIZE = 256


@dataclass(frozen=True)
class TreeOptions:
    """How a folder becomes a file system.

    Attributes:
        kind: one of ``KINDS``.
        owner: kept, or root: every file belongs to root, whoever owns it here.
    """

    kind: str = KINDS[0]
    owner: str = OWNERS[0]


def make_file_system(
    folder: Path, target: Path, options: TreeOptions, tick: Callable[[int], None]
) -> None:
    """Make the file system of all that is in ``folder`` at ``target``.

    Args:
        tick: told the bytes read from ``folder``.

    Raises:
        StorageError: ``folder`` holds nothing, or cannot be read.
        ToolError: the program is missing (its package is named) or failed.
    """
    total = size_of_tree(folder)
    command, variables = _command(folder, target, options)
    _run_counting_reads(command, variables, total, tick)


def size_of_tree(folder: Path) -> int:
    """Bytes in the regular files below ``folder``.

    Raises:
        StorageError: there are no files at all, or a folder cannot be read.
    """
    total = count = 0
    for status in _statuses(folder):
        count += 1
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    if count < 2:
        raise StorageError(f"{folder}: an empty folder", hint="name the root file system's folder")
    return total


def _command(folder: Path, target: Path, options: TreeOptions) -> tuple[list[str], dict[str, str]]:
    """The tool's command line, and variables for its environment."""
    moment = str(_moment_of(folder))
    to_root = options.owner == "root"
    if options.kind == "squashfs":
        command = [find_tool("mksquashfs"), str(folder), str(target), "-comp", "zstd"]
        command += ["-noappend", "-no-progress", "-quiet", "-reproducible"]
        return [*command, *(["-all-root"] if to_root else [])], {"SOURCE_DATE_EPOCH": moment}
    if options.kind == "erofs":
        command = [find_tool("mkfs.erofs"), "-zlz4hc", f"-U{_UUID}", "--quiet"]
        command += ["--all-root"] if to_root else []
        return [*command, str(target), str(folder)], {"SOURCE_DATE_EPOCH": moment}
    blocks, inodes = _need_of_ext4(folder)
    command = [find_tool("mkfs.ext4"), "-q", "-F", "-b", str(BLOCK_SIZE), "-m", "0", "-U", _UUID]
    command += ["-O", "^has_journal", "-I", str(_INODE_SIZE), "-N", str(inodes), "-E"]
    command += [f"hash_seed={_UUID},lazy_itable_init=0,root_owner=0:0", "-d", str(folder)]
    return [*command, str(target), str(blocks)], {"E2FSPROGS_FAKE_TIME": moment}


def _moment_of(folder: Path) -> int:
    """The time that the file system bears, in seconds since 1970."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    return max(int(one.st_mtime) for one in _statuses(folder))


def _need_of_ext4(folder: Path) -> tuple[int, int]:
    """Blocks and inodes of an ext4 that holds the folder, with some room for its own tables."""
    data = inodes = 0
    for status in _statuses(folder):
        inodes += 1
        data += round_up(max(status.st_size, 1), BLOCK_SIZE)
    inodes += inodes // 16 + 64
    size = data + data // 32 + inodes * _INODE_SIZE + 4 * MIB
    return size // BLOCK_SIZE, inodes


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    """Of the folder and everything below it, links not followed."""

    def fail(exc: OSError) -> None:
        raise StorageError(f"{exc.filename}: cannot be read: {exc.strerror}") from exc

    yield folder.stat()
    for place, folders, files in os.walk(folder, onerror=fail):
        for name in (*folders, *files):
            yield os.lstat(f"{place}/{name}")


def _run_counting_reads(
    command: list[str], variables: dict[str, str], total: int, tick: Callable[[int], None]
) -> None:
    """Run a tool that shows no progress itself: what it has read so far says how far it is."""
    done = 0
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "LC_ALL": "C", **variables}
        ) as process,
    ):
        while process.poll() is None:
            reached = min(total, _bytes_read(process.pid))
            tick(max(0, reached - done))
            done = max(done, reached)
            time.sleep(_POLL_S)
        output.seek(0)
        words = output.read().strip().splitlines()
    if process.returncode:
        name = Path(command[0]).name
        raise ToolError(
            f"{name} failed: {words[-1] if words else process.returncode}",
            hint=f"the whole command: {' '.join(command)}",
        )
    tick(total - done)


def _bytes_read(pid: int) -> int:
    """Bytes that a process has read; 0 where the kernel does not tell."""
    try:
        first = Path(f"/proc/{pid}/io").read_text().split("\n", 1)[0]
        return int(first.partition(":")[2])
    except (OSError, ValueError):
        return 0
