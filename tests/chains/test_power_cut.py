"""Check information is written to a real file's header, and power goes at every write."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootsvc.chains.qcow2_file import put_information, read_head
from bootsvc.errors import DeviceError, ReadBackError
from bootsvc.formats.check_information import CheckInformation
from bootsvc.formats.qcow2 import MAX_HEADER_SIZE, parse_header
from bootsvc.units import SECTOR_SIZE
from tests.chains.folder import Published, tool, view
from tests.storage.memory import Flushed, MemoryDevice, Written

NEW = CheckInformation(b"o" * 32, b"p" * 32, b"i" * 32, b"n" * 32, is_last=True)


def plain(chain: Published) -> Path:
    """An increment as qemu-img leaves it, which has never heard of check information."""
    path = chain.folder / "plain.qcow2"
    parent = ["-b", "v3.qcow2", "-F", "qcow2"]
    tool("qemu-img", "create", "-q", "-f", "qcow2", *parent, path)
    return path


def test_every_write_is_flushed_before_the_next(three: Published) -> None:
    device = MemoryDevice(plain(three).read_bytes())
    assert put_information(device, NEW).is_changed
    order = [type(one) for one in device.log if isinstance(one, Written | Flushed)]
    assert order == [Written, Flushed] * 5  # name, its place, body, head, byte 3072
    assert not put_information(device, NEW).is_changed


@pytest.mark.parametrize("has_old", [False, True])
def test_after_a_cut_at_any_write_qemu_opens_the_file_and_the_work_starts_again(
    has_old: bool, three: Published
) -> None:
    path = three.path(3) if has_old else plain(three)
    seen = three.contents[2]
    before = path.read_bytes()
    header = parse_header(before[:MAX_HEADER_SIZE])
    device = MemoryDevice(before)
    put_information(device, NEW)
    disk = bytearray(before)
    for write in device.writes():
        for sector in range(0, len(write.data), SECTOR_SIZE):
            at = write.offset + sector
            piece = write.data[sector : sector + SECTOR_SIZE]
            if disk[at : at + SECTOR_SIZE] == piece:
                continue
            disk[at : at + SECTOR_SIZE] = piece
            found = read_head(bytes(disk[:MAX_HEADER_SIZE]), "cut")
            assert found.header.backing_name == header.backing_name
            assert found.information in (None, NEW, read_head(before[:65536], "").information)
            path.write_bytes(disk)
            tool("qemu-img", "check", "-f", "qcow2", path)
            assert view(path) == seen
            again = MemoryDevice(bytes(disk))
            put_information(again, NEW)
            whole = read_head(bytes(again.bytes[:MAX_HEADER_SIZE]), "again")
            assert (whole.information, whole.place) == (NEW, "extension")


def test_a_disk_that_writes_something_else_is_found_out(three: Published) -> None:
    device = MemoryDevice(three.path(3).read_bytes())
    device.flips = [range(3072, 3073)]
    with pytest.raises(ReadBackError, match="differs from what was written"):
        put_information(device, NEW)


def test_a_disk_error_is_named_and_ends_the_work(three: Published) -> None:
    device = MemoryDevice(three.path(3).read_bytes())
    device.bad_writes = [range(4096)]
    with pytest.raises(DeviceError):
        put_information(device, NEW)
    assert bytes(device.bytes) == three.path(3).read_bytes()
