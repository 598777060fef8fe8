"""Nobody gets a byte of an image that its digests do not know; blocks at hand are not fetched."""

from __future__ import annotations

import pytest

from bootsvc.boot.verified_source import TRIES, VerifiedSource
from bootsvc.errors import AlteredImageError, OutOfBoundsError
from bootsvc.formats.tree import leaves_of
from bootsvc.storage.device import Device
from bootsvc.storage.image_file import read_file_footer
from bootsvc.units import BLOCK_SIZE
from tests.images import Image, like, make_image, padded, random_blocks
from tests.storage.memory import MemoryDevice

AREA = 100 * BLOCK_SIZE
V1 = make_image(random_blocks(40, seed=1)[:-100])
V2 = make_image(like(padded(V1.content), {3: 7, 4: 7, 20: 7, 39: 7})[:-50], number=2)
END = len(padded(V2.content))


class Flickering(MemoryDevice):
    """Gives other bytes in one block, so many times."""

    def __init__(self, content: bytes, block: int, times: int) -> None:
        super().__init__(content)
        self.block, self.times = block, times

    def read_at(self, offset: int, length: int) -> bytes:
        data = bytearray(super().read_at(offset, length))
        at = self.block * BLOCK_SIZE - offset
        if self.times and 0 <= at < length:
            self.times -= 1
            data[at] ^= 1
        return bytes(data)


def verified(
    source: Device, said: list[str], *neighbours: Device, image: Image = V2
) -> VerifiedSource:
    leaves = leaves_of(padded(image.content))
    footer = read_file_footer(MemoryDevice(image.as_file()))
    return VerifiedSource(source, footer, leaves, image.tree, neighbours, said.append)


def test_it_holds_the_bytes_of_the_file() -> None:
    source = verified(MemoryDevice(V2.as_file()), [])
    assert source.size == len(V2.as_file())
    assert source.read_at(0, END) == padded(V2.content)
    assert source.read_at(END, source.size - END) == V2.footer
    assert source.fetched == END


def test_parts_of_blocks_and_writing_are_refused() -> None:
    source = verified(MemoryDevice(V2.as_file()), [])
    for at, length in ((1, BLOCK_SIZE), (0, 5), (END - BLOCK_SIZE, 2 * BLOCK_SIZE)):
        with pytest.raises(OutOfBoundsError):
            source.read_at(at, length)
    with pytest.raises(OutOfBoundsError):
        source.write_at(0, bytes(BLOCK_SIZE))


def test_a_block_that_differs_is_read_again_alone_until_it_is_right() -> None:
    said: list[str] = []
    device = Flickering(V2.as_file(), block=5, times=TRIES - 1)
    source = verified(device, said)
    assert source.read_at(0, END) == padded(V2.content)
    assert len(said) == TRIES - 1
    assert said[0] == "memory: block 5 (byte 20480) differs from its digest; read again"
    assert source.fetched == END + (TRIES - 1) * BLOCK_SIZE


def test_a_block_that_stays_wrong_is_named_and_nothing_is_given() -> None:
    said: list[str] = []
    source = verified(Flickering(V2.as_file(), block=5, times=TRIES), said)
    with pytest.raises(AlteredImageError, match=r"block 5 \(byte 20480\) differs .*, 4 times"):
        source.read_at(0, END)
    assert len(said) == TRIES - 1


def test_several_wrong_blocks_are_counted() -> None:
    altered = bytearray(V2.as_file())
    for block in (2, 9, 10):
        altered[block * BLOCK_SIZE] ^= 1
    with pytest.raises(AlteredImageError, match=r"block 2 \(byte 8192\), and 2 more, differs"):
        verified(MemoryDevice(altered), []).read_at(0, END)


def test_blocks_that_an_area_holds_are_taken_from_there() -> None:
    device, area = MemoryDevice(V2.as_file()), MemoryDevice(V1.in_area(AREA))
    source = verified(device, [], area)
    assert source.read_at(0, END) == padded(V2.content)
    assert source.fetched == 4 * BLOCK_SIZE
    assert source.copied == END - 4 * BLOCK_SIZE


def test_an_area_that_lies_about_its_blocks_or_cannot_be_read_costs_a_fetch() -> None:
    rotten = bytearray(V1.in_area(AREA))
    rotten[0] ^= 1
    area = MemoryDevice(rotten)
    area.bad_reads.append(range(BLOCK_SIZE, 2 * BLOCK_SIZE))
    source = verified(MemoryDevice(V2.as_file()), [], area)
    assert b"".join(source.read_at(at, BLOCK_SIZE) for at in range(0, END, BLOCK_SIZE)) == padded(
        V2.content
    )
    assert source.fetched == 6 * BLOCK_SIZE


@pytest.mark.parametrize("content", [bytes(AREA), V1.in_area(AREA)[:-1] + b"x", bytes(BLOCK_SIZE)])
def test_an_area_without_an_image_is_no_help_and_no_harm(content: bytes) -> None:
    source = verified(MemoryDevice(V2.as_file()), [], MemoryDevice(content))
    assert source.read_at(0, END) == padded(V2.content)
    assert source.copied == 0


def test_what_the_first_area_holds_is_not_read_from_the_second() -> None:
    first, second = MemoryDevice(V1.in_area(AREA)), MemoryDevice(V2.in_area(AREA))
    source = verified(MemoryDevice(V2.as_file()), [], first, second)
    assert source.read_at(0, END) == padded(V2.content)
    assert source.fetched == 0
    assert sum(one.length for one in second.reads_in(range(END))) == 4 * BLOCK_SIZE


def test_an_image_of_one_block_needs_no_tree() -> None:
    tiny = make_image(b"tiny")
    source = verified(
        MemoryDevice(tiny.as_file()), [], MemoryDevice(tiny.in_area(AREA)), image=tiny
    )
    assert source.read_at(0, BLOCK_SIZE) == padded(tiny.content)
    assert source.read_at(BLOCK_SIZE, source.size - BLOCK_SIZE) == tiny.footer
