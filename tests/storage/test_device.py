"""Devices: alignment, bounds, I/O errors under the name of the area they happened in."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bootsvc.errors import DeviceError, OutOfBoundsError, StorageError
from bootsvc.storage.device import CHUNK_SIZE, DirectDevice, Window
from bootsvc.units import BLOCK_SIZE, MIB
from tests.storage.memory import MemoryDevice

CONTENT = random.Random(1).randbytes(3 * MIB)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[DirectDevice]:
    path = tmp_path / "disk"
    path.write_bytes(CONTENT)
    with DirectDevice(path, writable=True) as opened:
        yield opened


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0),
        (0, 1),
        (511, 2),
        (512, 512),
        (1, CHUNK_SIZE),
        (511, CHUNK_SIZE + 1),
        (4095, 2 * CHUNK_SIZE + 3),
        (3 * MIB - 1, 1),
    ],
)
def test_any_range_can_be_read(device: DirectDevice, offset: int, length: int) -> None:
    assert device.read_at(offset, length) == CONTENT[offset : offset + length]


def test_what_is_written_is_read_back_and_nothing_else_changes(device: DirectDevice) -> None:
    data = random.Random(2).randbytes(CHUNK_SIZE + 512)
    device.write_at(512, data)
    device.flush()
    assert device.read_at(0, device.size) == CONTENT[:512] + data + CONTENT[512 + len(data) :]


@pytest.mark.parametrize(("offset", "length"), [(1, 512), (512, 1), (512, 511)])
def test_a_write_that_is_not_whole_sectors_is_refused(
    device: DirectDevice, offset: int, length: int
) -> None:
    with pytest.raises(OutOfBoundsError):
        device.write_at(offset, bytes(length))
    assert device.read_at(0, device.size) == CONTENT


@pytest.mark.parametrize(("offset", "length"), [(3 * MIB, 1), (-512, 512), (3 * MIB - 512, 1024)])
def test_nothing_outside_the_device_is_read_or_written(
    device: DirectDevice, offset: int, length: int
) -> None:
    with pytest.raises(OutOfBoundsError):
        device.read_at(offset, length)
    with pytest.raises(OutOfBoundsError):
        device.write_at(offset, bytes(round(length / 512 + 0.5) * 512))
    assert device.size == len(CONTENT)


def test_an_error_of_the_kernel_keeps_its_number_and_names_the_device(
    device: DirectDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int, __: Sequence[memoryview], ___: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fails)
    monkeypatch.setattr(os, "pwritev", fails)
    with pytest.raises(DeviceError, match="read at byte 4096") as caught:
        device.read_at(4096, 512)
    assert (caught.value.errno, caught.value.operation) == (errno.EIO, "read")
    assert caught.value.device == device.name
    with pytest.raises(DeviceError, match="write"):
        device.write_at(0, bytes(512))


def test_short_reads_and_writes_of_the_kernel_are_gone_on_with(
    device: DirectDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = os.preadv, os.pwritev
    monkeypatch.setattr(os, "preadv", lambda fd, bufs, at: read(fd, [bufs[0][:4096]], at))
    monkeypatch.setattr(os, "pwritev", lambda fd, bufs, at: write(fd, [bufs[0][:4096]], at))
    data = random.Random(3).randbytes(4 * BLOCK_SIZE)
    device.write_at(BLOCK_SIZE, data)
    assert device.read_at(BLOCK_SIZE, len(data)) == data


def test_a_file_is_read_in_pieces_that_a_disk_with_4096_byte_sectors_can_give(
    device: DirectDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.preadv
    asked: list[int] = []

    def watched(fd: int, buffers: Sequence[memoryview], at: int) -> int:
        asked.extend([at, len(buffers[0])])
        return read(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", watched)
    assert device.read_at(BLOCK_SIZE + 512, 700) == CONTENT[4608:5308]
    assert asked == [BLOCK_SIZE, BLOCK_SIZE]


def test_a_disk_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing-here"):
        DirectDevice(tmp_path / "nothing-here", writable=False)


def test_a_window_shows_its_part_of_the_device_only() -> None:
    device = MemoryDevice(CONTENT[: 8 * BLOCK_SIZE])
    window = Window(device, "part", 2 * BLOCK_SIZE, 3 * BLOCK_SIZE)
    assert window.read_at(0, window.size) == CONTENT[2 * BLOCK_SIZE : 5 * BLOCK_SIZE]
    window.write_at(2 * BLOCK_SIZE, bytes(BLOCK_SIZE))
    assert device.bytes[4 * BLOCK_SIZE : 5 * BLOCK_SIZE] == bytes(BLOCK_SIZE)
    assert device.bytes[5 * BLOCK_SIZE :] == CONTENT[5 * BLOCK_SIZE : 8 * BLOCK_SIZE]


@pytest.mark.parametrize(
    ("offset", "length"), [(-512, 512), (0, 4 * BLOCK_SIZE), (3 * BLOCK_SIZE, 512)]
)
def test_nothing_outside_a_window_is_read_or_written(offset: int, length: int) -> None:
    device = MemoryDevice(CONTENT[: 8 * BLOCK_SIZE])
    window = Window(device, "part", 2 * BLOCK_SIZE, 3 * BLOCK_SIZE)
    with pytest.raises(OutOfBoundsError):
        window.read_at(offset, length)
    with pytest.raises(OutOfBoundsError):
        window.write_at(offset, bytes(length))
    assert device.log == []


def test_a_window_beyond_the_device_cannot_be_made() -> None:
    with pytest.raises(OutOfBoundsError):
        Window(MemoryDevice(bytes(4096)), "part", 512, 4096)


def test_an_error_inside_a_window_names_the_window_and_its_own_offset() -> None:
    device = MemoryDevice(bytes(8 * BLOCK_SIZE))
    device.bad_reads = [range(2 * BLOCK_SIZE, 3 * BLOCK_SIZE)]
    with pytest.raises(DeviceError, match=r"memory \(part\): read at byte 4096") as caught:
        Window(device, "part", BLOCK_SIZE, 4 * BLOCK_SIZE).read_at(BLOCK_SIZE, 512)
    assert caught.value.errno == errno.EIO
