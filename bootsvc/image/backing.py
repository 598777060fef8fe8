"""The files that a qcow2 stands on, found and bounded before qemu-img opens any of them.

A qcow2 names its backing file in words that qemu would follow anywhere: an absolute path, a
server, a JSON text that opens a device. Here each header is read first; a backing file is a plain
file below the folder of the disk that was given, of a format that its child declares, and qemu-img
is then told every file and every format, so that it looks for none (qcow2 specification,
docs/interop/qcow2.txt of QEMU).
"""

from __future__ import annotations

import json
from pathlib import Path

from bootsvc.errors import FieldError, FormatError, StorageError
from bootsvc.formats.qcow2 import MAX_HEADER_SIZE, Header, parse_header

MAX_FILES = 64
_CORRUPT, _EXTERNAL_DATA = 2, 4
"""Incompatible features, bits of the header's field."""


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
        header = _header_of(at)
        size = size or header.size
        nodes.append(_node("qcow2", at))
        at = None
        if header.backing_name is not None:
            child, name = files[-1], header.backing_name
            at = _backing_file(child, name, folder)
            if header.backing_format == "raw":
                nodes.append(_node("raw", at))
                at = None
            elif header.backing_format != "qcow2":
                raise FieldError(
                    f"{child}: {header.backing_format or 'nothing'} as format of its backing file, "
                    "where raw or qcow2 is needed",
                    hint=f"declare it: qemu-img rebase -u -b {name} -F FORMAT {child}",
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


def _header_of(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEADER_SIZE)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        header = parse_header(head)
        _check_usable(header)
    except FormatError as exc:
        raise type(exc)(f"{path}: {exc}", hint=exc.hint) from exc
    return header


def _check_usable(header: Header) -> None:
    if header.is_encrypted:
        raise FieldError("it is encrypted", hint="decrypt it first: qemu-img convert")
    if header.incompatible & _EXTERNAL_DATA:
        raise FieldError("its data lies in another file", hint="join them: qemu-img convert")
    if header.incompatible & _CORRUPT:
        raise FieldError("it is marked as corrupt", hint="repair it: qemu-img check -r all")


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
