"""Disk files: cheap overlays, sparse copies, and bytes read from outside the guest.

Reading is for disks of machines that are off: QEMU's own lock refuses the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from qemu_lab.errors import DiskToolError
from qemu_lab.machine import PSTORE_BYTES, Drive

Format = Literal["raw", "qcow2"]
_CHUNK = 1024 * 1024
_SECTOR = 512


def _tool(*command: str | Path) -> str:
    """Runs a tool and returns its output.

    Raises:
        DiskToolError: it failed; with its message.
    """
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiskToolError(
            f"{' '.join(map(str, command))} ended with status {done.returncode}: "
            f"{done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def format_of(path: Path) -> Format:
    """The format of a disk file, by its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return "qcow2" if file.read(4) == b"QFI\xfb" else "raw"


def size_of(path: Path) -> int:
    """The size that the guest sees, in bytes."""
    if format_of(path) == "raw":
        return path.stat().st_size
    information = json.loads(_tool("qemu-img", "info", "--output=json", "-U", path))
    return int(information["virtual-size"])


def create_overlay(base: Path, overlay: Path) -> Drive:
    """A new qcow2 file that holds only what is written on top of `base`.

    Makes a fresh copy of any disk in milliseconds; `base` must not change while it is used.

    Returns:
        A drive on the overlay, ready for a `Machine`.

    Raises:
        DiskToolError: qemu-img refused.
    """
    # The absolute path: a relative one would be looked up from wherever the overlay is moved.
    base = base.resolve()
    _tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", format_of(base), "-b", base, overlay)
    return Drive(overlay, format="qcow2")


def create_blank(path: Path, size: int) -> Drive:
    """A new, empty, sparse raw disk of `size` bytes."""
    with path.open("xb") as file:
        file.truncate(size)
    return Drive(path)


def prepare_pstore(path: Path) -> None:
    """Makes the backing file of `Machine.pstore` where it does not exist yet."""
    if not path.exists():
        create_blank(path, PSTORE_BYTES)


def copy_sparse(source: Path, target: Path) -> None:
    """Copies a disk file without filling its holes; shares blocks where the file system can.

    Raises:
        DiskToolError: cp failed.
    """
    _tool("cp", "--reflink=auto", "--sparse=always", source, target)


def flatten(source: Path, target: Path) -> None:
    """Copies what the guest sees of a disk (base and overlays) into one raw file.

    Raises:
        DiskToolError: qemu-img failed, for example because a running machine holds the disk.
    """
    _tool("qemu-img", "convert", "-f", format_of(source), "-O", "raw", source, target)


def _read_raw(path: Path, offset: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while length:
            piece = file.read(min(_CHUNK, length))
            if not piece:
                raise DiskToolError(f"{path} ends {length} bytes before the end of the range")
            length -= len(piece)
            yield piece


def _read_through_qemu(path: Path, offset: int, length: int) -> Iterator[bytes]:
    # qemu-img cuts the range out by a raw node with a window (whole sectors) over the overlay.
    start = offset // _SECTOR * _SECTOR
    end = -(-(offset + length) // _SECTOR) * _SECTOR
    window = {
        "driver": "raw",
        "offset": start,
        "size": end - start,
        "file": {
            "driver": "qcow2",
            "file": {"driver": "file", "filename": str(path.resolve())},
        },
    }
    with tempfile.TemporaryDirectory(prefix="lab-range-") as folder:
        cut = Path(folder) / "range"
        _tool("qemu-img", "convert", "-O", "raw", f"json:{json.dumps(window)}", cut)
        yield from _read_raw(cut, offset - start, length)


def _pieces(path: Path, offset: int, length: int | None) -> Iterator[bytes]:
    size = size_of(path)
    length = size - offset if length is None else length
    if offset < 0 or length < 0 or offset + length > size:
        raise ValueError(f"bytes {offset} to {offset + length} are not within {path} ({size})")
    if length == 0:
        return iter(())
    reader = _read_raw if format_of(path) == "raw" else _read_through_qemu
    return reader(path, offset, length)


def read_range(path: Path, offset: int, length: int | None = None) -> bytes:
    """Bytes as the guest would read them, overlays included.

    Args:
        offset: from the start of the disk.
        length: None for all the rest.

    Raises:
        ValueError: the range is not within the disk.
        DiskToolError: qemu-img failed, for example because a running machine holds the disk.
    """
    return b"".join(_pieces(path, offset, length))


def sha256_range(path: Path, offset: int = 0, length: int | None = None) -> str:
    """SHA-256, in hexadecimal, of bytes as the guest would read them; raises as read_range()."""
    digest = hashlib.sha256()
    for piece in _pieces(path, offset, length):
        digest.update(piece)
    return digest.hexdigest()


def write_range(path: Path, offset: int, data: bytes) -> None:
    """Changes bytes of a raw disk file of a machine that is off: damage on purpose.

    Raises:
        ValueError: not a raw file, or not within it.
    """
    if format_of(path) != "raw":
        raise ValueError(f"{path} is not raw: flatten() it first")
    if offset < 0 or offset + len(data) > path.stat().st_size:
        raise ValueError(f"bytes {offset} to {offset + len(data)} are not within {path}")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
