"""Disk files of machines that are off."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from qemu_lab import disk
from qemu_lab.errors import DiskToolError
from qemu_lab.machine import Drive, Machine
from qemu_lab.state import SavedState, copy_disks, read_uri, write_uri

MIB = 1024 * 1024


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A raw disk of 4 MiB with something at 1 MiB."""
    path = disk.create_blank(tmp_path / "base, 1.img", 4 * MIB).path
    disk.write_range(path, MIB, bytes(range(256)) * 16)
    return path


@pytest.fixture
def overlay(base: Path, tmp_path: Path) -> Path:
    path = tmp_path / "top.qcow2"
    assert disk.create_overlay(base, path) == Drive(path, format="qcow2")
    return path


def test_a_range_of_a_raw_disk_is_read(base: Path) -> None:
    assert disk.read_range(base, MIB + 3, 4) == bytes([3, 4, 5, 6])
    assert disk.read_range(base, 4 * MIB - 2) == b"\0\0"
    assert disk.read_range(base, 0, 0) == b""


def test_an_overlay_reads_as_the_guest_sees_it(base: Path, overlay: Path) -> None:
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write -P 0xab 1M 512", overlay],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert disk.read_range(overlay, MIB + 510, 4) == b"\xab\xab\x00\x01"
    assert disk.read_range(overlay, MIB - 1, 2) == b"\x00\xab"
    assert disk.read_range(base, MIB, 2) == b"\x00\x01"
    assert disk.size_of(overlay) == disk.size_of(base) == 4 * MIB


def test_a_hash_is_the_same_through_an_overlay(base: Path, overlay: Path) -> None:
    expected = hashlib.sha256(base.read_bytes()).hexdigest()
    assert disk.sha256_range(base) == disk.sha256_range(overlay) == expected
    part = hashlib.sha256(base.read_bytes()[700:9000]).hexdigest()
    assert disk.sha256_range(base, 700, 8300) == disk.sha256_range(overlay, 700, 8300) == part


def test_an_overlay_may_be_moved(overlay: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = overlay.rename(tmp_path / "elsewhere" / "top.qcow2")
    assert disk.read_range(moved, MIB + 1, 1) == b"\x01"


def test_an_overlay_is_flattened_into_a_raw_disk(overlay: Path, base: Path, tmp_path: Path) -> None:
    disk.flatten(overlay, tmp_path / "flat.img")
    assert (tmp_path / "flat.img").read_bytes() == base.read_bytes()


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (4 * MIB, 1), (0, 4 * MIB + 1)])
def test_a_range_beyond_the_disk_is_refused(base: Path, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        disk.read_range(base, offset, length)
    with pytest.raises(ValueError, match="not within"):
        disk.write_range(base, offset, b"x" * length)


def test_damage_is_not_done_through_an_overlay(overlay: Path) -> None:
    with pytest.raises(ValueError, match="flatten"):
        disk.write_range(overlay, 0, b"x")


def test_a_sparse_disk_stays_sparse_when_copied(base: Path, tmp_path: Path) -> None:
    disk.copy_sparse(base, tmp_path / "copy.img")
    assert (tmp_path / "copy.img").read_bytes() == base.read_bytes()
    assert (tmp_path / "copy.img").stat().st_blocks * 512 < MIB


def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(DiskToolError, match=r"(?s)cp .*nowhere.*No such file"):
        disk.copy_sparse(tmp_path / "nowhere", tmp_path / "copy")


# ---- saved states: the parts that need no machine ------------------------------------------------


def test_a_saved_state_is_read_as_it_was_written(tmp_path: Path, base: Path) -> None:
    machine = copy_disks(Machine(drives=(Drive(base),)), tmp_path)
    state = SavedState(tmp_path, machine, "tcg", "7.2")
    state.save()
    assert SavedState.load(tmp_path) == state
    assert machine.drives[0].path != base
    assert machine.drives[0].path.read_bytes() == base.read_bytes()


def test_a_folder_without_a_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=f"no saved state in {tmp_path}"):
        SavedState.load(tmp_path)


def test_a_machine_from_a_state_writes_to_overlays(overlay: Path, tmp_path: Path) -> None:
    machine = Machine(drives=(Drive(overlay, format="qcow2", bus="nvme"),))
    scratch = SavedState(tmp_path, machine, "tcg", "7.2").scratch_machine(tmp_path / "s", "one")
    assert scratch.drives == (Drive(tmp_path / "s/one.disk0.qcow2", format="qcow2", bus="nvme"),)
    assert disk.read_range(scratch.drives[0].path, MIB + 1, 1) == b"\x01"


def test_migration_goes_through_a_quoted_shell_command() -> None:
    assert write_uri(Path("/a b/m")) == "exec:cat > '/a b/m'"
    assert read_uri(Path("/a b/m")) == "exec:cat '/a b/m'"
