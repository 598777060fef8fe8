"""Where the updater's slots lie: properties of every volume that has room for them."""

import struct
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bootsvc.errors import FieldError, LayoutError
from bootsvc.formats.fat32 import FIRST_CLUSTER, Geometry, Run, parse_folder
from bootsvc.formats.updater_slots import (
    FRONT,
    ROOM,
    Sums,
    control_plan,
    other,
    parse_sums,
    regions_of,
    room_of,
    slot_plan,
)

few = settings(deadline=None, max_examples=30)

DIGESTS = st.binary(min_size=32, max_size=32)
CRCS = st.integers(0, 2**32 - 1)


def geometry(sector_size: int, cluster_sectors: int, clusters: int) -> Geometry:
    return Geometry(
        sector_size, sector_size * cluster_sectors, (4096, 8192), 4096, 12288, clusters, 2, 512
    )


GEOMETRIES = st.builds(
    geometry, st.sampled_from((512, 4096)), st.sampled_from((1, 2, 8)), st.integers(20_000, 60_000)
)


@given(GEOMETRIES)
def test_no_region_shares_a_sector_of_the_table_with_another_or_with_other_files(
    volume: Geometry,
) -> None:
    regions = regions_of(volume)
    runs = (regions.control, regions.slots["a"], regions.slots["b"])
    unit = volume.entries_a_sector
    assert all(not run.first % unit and not run.count % unit and run.count for run in runs)
    assert all(one.end == next_one.first for one, next_one in pairwise(runs))
    assert (runs[0].first - FIRST_CLUSTER) * volume.cluster_size >= FRONT
    assert runs[-1].end <= volume.clusters + FIRST_CLUSTER
    assert runs[1].count == runs[2].count


@few
@given(GEOMETRIES, st.sampled_from("ab"), st.data())
def test_the_files_of_a_slot_take_all_of_it_and_no_more(
    volume: Geometry, slot: str, data: st.DataObject
) -> None:
    regions = regions_of(volume)
    room = room_of(volume, regions)
    kernel = data.draw(st.integers(1, room - 1))
    initramfs = data.draw(st.integers(1, room - kernel))
    plan = slot_plan(volume, regions, slot, kernel, initramfs)
    run = regions.slots[slot]
    assert len(plan.chains) == 4 * run.count
    entries = {one.name: one for one in parse_folder(plan.folder)}
    assert (entries["vmlinuz"].size, entries["initrd.img"].size) == (kernel, initramfs)
    nexts = struct.unpack(f"<{run.count}I", plan.chains)
    for entry in entries.values():
        if entry.is_folder:
            continue
        length, cluster = 1, entry.cluster
        while nexts[cluster - run.first] != 0x0FFFFFFF:
            cluster = nexts[cluster - run.first]
            length += 1
        assert length == -(-entry.size // volume.cluster_size)
    used = sum(-(-one.size // volume.cluster_size) for one in entries.values()) + 1
    assert used == run.count
    with pytest.raises(LayoutError, match="has room for"):
        slot_plan(volume, regions, slot, run.count * volume.cluster_size, 1)


@few
@given(GEOMETRIES)
def test_the_marks_have_clusters_of_their_own_within_their_folder(volume: Geometry) -> None:
    regions = regions_of(volume)
    chains, folder, marks = control_plan(volume, regions)
    assert len(chains) == 4 * regions.control.count
    names = {one.name: one for one in parse_folder(folder)}
    assert {"a", "b", ROOM, *marks} <= set(names)
    taken = [Run(regions.control.first, 1), *marks.values()]
    assert all(one.end == next_one.first for one, next_one in pairwise(taken))


def test_a_volume_without_room_for_slots_is_refused() -> None:
    with pytest.raises(LayoutError, match="too small"):
        regions_of(geometry(512, 1, 8_400))


@given(DIGESTS, DIGESTS, CRCS, CRCS)
def test_sums_are_read_as_they_were_written(
    kernel: bytes, initramfs: bytes, kernel_crc: int, initramfs_crc: int
) -> None:
    sums = Sums(kernel, initramfs, kernel_crc, initramfs_crc)
    assert parse_sums(*sums.files()) == sums


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_other_bytes_are_no_sums(sums: bytes, crcs: bytes) -> None:
    good = Sums.of(b"kernel", b"initramfs").files()
    assume((sums, crcs) != good)
    for pair in ((sums, crcs), (good[0], crcs), (sums, good[1])):
        if pair != good:
            with pytest.raises(FieldError, match="holds no sums"):
                parse_sums(*pair)


def test_there_are_two_slots() -> None:
    assert (other("a"), other("b")) == ("b", "a")
