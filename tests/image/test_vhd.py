"""VHD disks read through chains; qemu-img's opinion where it has one."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import BootsvcError, ChecksumError, FieldError, FormatError, StorageError
from bootsvc.image.vhd import Vhd
from tests.image.vhd_files import BLOCK, fixed, footer, sparse
from tests.images import random_blocks

SIZE = 3 * BLOCK + 4096
CONTENT = random_blocks(SIZE // 4096, seed=1)


def read(path: Path, step: int = 12 * 512) -> bytes:
    with Vhd(path) as disk:
        return b"".join(
            disk.read_at(at, min(step, disk.size - at)) for at in range(0, disk.size, step)
        )


def with_sectors(content: bytes, sectors: dict[int, bytes]) -> bytes:
    changed = bytearray(content)
    for number, data in sectors.items():
        changed[number * 512 : number * 512 + 512] = data
    return bytes(changed)


numbers = st.dictionaries(
    st.integers(0, SIZE // 512 - 1), st.binary(min_size=1, max_size=1).map(lambda one: one * 512)
)


@settings(max_examples=40, deadline=None)
@given(numbers, numbers, st.sampled_from([512, 4096, 5 * 512, 2**20]))
def test_each_sector_is_the_one_of_the_nearest_disk_that_has_it(
    second: dict[int, bytes], third: dict[int, bytes], step: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fixed(folder / "base.vhd", CONTENT)
        sparse(folder / "two.vhd", SIZE, second, parent="base.vhd", unique_id=b"2" * 16)
        top = sparse(
            folder / "three.vhd", SIZE, third, parent=r"C:\disks\two.vhd", parent_id=b"2" * 16
        )
        assert read(top, step) == with_sectors(with_sectors(CONTENT, second), third)


@pytest.mark.parametrize("subformat", ["fixed", "dynamic"])
def test_qemus_disks_are_read_as_qemu_reads_them(tmp_path: Path, subformat: str) -> None:
    (tmp_path / "raw").write_bytes(CONTENT + bytes(5 * 2**20) + CONTENT)
    command = ["qemu-img", "convert", "-O", "vpc", "-o", f"subformat={subformat}", "raw", "disk"]
    subprocess.run(command, cwd=tmp_path, check=True)
    command = ["qemu-img", "convert", "-f", "vpc", "-O", "raw", "disk", "again"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert read(tmp_path / "disk", 2**20) == (tmp_path / "again").read_bytes()


def test_a_child_larger_than_its_parent_has_zeros_there(tmp_path: Path) -> None:
    fixed(tmp_path / "base.vhd", CONTENT[: BLOCK + 4096])
    top = sparse(tmp_path / "top.vhd", SIZE, {}, parent="base.vhd")
    assert read(top) == CONTENT[: BLOCK + 4096] + bytes(SIZE - BLOCK - 4096)


def test_a_parent_that_is_missing_or_was_exchanged_is_named(tmp_path: Path) -> None:
    top = sparse(tmp_path / "top.vhd", SIZE, {}, parent="base.vhd")
    with pytest.raises(StorageError, match=r"base\.vhd: cannot be read: No such file"):
        read(top)
    fixed(tmp_path / "base.vhd", CONTENT, unique_id=b"x" * 16)
    with pytest.raises(FormatError, match=r"base\.vhd: not the disk that top\.vhd was made over"):
        read(top)


def test_a_parent_is_taken_from_the_disks_own_folder_whatever_path_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "here").mkdir()
    fixed(tmp_path / "base.vhd", CONTENT)
    top = sparse(tmp_path / "here/top.vhd", SIZE, {}, parent=r"..\base.vhd")
    with pytest.raises(StorageError, match=r"here/base\.vhd"):
        read(top)
    for name in ("", "..", "a\\.."):
        sparse(top, SIZE, {}, parent=name)
        with pytest.raises(FieldError, match="names no parent"):
            read(top)


def test_a_circle_of_parents_ends(tmp_path: Path) -> None:
    one, two = b"1" * 16, b"2" * 16
    sparse(tmp_path / "a", SIZE, {}, parent="b", unique_id=one, parent_id=two)
    sparse(tmp_path / "b", SIZE, {}, parent="a", unique_id=two, parent_id=one)
    with pytest.raises(FormatError, match="no end"):
        read(tmp_path / "a")


def test_a_flipped_byte_of_footer_or_header_is_seen(tmp_path: Path) -> None:
    fixed(tmp_path / "base.vhd", CONTENT)
    top = sparse(tmp_path / "top.vhd", SIZE, {}, parent="base.vhd")
    whole = top.read_bytes()
    for at in (len(whole) - 400, 512 + 100):
        top.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ChecksumError, match=r"top\.vhd: VHD"):
            read(top)


def test_sizes_out_of_bounds_are_refused_before_anything_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    for kind, size in ((2, 0), (2, 513), (3, 2**62), (9, 512)):
        path.write_bytes(footer(kind, size, b"x" * 16))
        with pytest.raises(FieldError):
            read(path)
    whole = sparse(path, SIZE, {0: b"x" * 512}, kind=3).read_bytes()
    path.write_bytes(whole[:1536] + b"\x00\xff\xff\xff" + whole[1540:])
    with pytest.raises(FormatError, match="beyond its end"):
        read(path)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2047), st.binary(min_size=1, max_size=40))
def test_a_damaged_disk_is_read_or_is_an_error_of_ours(at: int, damage: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = sparse(Path(name) / "disk.vhd", SIZE, {5: b"x" * 512}, kind=3)
        whole = bytearray(path.read_bytes())
        whole[at : at + len(damage)] = damage
        path.write_bytes(whole)
        with suppress(BootsvcError):
            assert len(read(path, 2**20)) == SIZE
