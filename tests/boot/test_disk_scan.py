"""A disk is read through: what is named unreadable, and how long a dead disk is tried."""

from __future__ import annotations

from bootsvc.boot.disk_scan import GIVES_UP_AFTER, describe_ranges, scan
from bootsvc.formats.gpt import Gpt, Partition
from bootsvc.units import BLOCK_SIZE, MIB
from tests.storage.memory import MemoryDevice, WasRead

SIZE = 8 * MIB + 3 * BLOCK_SIZE


def disk(*bad: range) -> MemoryDevice:
    device = MemoryDevice(bytes(SIZE))
    device.bad_reads += bad
    return device


def test_every_byte_is_read_once_where_all_is_well() -> None:
    device = disk()
    done: list[int] = []
    assert scan(device, done.append) == ()
    reads = [one for one in device.log if isinstance(one, WasRead)]
    assert sum(one.length for one in reads) == SIZE
    assert sum(done) == SIZE
    assert not device.writes()


def test_unreadable_blocks_are_named_and_neighbours_are_one_range() -> None:
    device = disk(
        range(BLOCK_SIZE + 512, BLOCK_SIZE + 1024),
        range(MIB - BLOCK_SIZE, MIB + BLOCK_SIZE),
        range(SIZE - 1, SIZE),
    )
    done: list[int] = []
    assert scan(device, done.append) == (
        range(BLOCK_SIZE, 2 * BLOCK_SIZE),
        range(MIB - BLOCK_SIZE, MIB + BLOCK_SIZE),
        range(SIZE - BLOCK_SIZE, SIZE),
    )
    assert sum(done) == SIZE


def test_a_dead_disk_is_not_tried_block_by_block_for_ever() -> None:
    device = disk(range(SIZE))
    lives: list[int] = []
    assert scan(device, lives.append) == (range(SIZE),)
    blocks = GIVES_UP_AFTER * MIB // BLOCK_SIZE
    reads = [one for one in device.log if isinstance(one, WasRead)]
    assert len(reads) == blocks + 9
    assert lives.count(0) == blocks


def test_a_dead_beginning_does_not_hide_single_blocks_behind_it() -> None:
    device = disk(range(6 * MIB), range(7 * MIB, 7 * MIB + 1))
    assert scan(device, lambda _: None) == (
        range(6 * MIB),
        range(7 * MIB, 7 * MIB + BLOCK_SIZE),
    )


def test_ranges_are_described_by_the_partitions_that_they_meet() -> None:
    table = Gpt(
        "guid",
        (
            Partition(1, "type", "one", "bootsvc-primary", 4096, 8192),
            Partition(2, "type", "two", "bootsvc-backup", 12288, 4096),
        ),
        512,
    )
    assert describe_ranges((range(512), range(8192, 16384)), table) == [
        "0 to 511: outside of all partitions",
        "8192 to 16383: bootsvc-primary, bootsvc-backup",
    ]
