"""Reads VHD disks of all three kinds, a differencing one through all its parents."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

from bootsvc.errors import BootsvcError, FieldError, FormatError, StorageError, TruncatedError
from bootsvc.formats.vhd import (
    FOOTER_SIZE,
    HEADER_SIZE,
    NO_BLOCK,
    Footer,
    Header,
    Kind,
    parse_footer,
    parse_header,
    parse_table,
    runs,
)
from bootsvc.units import SECTOR_SIZE

MAX_PARENTS = 64


class Vhd:
    """An open VHD: ``size`` bytes that can be read anywhere; use it in a with statement.

    Args:
        path: the file. Parents are looked for beside it, by name and unique id.

    Raises:
        StorageError: a file of the chain is missing or cannot be read.
        FormatError: one is damaged, or is not the one that its child was made over.
    """

    def __init__(self, path: Path) -> None:
        with ExitStack() as stack:
            self._layers = _open_chain(path, stack)
            self._files = stack.pop_all()
        self.size = self._layers[0].footer.current_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def read_at(self, offset: int, size: int) -> bytes:
        """``size`` bytes at ``offset``, both whole sectors. Raises FormatError, StorageError."""
        return _read(self._layers, offset, size)


class _Layer:
    """One file of a chain."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._file_size = file.seek(0, 2)
        self.footer = self._parse_footer()
        self.header: Header | None = None
        self._table: tuple[int, ...] = ()
        if self.footer.kind is not Kind.FIXED:
            self.header = parse_header(
                self.bytes_at(self.footer.data_offset, HEADER_SIZE), self.footer.current_size
            )
            self._table = parse_table(
                self.bytes_at(self.header.table_offset, self.header.entries * 4)
            )

    def _parse_footer(self) -> Footer:
        # Virtual PC 2004 and older wrote 511 bytes; nobody makes such disks any more.
        return parse_footer(self.bytes_at(self._file_size - FOOTER_SIZE, FOOTER_SIZE))

    def bytes_at(self, offset: int, size: int) -> bytes:
        """Bytes of the file. Raises TruncatedError where it ends before."""
        if not 0 <= offset <= self._file_size - size:
            raise TruncatedError(f"VHD: {size} bytes at {offset} are beyond its end")
        self._file.seek(offset)
        return self._file.read(size)

    def block(self, number: int) -> int | None:
        """Where the bitmap of a block is in the file, None where there is no such block."""
        sector = self._table[number]
        return None if sector == NO_BLOCK else sector * SECTOR_SIZE


def _open_chain(path: Path, stack: ExitStack) -> list[_Layer]:
    """The disk and its parents, the base last."""
    folder = path.parent
    layers: list[_Layer] = []
    seen: set[bytes] = set()
    while True:
        layer = _open_layer(path, stack)
        if layer.footer.unique_id in seen or len(layers) > MAX_PARENTS:
            raise FormatError(f"{path}: its chain of parents has no end")
        seen.add(layer.footer.unique_id)
        if layers and (child := layers[-1].header) and child.parent_id != layer.footer.unique_id:
            raise FormatError(
                f"{path}: not the disk that {layers[-1].path.name} was made over",
                hint="put the parent of that time beside it",
            )
        layers.append(layer)
        if layer.footer.kind is not Kind.DIFFERENCING or layer.header is None:
            return layers
        # A name only: a disk from elsewhere must not lead to just any file of this machine.
        name = layer.header.parent_name.replace("\\", "/").rsplit("/", 1)[-1]
        if name in ("", ".", ".."):
            raise FieldError(f"{path}: a differencing VHD that names no parent")
        path = folder / name


def _open_layer(path: Path, stack: ExitStack) -> _Layer:
    try:
        return _Layer(path, stack.enter_context(path.open("rb")))
    except OSError as exc:
        raise StorageError(
            f"{path}: cannot be read: {exc.strerror}",
            hint="a differencing VHD needs its parents beside it",
        ) from exc
    except BootsvcError as exc:
        raise type(exc)(f"{path}: {exc}", hint=exc.hint) from exc


def _read(layers: list[_Layer], offset: int, size: int) -> bytes:
    """Bytes of the disk as ``layers`` show it; beyond the end of a parent there are zeros."""
    if not layers:
        return bytes(size)
    layer, below = layers[0], layers[1:]
    available = max(0, min(size, layer.footer.current_size - offset))
    parts = []
    for at, count in _blocks(layer, offset, available):
        parts.append(_read_in_block(layer, below, at, count))
    return b"".join(parts) + bytes(size - available)


def _blocks(layer: _Layer, offset: int, size: int) -> list[tuple[int, int]]:
    """The range cut at the ends of the layer's blocks: offset and size of each piece."""
    if layer.header is None:
        return [(offset, size)] if size else []
    pieces = []
    while size:
        count = min(size, layer.header.block_size - offset % layer.header.block_size)
        pieces.append((offset, count))
        offset, size = offset + count, size - count
    return pieces


def _read_in_block(layer: _Layer, below: list[_Layer], offset: int, size: int) -> bytes:
    header = layer.header
    if header is None:
        return layer.bytes_at(offset, size)
    start = layer.block(offset // header.block_size)
    if start is None:
        return _read(below, offset, size)
    within = offset % header.block_size
    data_at = start + header.bitmap_size + within
    if not below:
        return layer.bytes_at(data_at, size)
    bitmap = layer.bytes_at(start, header.bitmap_size)
    parts = []
    for is_here, sectors in runs(bitmap, within // SECTOR_SIZE, size // SECTOR_SIZE):
        count = sectors * SECTOR_SIZE
        parts.append(layer.bytes_at(data_at, count) if is_here else _read(below, offset, count))
        data_at, offset = data_at + count, offset + count
    return b"".join(parts)
