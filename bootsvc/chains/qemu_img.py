"""The one door to qemu-img.

Formats are never guessed and names in headers never followed: every disk is given as the list of
its files, base first, of which a graph is made that names each file and its format. Files are named
within their folder, in which qemu-img works.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from bootsvc.disk.tools import find_tool
from bootsvc.errors import DiskFileInUseError, ToolError
from bootsvc.units import MIB

TOOL = "qemu-img"
MAX_FILES = 64
"""Files of a chain: each is a level of the graph that qemu-img is given."""

MAX_OUTPUT = MIB

IDENTICAL, DIFFERENT = 0, 1
"""Exit codes of ``qemu-img compare``."""

_LEAKS = 3
"""Exit code of ``qemu-img check``: clusters that nobody uses; no data is hurt."""

OnShare = Callable[[float], None]
"""Told the share that is done, 0.0 to 1.0."""

OnProgress = Callable[[str, int, int], None]
"""Told the work under way, and its bytes done and in all."""


def ignore_share(_share: float) -> None:
    """For those who do not want to know."""


@dataclass(frozen=True)
class Disk:
    """A disk as a guest sees it: ``files`` of ``folder``, base first, the last one on top."""

    folder: Path
    files: tuple[str, ...]

    def graph(self) -> str:
        """The file name that tells qemu-img which files these are, and of which format."""
        if not 0 < len(self.files) <= MAX_FILES:
            raise ToolError(f"{self.folder}: {len(self.files)} files, at most {MAX_FILES}")
        node: dict[str, object] | None = None
        for name in self.files:
            file = {"driver": "file", "filename": name}
            node = {"driver": "qcow2", "file": file, "backing": node}
        return "json:" + json.dumps(node)


def check(folder: Path, name: str) -> str:
    """What is wrong with the structure of one file, in qemu-img's words; empty where nothing is.

    Raises:
        ToolError, DiskFileInUseError: as ``convert``.
    """
    # Its own graph, without parents: whether they are there is another question.
    text, code = _run_with_code(
        folder, ["check", "--output=json", Disk(folder, (name,)).graph()], (0, 2, _LEAKS)
    )
    if code in (0, _LEAKS):
        return ""
    try:
        found = json.loads(text)
    except ValueError:
        return "damaged"
    return f"{found.get('corruptions', 0)} corruptions, {found.get('check-errors', 0)} errors"


def create_above(folder: Path, name: str, backing: str, size: int) -> None:
    """Make an empty increment ``name`` of ``size`` bytes on ``backing``, another file there.

    Raises:
        ToolError, DiskFileInUseError: as ``convert``.
    """
    # -u: the parent is not opened, which would follow the names in its header.
    parent = ["-u", "-b", backing, "-F", "qcow2"]
    _run(folder, ["create", "-q", "-f", "qcow2", *parent, name, str(size)])


def convert(disk: Disk, out: str, *, cluster_size: int, on_share: OnShare = ignore_share) -> None:
    """Write all of ``disk`` into the new qcow2 file ``out``, which has no parent.

    Raises:
        ToolError: qemu-img is missing or failed.
        DiskFileInUseError: a virtual machine has one of the files open for writing.
    """
    options = f"cluster_size={cluster_size}"
    command = ["convert", "-p", "-O", "qcow2", "-o", options, disk.graph(), out]
    _run(disk.folder, command, on_share=on_share)


def convert_to_raw(disk: Disk, out: Path, on_share: OnShare = ignore_share) -> None:
    """Write what a guest sees of ``disk`` into the file ``out``, zeros as holes.

    Raises:
        ToolError, DiskFileInUseError: as ``convert``.
    """
    command = ["convert", "-p", "-O", "raw", disk.graph(), str(out.absolute())]
    _run(disk.folder, command, on_share=on_share)


def rebase(disk: Disk, parent: str, on_share: OnShare = ignore_share) -> None:
    """Give the top file of ``disk`` another ``parent``, and all content that the parent lacks. The
    caller flushes it.

    Raises:
        ToolError, DiskFileInUseError: as ``convert``.
    """
    command = ["rebase", "-p", "-t", "unsafe", "-b", parent, "-F", "qcow2", disk.graph()]
    _run(disk.folder, command, on_share=on_share)


def is_same(one: Disk, other: Disk, on_share: OnShare = ignore_share) -> bool:
    """Whether a guest sees the same bytes; what the longer one has beyond the other must be zeros.

    Raises:
        ToolError, DiskFileInUseError: as ``convert``.
    """
    command = ["compare", "-p", one.graph(), other.graph()]
    _, code = _run_with_code(one.folder, command, (IDENTICAL, DIFFERENT), on_share)
    return code == IDENTICAL


def _run(folder: Path, arguments: Sequence[str], on_share: OnShare = ignore_share) -> str:
    return _run_with_code(folder, arguments, (0,), on_share)[0]


def _run_with_code(
    folder: Path,
    arguments: Sequence[str],
    codes: tuple[int, ...],
    on_share: OnShare = ignore_share,
) -> tuple[str, int]:
    """Run qemu-img in ``folder`` to its end: what it printed, and the exit code it may have."""
    program = find_tool(TOOL)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [program, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "LC_ALL": "C"},
        ) as process,
    ):
        try:
            printed = _follow(cast("IO[bytes]", process.stdout), on_share)
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        if code in codes:
            return printed, code
        errors.seek(0)
        words = errors.read(MAX_OUTPUT).decode("utf-8", "replace").strip() or "no message"
    last = words.splitlines()[-1]
    if "Failed to get" in words and "lock" in words:
        raise DiskFileInUseError(
            f"{TOOL} {arguments[0]}: a virtual machine or another program has a file open: {last}",
            hint="end that first, or work on a copy",
        )
    raise ToolError(f"{TOOL} {arguments[0]} failed with exit code {code}: {last}")


def _follow(stream: IO[bytes], on_share: OnShare) -> str:
    """All that is printed, at most ``MAX_OUTPUT``; "(12.34/100%)" goes to ``on_share``."""
    kept = bytearray()
    while chunk := os.read(stream.fileno(), 4096):
        shares = re.findall(rb"\((\d+\.\d+)/100%\)", chunk)
        if shares:
            on_share(float(shares[-1]) / 100)
        if len(kept) < MAX_OUTPUT:
            kept += chunk
    return bytes(kept).decode("utf-8", "replace")
