"""The disk that forgets, and the cuts that are made from its log."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bootsvc.errors import OutOfBoundsError
from tests.power_cut.cuts import SEEDED_SUBSETS, Cut, CutRules, cuts_of
from tests.power_cut.disk import (
    MAX_OPERATIONS,
    PAGE_SIZE,
    Base,
    EndlessWorkError,
    SimulatedDisk,
    Snapshot,
)

SIZE = 16 * PAGE_SIZE
RECORD_AT = 8 * PAGE_SIZE


def blank(sector_size: int = 512) -> SimulatedDisk:
    return SimulatedDisk(Snapshot(Base(bytes(SIZE))), sector_size)


def cuts(disk: SimulatedDisk, *, is_thorough: bool = True) -> list[Cut]:
    rules = CutRules(disk.sector_size, (RECORD_AT,), is_thorough=is_thorough)
    return list(cuts_of(blank().content, disk.log, rules))


def of_kind(found: Sequence[Cut], kind: str) -> list[Cut]:
    return [cut for cut in found if cut.kind == kind]


# --- the disk -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "length"), [(0, 512), (512, 4096), (4096, 8192), (3584, 9216)])
def test_what_is_written_is_read_and_nothing_else_changes(offset: int, length: int) -> None:
    disk, model = blank(), bytearray(SIZE)
    for seed in (1, 2):
        disk.write_at(offset + 512 * seed, bytes([seed]) * length)
        model[offset + 512 * seed : offset + 512 * seed + length] = bytes([seed]) * length
    assert disk.read_at(0, SIZE) == model
    assert disk.read_at(offset + 7, length) == model[offset + 7 : offset + 7 + length]


def test_equal_disks_have_equal_keys_however_they_came_about() -> None:
    one, other = blank(), blank()
    one.write_at(0, b"a" * 512)
    one.write_at(512, b"b" * 512)
    other.write_at(512, b"x" * 512)
    other.write_at(0, b"a" * 512 + b"b" * 512)
    assert one.content.key == other.content.key != blank().content.key


def test_a_disk_written_back_to_what_it_was_has_its_old_key() -> None:
    disk = blank()
    disk.write_at(4096, b"a" * 8192)
    disk.write_at(4096, bytes(8192))
    assert disk.content.key == blank().content.key


def test_the_same_bytes_elsewhere_are_another_disk() -> None:
    keys = set()
    for at in range(0, SIZE, PAGE_SIZE):
        disk = blank()
        disk.write_at(at, b"a" * 512)
        keys.add(disk.content.key)
    assert len(keys) == SIZE // PAGE_SIZE


@pytest.mark.parametrize(
    ("sector_size", "offset", "length"), [(512, 256, 512), (4096, 512, 512), (512, SIZE, 512)]
)
def test_writes_of_parts_of_sectors_and_outside_are_refused(
    sector_size: int, offset: int, length: int
) -> None:
    disk = blank(sector_size)
    with pytest.raises(OutOfBoundsError):
        disk.write_at(offset, bytes(length))
    assert disk.log == []


def test_endless_work_on_the_disk_is_ended() -> None:
    disk = blank()
    for _ in range(MAX_OPERATIONS + 1):
        disk.read_at(0, 512)
    with pytest.raises(EndlessWorkError):
        disk.read_at(0, 512)


# --- cuts ---------------------------------------------------------------------------------------


def test_an_epoch_is_cut_into_every_prefix_every_subset_and_nothing() -> None:
    disk = blank()
    for page in (1, 2, 3):
        disk.write_at(page * PAGE_SIZE, b"a" * 512)
    disk.flush()
    found = cuts(disk)
    arrived = {
        tuple(cut.content.read(page * PAGE_SIZE, 1) == b"a" for page in (1, 2, 3)) for cut in found
    }
    assert len(arrived) == 8
    assert len(of_kind(found, "subset")) == 6
    assert len(of_kind(found, "nothing")) == 1
    assert [cut.at for cut in of_kind(found, "prefix")] == [0, 1, 2, 3, 4]


def test_what_was_flushed_stays_in_every_later_cut() -> None:
    disk = blank()
    disk.write_at(0, b"a" * 512)
    disk.flush()
    disk.write_at(PAGE_SIZE, b"b" * 1024)
    later = [cut for cut in cuts(disk) if cut.at >= 2]
    assert len(later) == 4
    assert all(cut.content.read(0, 1) == b"a" for cut in later)


def test_what_was_never_flushed_may_be_lost() -> None:
    disk = blank()
    disk.write_at(0, b"a" * 512)
    lost = [cut for cut in cuts(disk) if cut.content.key == blank().content.key]
    assert "nothing" in {cut.kind for cut in lost}


def test_writes_to_the_same_place_keep_their_order_in_every_subset() -> None:
    disk = blank()
    disk.write_at(0, b"a" * 512)
    disk.write_at(0, b"b" * 512)
    disk.flush()
    seen = {cut.label: cut.content.read(0, 1) for cut in of_kind(cuts(disk), "subset")}
    assert seen == {"subset@2+01": b"b", "subset@2+10": b"a"}


def test_long_epochs_lose_each_write_each_pair_and_seeded_subsets() -> None:
    disk = blank()
    for page in range(11):
        disk.write_at(page * PAGE_SIZE, b"a" * 512)
    disk.flush()
    found = of_kind(cuts(disk), "subset")
    lost = [cut.label.count("0", cut.label.index("+")) for cut in found]
    assert len(found) == 11 + 55 + SEEDED_SUBSETS
    assert lost[:11] == [1] * 11
    assert lost[11:66] == [2] * 55
    assert len({cut.content.key for cut in found}) > 66


@pytest.mark.parametrize(("sector_size", "tears"), [(512, 15), (4096, 1)])
def test_a_write_is_torn_at_each_sector_after_all_that_came_before(
    sector_size: int, tears: int
) -> None:
    disk = blank(sector_size)
    disk.write_at(0, b"a" * 4096)
    disk.write_at(2 * PAGE_SIZE, b"b" * 8192)
    torn = [cut for cut in of_kind(cuts(disk), "torn") if cut.at == 1 and "alone" not in cut.label]
    assert len(torn) == tears
    for number, cut in enumerate(torn, 1):
        end = number * sector_size
        assert cut.content.read(0, 4096) == b"a" * 4096
        assert cut.content.read(2 * PAGE_SIZE, 8192) == b"b" * end + bytes(8192 - end)


@pytest.mark.parametrize(("is_thorough", "tears"), [(True, 3), (False, 1)])
def test_a_write_is_torn_alone_of_its_epoch(*, is_thorough: bool, tears: int) -> None:
    disk = blank()
    disk.write_at(0, b"a" * 512)
    disk.write_at(2 * PAGE_SIZE, b"b" * 8192)
    alone = [cut for cut in cuts(disk, is_thorough=is_thorough) if "alone" in cut.label]
    assert len(alone) == tears
    assert all(cut.content.read(0, 1) == b"\0" for cut in alone)
    assert all(cut.content.read(2 * PAGE_SIZE, 1) == b"b" for cut in alone)
    assert all(cut.content.read(4 * PAGE_SIZE - 1, 1) == b"\0" for cut in alone)


def test_a_record_is_torn_at_every_byte_that_differs_both_ways_and_into_garbage() -> None:
    disk = blank()
    disk.write_at(RECORD_AT, bytes(100) + b"abc" + bytes(409))
    torn = {
        cut.label: cut.content.read(RECORD_AT, 512) for cut in of_kind(cuts(disk), "torn_record")
    }
    splits = [label for label in torn if "old" in label]
    assert len(splits) == 4
    assert torn["torn_record@0+new101old"] == bytes(100) + b"a" + bytes(411)
    assert torn["torn_record@0+old101new"] == bytes(101) + b"bc" + bytes(409)
    assert len(torn["torn_record@0+garbage"].strip(b"\0")) > 400


def test_copies_of_the_record_in_one_epoch_are_torn_together() -> None:
    other_at = RECORD_AT + PAGE_SIZE
    for flushes_between, torn_together in ((True, 0), (False, 1)):
        disk = blank()
        disk.write_at(RECORD_AT, b"a" * 512)
        if flushes_between:
            disk.flush()
        disk.write_at(other_at, b"a" * 512)
        disk.flush()
        rules = CutRules(disk.sector_size, (RECORD_AT, other_at))
        found = list(cuts_of(blank().content, disk.log, rules))
        both = [cut.content for cut in found if cut.label.endswith("+together")]
        assert len(both) == torn_together
        for content in both:
            assert b"a" * 16 not in content.read(RECORD_AT, 512) + content.read(other_at, 512)


def test_other_sectors_are_never_torn_inside() -> None:
    disk = blank()
    disk.write_at(0, b"a" * 512)
    assert not of_kind(cuts(disk), "torn_record")
    assert not of_kind(cuts(disk), "torn")


def test_labels_name_one_cut_each() -> None:
    disk = blank()
    disk.write_at(RECORD_AT, b"a" * 512)
    disk.flush()
    for page in (1, 2, 3):
        disk.write_at(page * PAGE_SIZE, b"a" * 4096)
    disk.flush()
    for is_thorough in (True, False):
        labels = [cut.label for cut in cuts(disk, is_thorough=is_thorough)]
        assert len(labels) == len(set(labels)) > 30
