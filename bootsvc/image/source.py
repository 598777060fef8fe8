"""What an image can be made from, turned into raw bytes: disks of several formats, a folder.

    raw                       used as it is
    qcow2, with backing files qemu-img convert, see ``backing``
    VHD: fixed, dynamic, differencing    read here, see ``vhd``
    VHDX                      qemu-img convert
    folder                    mksquashfs (zstd), mkfs.erofs or mkfs.ext4

Nothing is mounted, and nothing needs root. What is converted becomes a sparse file in a scratch
folder, which is gone afterwards. The format is told by the file's magic number, or given by who
calls; qemu-img never guesses.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bootsvc.disk.tools import find_tool, run_tool
from bootsvc.errors import FormatError, StorageError, ToolError
from bootsvc.formats.footer import MAX_IMAGE_SIZE
from bootsvc.formats.qcow2 import MAGIC as QCOW2_MAGIC
from bootsvc.formats.vhd import COOKIE as VHD_COOKIE
from bootsvc.formats.vhd import FOOTER_SIZE as VHD_FOOTER_SIZE
from bootsvc.image.backing import open_chain
from bootsvc.image.trees import TreeOptions, make_file_system, size_of_tree
from bootsvc.image.vhd import Vhd
from bootsvc.sequence.staging import ShowWork, Work
from bootsvc.storage.device import CHUNK_SIZE
from bootsvc.units import describe_size

SHAPES = ("raw", "qcow2", "vhd", "vhdx", "folder")
_VHDX_MAGIC = b"vhdxfile"


class _Unwatched:
    def tick(self, count: int) -> None:
        """Nobody watches."""


def unwatched(_: str, __: int) -> AbstractContextManager[Work]:
    """For work that nobody watches."""
    return nullcontext(_Unwatched())


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        shape: one of ``SHAPES``; empty: told by the file itself.
        tree: how a folder becomes a file system.
    """

    shape: str = ""
    tree: TreeOptions = field(default_factory=TreeOptions)


def shape_of(source: Path) -> str:
    """The one of ``SHAPES`` that ``source`` has, by its magic number.

    Raises:
        StorageError: it cannot be read.
    """
    if source.is_dir():
        return "folder"
    try:
        with source.open("rb") as file:
            head = file.read(8)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - VHD_FOOTER_SIZE))
            tail = file.read(8)
    except OSError as exc:
        raise StorageError(f"{source}: cannot be read: {exc.strerror}") from exc
    if head.startswith(QCOW2_MAGIC):
        return "qcow2"
    if head == _VHDX_MAGIC:
        return "vhdx"
    return "vhd" if VHD_COOKIE in (head, tail) else "raw"


@contextmanager
def opened_as_raw(
    source: Path,
    *,
    scratch: Path,
    options: SourceOptions | None = None,
    show_work: ShowWork = unwatched,
) -> Iterator[Path]:
    """A file with the raw bytes of ``source``, for the length of a with statement.

    Args:
        source: file or folder, of one of ``SHAPES``.
        scratch: folder with room for what must be converted.
        options: see ``SourceOptions``.
        show_work: shows the progress of a conversion.

    Raises:
        StorageError: a file is missing, cannot be read, or lies where none may be taken from.
        FormatError: a file is damaged, or its size out of bounds.
        ToolError: a program is missing (its package is named) or failed.
    """
    options = options or SourceOptions()
    found = shape_of(source)
    shape = options.shape or found
    if (shape == "folder") != source.is_dir():
        raise FormatError(f"{source}: it is {'a' if source.is_dir() else 'no'} folder")
    if shape == "raw":
        yield source
        return
    with tempfile.TemporaryDirectory(prefix=".bootsvc-source-", dir=scratch) as folder:
        raw = Path(folder) / "raw"
        try:
            if shape == "folder":
                _make_from_folder(source, raw, options.tree, show_work)
            elif shape == "vhd":
                _copy_vhd(source, raw, show_work)
            else:
                _convert(source, shape, raw, show_work)
        except OSError as exc:
            raise StorageError(f"{exc.filename or raw}: {exc.strerror}") from exc
        yield raw


def _make_from_folder(source: Path, raw: Path, tree: TreeOptions, show_work: ShowWork) -> None:
    with show_work(f"{tree.kind} of {source.name}", size_of_tree(source)) as work:
        make_file_system(source, raw, tree, work.tick)


def _copy_vhd(source: Path, raw: Path, show_work: ShowWork) -> None:
    with Vhd(source) as disk, raw.open("xb") as target:
        _check_size(source, disk.size)
        with show_work(f"read {source.name}", disk.size) as work:
            for at in range(0, disk.size, CHUNK_SIZE):
                data = disk.read_at(at, min(CHUNK_SIZE, disk.size - at))
                if data.count(0) != len(data):
                    target.seek(at)
                    target.write(data)
                work.tick(len(data))
        target.truncate(disk.size)


def _convert(source: Path, shape: str, raw: Path, show_work: ShowWork) -> None:
    if shape == "qcow2":
        size, opened = open_chain(source)
    else:
        opened = f"json:{json.dumps(_vhdx_node(source))}"
        size = _size_by_qemu(source, opened)
    _check_size(source, size)
    command = [find_tool("qemu-img"), "convert", "-p", "-O", "raw", opened, str(raw)]
    with show_work(f"read {source.name}", size) as work:
        _run_with_percentage(command, source, size, work.tick)


def _vhdx_node(source: Path) -> dict[str, object]:
    return {"driver": "vhdx", "file": {"driver": "file", "filename": str(source.resolve())}}


def _size_by_qemu(source: Path, opened: str) -> int:
    try:
        return int(
            json.loads(run_tool(["qemu-img", "info", "--output=json", opened]))["virtual-size"]
        )
    except (ValueError, KeyError) as exc:
        raise ToolError(f"{source}: qemu-img info gives no size") from exc


def _check_size(source: Path, size: int) -> None:
    if not 0 < size <= MAX_IMAGE_SIZE:
        raise FormatError(
            f"{source}: a disk of {size} bytes; from 1 byte to {describe_size(MAX_IMAGE_SIZE)} "
            "can be an image"
        )


def _run_with_percentage(
    command: list[str], source: Path, size: int, tick: Callable[[int], None]
) -> None:
    """Run ``qemu-img convert -p``, which prints ``(12.34/100%)`` and a carriage return."""
    done = 0
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        line = b""
        while piece := os.read(process.stdout.fileno(), 4096):
            *lines, line = (line + piece).split(b"\r")
            for one in lines:
                reached = int(size * _share_in(one))
                tick(max(0, reached - done))
                done = max(done, reached)
        process.wait()
        errors.seek(0)
        words = errors.read().strip().splitlines()
    if process.returncode:
        raise ToolError(f"{source}: qemu-img: {words[-1] if words else process.returncode}")


def _share_in(line: bytes) -> float:
    try:
        return float(line.strip().lstrip(b"(").partition(b"/")[0]) / 100
    except ValueError:
        return 0.0
