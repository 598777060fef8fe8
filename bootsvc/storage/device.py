"""Something with bytes that can be read, written and flushed.

``Device`` is the seam at which tests put a disk that forgets, tears and fails.
"""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from bootsvc.errors import DeviceError, OutOfBoundsError, StorageError, TruncatedError
from bootsvc.units import BLOCK_SIZE, MIB, SECTOR_SIZE, round_up

CHUNK_SIZE = MIB
"""Bytes moved by one read or write."""

_BLKSSZGET = 0x1268


class Device(Protocol):
    """Bytes 0..size-1. Offsets and lengths are bytes; reads see the medium, not a cache."""

    name: str
    size: int
    sector_size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes. Raises DeviceError, OutOfBoundsError."""
        ...

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of ``data``. Raises DeviceError, OutOfBoundsError."""
        ...

    def flush(self) -> None:
        """Return once all that was written is on the medium. Raises DeviceError."""
        ...


class DirectDevice:
    """A block device or file, read and written past the page cache (O_DIRECT).

    What ``read_at`` returns therefore comes from the medium. On a file system without O_DIRECT the
    pages are dropped before each read instead. Threads may use it at the same time.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.name = str(path)
        flags = os.O_RDWR if writable else os.O_RDONLY
        try:
            self._fd, self._is_direct = _open_direct(path, flags | os.O_CLOEXEC)
        except OSError as exc:
            raise StorageError(
                f"{path}: cannot be opened: {exc.strerror}",
                hint="are you root, and is it the right disk?",
            ) from exc
        self.size = os.lseek(self._fd, 0, os.SEEK_END)
        self.sector_size = _sector_size(self._fd)
        # A file may lie on a disk with larger sectors than its own content knows of.
        self._read_unit = self.sector_size if _is_block_device(self._fd) else BLOCK_SIZE
        self._buffers: list[mmap.mmap] = []  # aligned, as O_DIRECT wants them; those not in use

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """The open file's number, for locks."""
        return self._fd

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``, at most in pieces of 1 MiB."""
        if length <= CHUNK_SIZE:
            return self._read_piece(offset, length)
        read = io.BytesIO()  # joining the pieces would take the memory twice
        for at in range(offset, offset + length, CHUNK_SIZE):
            read.write(self._read_piece(at, min(CHUNK_SIZE, offset + length - at)))
        return read.getvalue()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write whole sectors, in pieces of at most 1 MiB."""
        self._check(offset, len(data))
        if offset % self.sector_size or len(data) % self.sector_size:
            raise OutOfBoundsError(f"{self.name}: write at {offset} is not aligned to sectors")
        view = memoryview(data)
        for at in range(0, len(view), CHUNK_SIZE):
            piece = view[at : at + CHUNK_SIZE]
            with self._buffer() as buffer:
                buffer[: len(piece)] = piece
                self._write_buffer(offset + at, len(piece), buffer)

    def flush(self) -> None:
        """Have the disk empty its cache."""
        try:
            os.fsync(self._fd)
        except OSError as exc:
            raise self._error("flush", 0, exc) from exc

    def _read_piece(self, offset: int, length: int) -> bytes:
        self._check(offset, length)
        lead = offset % self._read_unit
        wanted = round_up(lead + length, self._read_unit)
        if not self._is_direct:
            os.posix_fadvise(self._fd, offset - lead, wanted, os.POSIX_FADV_DONTNEED)
        got = 0
        with self._buffer() as buffer:
            while got < lead + length:
                try:
                    count = os.preadv(self._fd, [buffer[got:wanted]], offset - lead + got)
                except OSError as exc:
                    raise self._error("read", offset, exc) from exc
                if not count:
                    raise TruncatedError(f"{self.name}: ends at {offset - lead + got}")
                got += count
            return bytes(buffer[lead : lead + length])

    @contextmanager
    def _buffer(self) -> Iterator[memoryview]:
        """A buffer that no other thread has, of a chunk and a block."""
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = mmap.mmap(-1, CHUNK_SIZE + BLOCK_SIZE)
        try:
            with memoryview(buffer) as view:
                yield view
        finally:
            self._buffers.append(buffer)

    def _write_buffer(self, offset: int, length: int, buffer: memoryview) -> None:
        done = 0
        while done < length:
            try:
                count = os.pwritev(self._fd, [buffer[done:length]], offset + done)
            except OSError as exc:
                raise self._error("write", offset + done, exc) from exc
            if not count:
                full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                raise self._error("write", offset + done, full)
            done += count

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OutOfBoundsError(
                f"{self.name}: {length} bytes at {offset} lie outside its {self.size} bytes"
            )

    def _error(self, operation: str, offset: int, exc: OSError) -> DeviceError:
        return DeviceError(self.name, operation, offset, exc.errno or errno.EIO, str(exc.strerror))


class Window:
    """A bounded part of a device; nothing outside can be read or written through it."""

    def __init__(self, device: Device, name: str, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > device.size:
            raise OutOfBoundsError(f"{name}: does not lie within {device.name}")
        self._device = device
        self._offset = offset
        self.name = f"{device.name} ({name})"
        self.size = size
        self.sector_size = device.sector_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` within the window."""
        self._check(offset, length)
        with self._own_name(offset):
            return self._device.read_at(self._offset + offset, length)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write ``data`` at ``offset`` within the window."""
        self._check(offset, len(data))
        with self._own_name(offset):
            self._device.write_at(self._offset + offset, data)

    def flush(self) -> None:
        """Flush the whole device."""
        with self._own_name(0):
            self._device.flush()

    @contextmanager
    def _own_name(self, offset: int) -> Iterator[None]:
        """Have errors name this window, which tells a person more than the disk does."""
        try:
            yield
        except DeviceError as exc:
            operation, text = exc.operation, exc.text
            raise DeviceError(self.name, operation, offset, exc.errno, text) from exc

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OutOfBoundsError(f"{self.name}: {length} bytes at {offset} lie outside")


def _open_direct(path: Path, flags: int) -> tuple[int, bool]:
    try:
        return os.open(path, flags | os.O_DIRECT), True
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return os.open(path, flags), False


def _is_block_device(fd: int) -> bool:
    return stat.S_ISBLK(os.fstat(fd).st_mode)


def _sector_size(fd: int) -> int:
    if not _is_block_device(fd):
        return SECTOR_SIZE
    answer = bytearray(4)
    fcntl.ioctl(fd, _BLKSSZGET, answer)
    return int.from_bytes(answer, "little")
