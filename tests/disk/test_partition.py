"""Laying out a disk: pure properties, then what partitioning tools make of the result."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.disk.partition import (
    ALIGNMENT,
    MIN_AREA_SIZE,
    MIN_DATA_SIZE,
    DiskLayout,
    plan,
    smallest_esp,
    write_table,
)
from bootsvc.errors import LayoutError
from bootsvc.formats.gpt import parse_gpt
from bootsvc.units import GIB, MIB

AREAS = ("primary", "backup", "staging")


@st.composite
def layouts(draw: st.DrawFn) -> DiskLayout:
    sector_size = draw(st.sampled_from((512, 4096)))
    return plan(
        area_size=draw(st.integers(MIN_AREA_SIZE, 8 * GIB)),
        esp_size=draw(st.integers(smallest_esp(sector_size), 2 * GIB)),
        data_size=draw(st.integers(MIN_DATA_SIZE, 8 * GIB)),
        sector_size=sector_size,
        seed="test",
    )


@given(layouts())
def test_partitions_follow_each_other_and_leave_room_for_both_tables(layout: DiskLayout) -> None:
    end = ALIGNMENT
    for part in layout.partitions:
        assert part.offset >= end
        end = part.end
    assert layout.partitions[0].offset == ALIGNMENT
    assert layout.size - end >= ALIGNMENT


@given(layouts())
def test_everything_is_aligned_to_whole_mib(layout: DiskLayout) -> None:
    assert layout.size % ALIGNMENT == 0
    assert all(not (part.offset | part.size) % ALIGNMENT for part in layout.partitions)


@given(layouts())
def test_all_areas_have_one_size(layout: DiskLayout) -> None:
    assert len({layout[area].size for area in AREAS}) == 1


@given(st.integers(400 * MIB, 64 * GIB))
def test_data_takes_what_the_disk_has_left(size: int) -> None:
    layout = plan(size=size, seed="test")
    assert 0 <= size - layout.size < ALIGNMENT
    assert layout["data"].end + ALIGNMENT == layout.size


def test_seed_gives_the_same_guids_and_no_seed_gives_new_ones() -> None:
    assert plan(seed="a") == plan(seed="a")
    assert plan(seed="a").disk_guid != plan(seed="b").disk_guid
    assert plan() != plan()
    guids = [part.guid for part in plan(seed="a").partitions]
    assert len(set(guids)) == len(guids)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"area_size": 4096}, "image area"),
        ({"esp_size": 8 * MIB}, "--esp-size|ESP"),
        ({"data_size": MIB}, "data"),
        ({"size": 200 * MIB}, "too small"),
        ({"size": 200 * MIB, "data_size": 64 * MIB}, "the disk has"),
        ({"area_size": 4 << 40}, "larger than"),
        ({"sector_size": 520}, "512 and 4096"),
    ],
)
def test_sizes_out_of_range_are_refused_by_name(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(LayoutError, match=words):
        plan(**sizes)  # type: ignore[arg-type]


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_written_table_reads_back_as_planned(tmp_path: Path, sector_size: int) -> None:
    layout = plan(area_size=2 * MIB, data_size=8 * MIB, sector_size=sector_size, seed="test")
    path = tmp_path / "disk.img"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(layout.size)
    write_table(path, layout)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        gpt = parse_gpt(lambda at, length: os.pread(file.fileno(), length, at), size, sector_size)
    assert gpt.disk_guid == layout.disk_guid
    assert not gpt.is_spare
    assert [(p.type_guid, p.guid, p.name, p.offset, p.size) for p in gpt.partitions] == [
        (p.type_guid, p.guid, p.name, p.offset, p.size) for p in layout.partitions
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_other_tools_find_no_fault_in_the_table(tmp_path: Path) -> None:
    layout = plan(area_size=2 * MIB, data_size=8 * MIB, seed="test")
    path = tmp_path / "disk.img"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(layout.size)
    write_table(path, layout)
    sfdisk = shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin") or "sfdisk"
    shown = subprocess.run([sfdisk, "--json", path], capture_output=True, check=True)
    table = json.loads(shown.stdout)["partitiontable"]
    assert table["label"] == "gpt"
    assert [one["name"] for one in table["partitions"]] == [p.name for p in layout.partitions]
    checked = subprocess.run([sfdisk, "--verify", path], capture_output=True, text=True, check=True)
    assert "No errors detected" in checked.stdout
