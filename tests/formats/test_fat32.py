"""FAT32: what mkfs.vfat and mtools made is read, what we build they read."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.disk.tools import run_tool
from bootsvc.errors import FieldError, FormatError
from bootsvc.formats.fat32 import (
    Entry,
    Run,
    build_chains,
    build_folder,
    parse_folder,
    parse_geometry,
    with_entry,
)

MIB = 2**20
CLUSTERS = 66_000
"""Fewer would be no FAT32 for mtools."""

NAMES = st.from_regex(r"\A[a-z][a-z0-9]{0,7}(\.[a-z0-9]{1,3})?\Z")
ENTRIES = st.builds(
    Entry,
    NAMES,
    st.integers(2, 2**28 - 1),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)


def volume(path: Path, sector_size: int = 512, cluster_sectors: int = 1) -> Path:
    path.touch()
    with path.open("r+b") as file:
        file.truncate(CLUSTERS * (sector_size * cluster_sectors + 8) + MIB)
    shape = ["-F", "32", "-S", str(sector_size), "-s", str(cluster_sectors)]
    run_tool(["mkfs.vfat", *shape, "-n", "LABEL", path])
    return path


def read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


@pytest.mark.parametrize(("sector_size", "cluster_sectors"), [(512, 1), (512, 2), (4096, 1)])
def test_a_file_is_found_where_the_geometry_says(
    tmp_path: Path, sector_size: int, cluster_sectors: int
) -> None:
    path = volume(tmp_path / "esp.fs", sector_size, cluster_sectors)
    (tmp_path / "file.txt").write_bytes(b"content")
    run_tool(["mcopy", "-i", path, tmp_path / "file.txt", "::FILE.TXT"])
    geometry = parse_geometry(read(path, 0, 512))
    assert (geometry.sector_size, len(geometry.tables)) == (sector_size, 2)
    assert geometry.cluster_size == sector_size * cluster_sectors
    top = read(path, geometry.offset_of(geometry.root_cluster), geometry.cluster_size)
    (entry,) = parse_folder(top)
    assert (entry.name, entry.size, entry.is_folder) == ("file.txt", 7, False)
    assert read(path, geometry.offset_of(entry.cluster), 7) == b"content"
    first, second = (read(path, table, geometry.table_size) for table in geometry.tables)
    assert first == second
    assert struct.unpack_from("<I", first, 4 * entry.cluster)[0] >= 0x0FFFFFF8
    assert read(path, geometry.free_count, 4) == b"RRaA"


def test_other_volumes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.fs"
    path.write_bytes(bytes(32 * MIB))
    run_tool(["mkfs.vfat", "-F", "16", path])
    for sector in (read(path, 0, 512), bytes(512), b"\xff" * 512, b""):
        with pytest.raises(FormatError):
            parse_geometry(sector)


def test_a_volume_whose_table_is_too_short_is_refused(tmp_path: Path) -> None:
    sector = bytearray(read(volume(tmp_path / "esp.fs"), 0, 512))
    struct.pack_into("<I", sector, 36, 1)
    with pytest.raises(FieldError, match="tables"):
        parse_geometry(bytes(sector))


@given(st.binary(max_size=700))
def test_any_first_sector_is_a_volume_or_an_error_of_ours(data: bytes) -> None:
    padded = data[:510].ljust(510, b"\0") + b"\x55\xaa"
    for sector in (data, padded):
        try:
            geometry = parse_geometry(sector)
        except FormatError:
            continue
        assert geometry.clusters > 0


def test_chains_lead_through_each_run_to_its_end() -> None:
    chains = build_chains([Run(10, 3), Run(13, 1)])
    assert struct.unpack("<4I", chains) == (11, 12, 0x0FFFFFFF, 0x0FFFFFFF)


@given(st.lists(ENTRIES, max_size=15))
def test_a_folder_is_read_as_it_was_built(entries: list[Entry]) -> None:
    built = build_folder(entries, 512)
    assert len(built) == 512
    assert parse_folder(built) == tuple(entries)
    extra = Entry("extra", 77, 5)
    if len(entries) < 15:
        assert parse_folder(with_entry(built, extra)) == (*entries, extra)


def test_a_folder_that_is_full_takes_no_more_names() -> None:
    entries = [Entry(f"f{number}", 5) for number in range(16)]
    with pytest.raises(FieldError, match="16 names"):
        build_folder(entries, 512)
    full = build_folder(entries, 1024)[:512]
    with pytest.raises(FieldError, match="no room"):
        with_entry(full, Entry("more", 5))


@given(st.binary(max_size=512))
def test_any_bytes_are_a_folder_of_some_names(data: bytes) -> None:
    assert all(isinstance(one.name, str) for one in parse_folder(data))
