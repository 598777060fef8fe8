"""The files that a qcow2 stands on, found and bounded before qemu-img opens any of them.

A qcow2 names its backing file in words that qemu would follow anywhere: an absolute path, a
server, a JSON text that opens a device. Here each header is read first; a backing file is a plain
file below the folder of the disk that was given, of a format that its child declares, and qemu-img
is then told every file and every format, so that it looks for none (qcow2 specification,
docs/interop/qcow2.txt of QEMU).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from bootsvc.errors import FieldError, FormatError, MagicError, StorageError, TruncatedError

MAGIC = b"QFI\xfb"
MAX_FILES = 64
_HEADER = struct.Struct(">4sIQIIQI")
_BACKING_FORMAT = 0xE2792ACA
_CORRUPT, _EXTERNAL_DATA = 2, 4
_HEAD_SIZE = 65536
_MAX_NAME = 1023


@dataclass(frozen=True)
class Qcow2Head:
    """What a qcow2 header says: bytes of the disk, backing file and its format, or empty."""

    size: int
    backing: str
    backing_format: str


def parse_head(data: bytes) -> Qcow2Head:
    """The header in the first 64 KiB of a qcow2.

    Raises:
        FormatError: damaged, encrypted, or with its data in another file.
    """
    if len(data) < 104:
        raise TruncatedError("qcow2: shorter than its header")
    magic, version, name_at, name_size, _, size, crypt = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MagicError("no qcow2, although it or its child is said to be one")
    if version not in (2, 3):
        raise FieldError(f"qcow2: version {version} is unknown")
    features, header_size = 0, 72
    if version == 3:
        features = struct.unpack_from(">Q", data, 72)[0]
        header_size = struct.unpack_from(">I", data, 100)[0]
    if crypt:
        raise FieldError("qcow2: it is encrypted", hint="decrypt it first: qemu-img convert")
    if features & _EXTERNAL_DATA:
        raise FieldError("qcow2: its data is in another file", hint="join them: qemu-img convert")
    if features & _CORRUPT:
        raise FieldError("qcow2: it is marked as damaged", hint="repair it: qemu-img check -r all")
    backing = ""
    if name_at:
        if name_size > _MAX_NAME or name_at + name_size > len(data):
            raise FieldError("qcow2: the name of its backing file is out of bounds")
        backing = data[name_at : name_at + name_size].decode("utf-8", errors="replace")
    return Qcow2Head(size, backing, _backing_format(data, header_size))


def _backing_format(data: bytes, at: int) -> str:
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(">II", data, at)
        if kind == 0:
            break
        if kind == _BACKING_FORMAT:
            return data[at + 8 : at + 8 + size].decode("ascii", errors="replace")
        at += 8 + -(-size // 8) * 8
    return ""


def open_chain(path: Path) -> tuple[int, str]:
    """Bytes of the disk in ``path``, and the words by which qemu-img opens it with all its backing
    files and no others.

    Raises:
        StorageError: a backing file is missing, or lies outside the disk's folder.
        FormatError: a header is damaged, or does not say what is needed.
    """
    folder = path.resolve().parent
    files: list[Path] = []
    nodes: list[dict[str, object]] = []
    size = 0
    at: Path | None = path.resolve()
    while at is not None:
        if at in files:
            raise FormatError(f"{at}: backing files in a circle")
        if len(files) == MAX_FILES:
            raise FormatError(f"{path}: more than {MAX_FILES} files in its chain")
        files.append(at)
        head = _head_of(at)
        size = size or head.size
        nodes.append(_node("qcow2", at))
        at = None
        if head.backing:
            child, at = files[-1], _backing_file(files[-1], head.backing, folder)
            if head.backing_format == "raw":
                nodes.append(_node("raw", at))
                at = None
            elif head.backing_format != "qcow2":
                raise FieldError(
                    f"{child}: {head.backing_format or 'nothing'} as format of its backing file, "
                    "where raw or qcow2 is needed",
                    hint=f"declare it: qemu-img rebase -u -b {head.backing} -F FORMAT {child}",
                )
    return size, f"json:{json.dumps(_joined(nodes))}"


def _node(driver: str, path: Path) -> dict[str, object]:
    return {"driver": driver, "file": {"driver": "file", "filename": str(path)}}


def _joined(nodes: list[dict[str, object]]) -> dict[str, object]:
    """Each node with the next one as its backing; a qcow2 at the end has none, whatever it says."""
    below: dict[str, object] | None = None
    for node in reversed(nodes):
        below = {**node, "backing": below} if node["driver"] == "qcow2" else node
    return below or {}


def _head_of(path: Path) -> Qcow2Head:
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD_SIZE)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        return parse_head(data)
    except FormatError as exc:
        raise type(exc)(f"{path}: {exc}", hint=exc.hint) from exc


def _backing_file(child: Path, name: str, folder: Path) -> Path:
    if ":" in name.split("/", 1)[0]:
        raise StorageError(
            f"{child}: its backing file is no plain file: {name!r}",
            hint="copy it beside the disk, then: qemu-img rebase -u",
        )
    found = (child.parent / name).resolve()
    if not found.is_relative_to(folder):
        raise StorageError(
            f"{child}: its backing file {name} lies outside {folder}",
            hint="copy all files of the chain into one folder, then: qemu-img rebase -u",
        )
    if not found.is_file():
        raise StorageError(
            f"{child}: its backing file {found} is missing", hint="put it where the disk names it"
        )
    return found
