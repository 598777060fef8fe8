"""The two copies of the record: order of writes, choice, repair, reconstruction (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bootsvc.errors import DeviceError, ReadBackError, StatusLostError
from bootsvc.formats.boot_status import (
    RECORD_SIZE,
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Phase,
    StatusCode,
    build,
)
from bootsvc.storage.status_store import COPY_OFFSETS, StatusStore, newest
from bootsvc.units import BLOCK_SIZE
from tests.storage.memory import Flushed, MemoryDevice, Operation, WasRead, Written

SIZE = COPY_OFFSETS[1] + BLOCK_SIZE
WHOLE = AreaRecord(AreaState.CONFIRMED, 4096, 1, b"O" * 32)
OLD = BootStatus(StatusCode.WORKING, Phase.IDLE, Area.PRIMARY, sequence=10, primary=WHOLE)
NEW = replace(OLD, sequence=11, crash_count=1)


def store(first: bytes, second: bytes, *, sector_size: int = 512) -> StatusStore:
    device = MemoryDevice(bytes(SIZE), sector_size=sector_size)
    for offset, data in zip(COPY_OFFSETS, (first, second), strict=True):
        device.bytes[offset : offset + len(data)] = data
    return StatusStore(device)


def memory(of: StatusStore) -> MemoryDevice:
    assert isinstance(of.device, MemoryDevice)
    return of.device


def copy_at(of: StatusStore, offset: int) -> bytes:
    return bytes(memory(of).bytes[offset : offset + RECORD_SIZE])


def shape(log: list[Operation]) -> Iterator[tuple[str, int]]:
    """Writes, flushes and reads by the copy that they are of."""
    for one in log:
        match one:
            case Written(offset, _):
                yield "write", COPY_OFFSETS.index(offset)
            case WasRead(offset, _):
                yield "read", COPY_OFFSETS.index(offset)
            case Flushed():
                yield "flush", -1


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_the_copies_stand_at_least_1_mib_apart_in_blocks_of_their_own() -> None:
    assert COPY_OFFSETS[1] - COPY_OFFSETS[0] >= 1024 * 1024
    assert all(offset % BLOCK_SIZE == 0 for offset in COPY_OFFSETS)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_a_record_is_written_flushed_and_read_back_copy_by_copy(sector_size: int) -> None:
    tested = store(build(OLD), build(OLD), sector_size=sector_size)
    assert tested.replace(NEW).sequence == 12
    done = list(shape(memory(tested).log))
    assert done[-6:] == [
        ("write", 0),
        ("flush", -1),
        ("read", 0),
        ("write", 1),
        ("flush", -1),
        ("read", 1),
    ]
    assert copy_at(tested, COPY_OFFSETS[0]) == copy_at(tested, COPY_OFFSETS[1])


def test_the_copy_with_the_highest_sequence_wins() -> None:
    assert store(build(OLD), build(NEW)).read() == NEW
    assert store(build(NEW), build(OLD)).read() == NEW


@pytest.mark.parametrize("bad", [0, 1])
def test_any_flipped_bit_of_one_copy_leaves_the_record_of_the_other(bad: int) -> None:
    sectors = [build(OLD), build(OLD)]
    tested = store(*sectors)
    offset = COPY_OFFSETS[bad]
    for bit in range(RECORD_SIZE * 8):
        memory(tested).bytes[offset : offset + RECORD_SIZE] = flipped(sectors[bad], bit)
        copies = tested.copies()
        assert copies[bad].status is None
        assert newest(copies) == OLD


@pytest.mark.parametrize("bad", [0, 1])
def test_a_bad_newer_copy_leaves_the_older_one(bad: int) -> None:
    sectors = [build(OLD), build(OLD)]
    sectors[bad] = flipped(build(NEW), 8 * 200)
    assert store(*sectors).read() == OLD


@pytest.mark.parametrize("kept", [0, 1, 8, 16, 256, 511])
def test_a_torn_copy_is_noticed(kept: int) -> None:
    torn = build(NEW)[:kept] + build(OLD)[kept:]
    tested = store(torn, build(OLD))
    assert tested.read() == OLD


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (bytes(512), bytes(512)),
        (b"\xff" * 512, b"\xff" * 512),
        (bytes(512), b"garbage!" * 64),
        (flipped(build(OLD), 0), flipped(build(OLD), 4095)),
    ],
    ids=["zeros", "ones", "garbage", "both flipped"],
)
def test_without_a_valid_copy_the_status_is_lost(first: bytes, second: bytes) -> None:
    with pytest.raises(StatusLostError):
        store(first, second).read()


def test_two_copies_of_one_sequence_that_differ_are_corruption() -> None:
    with pytest.raises(StatusLostError, match="differ"):
        store(build(OLD), build(replace(OLD, crash_count=9))).read()


@pytest.mark.parametrize("bad", [0, 1])
def test_repair_writes_only_the_bad_copy(bad: int) -> None:
    sectors = [build(OLD), build(OLD)]
    sectors[bad] = bytes(512)
    tested = store(*sectors)
    assert tested.repair(tested.read())
    assert [one.offset for one in memory(tested).writes()] == [COPY_OFFSETS[bad]]
    assert copy_at(tested, COPY_OFFSETS[bad]) == build(OLD)
    assert not tested.repair(OLD)


def test_repair_brings_an_older_copy_up_to_the_newest() -> None:
    tested = store(build(OLD), build(NEW))
    tested.repair(NEW)
    assert [one.offset for one in memory(tested).writes()] == [COPY_OFFSETS[0]]
    assert copy_at(tested, COPY_OFFSETS[0]) == build(NEW)


def test_two_good_copies_are_left_alone() -> None:
    tested = store(build(OLD), build(OLD))
    assert not tested.repair(OLD)
    assert not memory(tested).writes()


def test_a_copy_that_reads_back_differently_stops_before_the_other_is_touched() -> None:
    tested = store(build(OLD), build(OLD))
    memory(tested).flips = [range(600)]
    with pytest.raises(ReadBackError):
        tested.replace(NEW)
    assert copy_at(tested, COPY_OFFSETS[1]) == build(OLD)
    assert tested.read() == OLD


def test_a_copy_that_cannot_be_written_stops_before_the_other_is_touched() -> None:
    tested = store(build(OLD), build(OLD))
    memory(tested).bad_writes = [range(BLOCK_SIZE)]
    with pytest.raises(DeviceError):
        tested.replace(NEW)
    assert copy_at(tested, COPY_OFFSETS[1]) == build(OLD)


def test_a_new_record_is_above_every_sequence_that_can_be_read() -> None:
    tested = store(build(replace(OLD, sequence=50)), build(OLD))
    assert tested.replace(OLD).sequence == 51


def test_an_unreadable_copy_is_overwritten_before_a_reconstructed_record_counts() -> None:
    """An old record with a high sequence must not come back once its sector is readable again."""
    old_and_high = replace(OLD, sequence=10_000)
    tested = store(bytes(512), build(old_and_high))
    device = memory(tested)
    device.bad_reads = [range(COPY_OFFSETS[1], COPY_OFFSETS[1] + BLOCK_SIZE)]
    with pytest.raises(StatusLostError):
        tested.read()
    with pytest.raises(DeviceError):
        tested.reconstruct(NEW)
    assert device.bytes[COPY_OFFSETS[1] : COPY_OFFSETS[1] + 512] == bytes(512)
    assert device.bytes[:512] == bytes(512), "the new record was written before it may count"

    device.bad_reads = []
    written = tested.reconstruct(NEW)
    assert tested.read() == written
    assert copy_at(tested, 0) == copy_at(tested, COPY_OFFSETS[1])


def test_reconstruction_over_two_copies_that_differ_is_above_both() -> None:
    tested = store(build(OLD), build(replace(OLD, crash_count=9)))
    assert tested.reconstruct(NEW).sequence > OLD.sequence
    assert tested.read().crash_count == NEW.crash_count
