"""The updater's slots on a volume: written, read, marked; sound for every other program."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootsvc.disk.tools import run_tool
from bootsvc.errors import (
    AlteredImageError,
    FormatError,
    LayoutError,
    ReadBackError,
    SequenceError,
)
from bootsvc.formats import fat32, updater_slots
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.updater_slots import Marks, SlotStore, format_slots, kernel_release
from tests.volumes import empty_esp, initramfs, kernel

SIZES = pytest.mark.parametrize("sector_size", [512, 4096])


class Volume:
    """An ESP in a file."""

    def __init__(self, path: Path, sector_size: int) -> None:
        path.write_bytes(empty_esp(sector_size))
        self.path = path
        self.device = DirectDevice(path, writable=True)
        self.device.sector_size = sector_size

    @property
    def slots(self) -> SlotStore:
        """The slots, found afresh."""
        return SlotStore(self.device)

    def damage(self, content: bytes) -> None:
        """Change a byte in the middle of where ``content`` stands."""
        at = self.path.read_bytes().find(content) + len(content) // 2
        with self.path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    def is_sound(self) -> bool:
        """Whether fsck.vfat finds no fault."""
        done = subprocess.run(
            ["/usr/sbin/fsck.vfat", "-n", self.path], capture_output=True, check=False
        )
        return done.returncode == 0


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path / "esp.fs", 512)
    with made.device:
        yield made


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Volume]:
    made = Volume(tmp_path / "large.fs", 4096)
    with made.device:
        yield made


def test_a_new_volume_has_two_empty_slots_and_no_marks(volume: Volume) -> None:
    assert volume.slots.marks() == Marks("")
    assert volume.is_sound()
    for slot in "ab":
        with pytest.raises(FormatError, match="empty"):
            volume.slots.read(slot)
        with pytest.raises(FormatError, match="empty"):
            volume.slots.release(slot)


def test_what_was_written_is_read_and_the_volume_stays_sound(volume: Volume) -> None:
    for slot, number in (("a", 1), ("b", 2), ("b", 3)):
        volume.slots.write(slot, kernel(number, 20_000 + number), initramfs(number))
        content = volume.slots.read(slot)
        assert (content.kernel_size, content.initramfs_size) == (20_000 + number, 9_000)
        assert volume.slots.release(slot) == f"6.1.{number}"
        assert volume.is_sound()


def test_4096_byte_sectors_are_written_whole(large: Volume) -> None:
    large.slots.write("a", kernel(1), initramfs(1))
    large.slots.prove("a")
    large.slots.try_once("b")
    assert large.slots.marks() == Marks("a", "b")
    assert large.slots.read("a").kernel_size == 20_000
    assert large.is_sound()


def test_another_program_reads_the_same_files(volume: Volume, tmp_path: Path) -> None:
    volume.slots.write("b", kernel(1), initramfs(1))
    alone = tmp_path / "tree"
    alone.mkdir()
    data = volume.path.read_bytes()
    geometry = fat32.parse_geometry(data[:512])
    regions = updater_slots.regions_of(geometry)
    start = geometry.offset_of(regions.slots["b"].first)
    for entry in fat32.parse_folder(data[start : start + geometry.cluster_size]):
        if not entry.is_folder:
            at = geometry.offset_of(entry.cluster)
            (alone / entry.name).write_bytes(data[at : at + entry.size])
    assert (alone / "vmlinuz").read_bytes() == kernel(1)
    subprocess.run(["sha256sum", "--check", "sha256.sum"], cwd=alone, check=True)


@SIZES
def test_writing_a_slot_changes_no_sector_of_the_other_or_of_anything_else(
    sector_size: int, tmp_path: Path
) -> None:
    volume = Volume(tmp_path / "esp.fs", sector_size)
    with volume.device:
        volume.slots.write("a", kernel(1), initramfs(1))
        volume.slots.prove("a")
        before = volume.path.read_bytes()
        volume.slots.write("b", kernel(2), initramfs(2))
    after = volume.path.read_bytes()
    geometry = fat32.parse_geometry(before[:512])
    run = updater_slots.regions_of(geometry).slots["b"]
    own = [range(geometry.offset_of(run.first), geometry.offset_of(run.end))]
    own += [range(table + 4 * run.first, table + 4 * run.end) for table in geometry.tables]
    assert all(part.start % sector_size == part.stop % sector_size == 0 for part in own)
    changed = {
        at for at in range(0, len(before), 512) if before[at : at + 512] != after[at : at + 512]
    }
    assert changed
    assert all(any(at in part for part in own) for at in changed)


def test_the_proven_slot_is_never_written(volume: Volume) -> None:
    volume.slots.write("a", kernel(1), initramfs(1))
    volume.slots.prove("a")
    before = volume.path.read_bytes()
    with pytest.raises(SequenceError, match="slot a"):
        volume.slots.write("a", kernel(2), initramfs(2))
    assert volume.path.read_bytes() == before


def test_a_slot_without_room_is_refused_before_anything_is_written(volume: Volume) -> None:
    before = volume.path.read_bytes()
    with pytest.raises(LayoutError, match="has room for"):
        volume.slots.write("a", kernel(1, 1_500_000), initramfs(1, 500_000))
    assert volume.path.read_bytes() == before


def test_a_slot_takes_as_much_as_is_said_it_does(volume: Volume) -> None:
    geometry = fat32.parse_geometry(volume.path.read_bytes()[:512])
    room = updater_slots.room_of(geometry, updater_slots.regions_of(geometry))
    volume.slots.write("a", kernel(1, room - 9_001), initramfs(1, 9_001))
    assert volume.slots.read("a").kernel_size == room - 9_001
    assert volume.is_sound()


@pytest.mark.parametrize("content", [kernel(1), initramfs(1)])
def test_a_changed_byte_is_found(volume: Volume, content: bytes) -> None:
    volume.slots.write("a", kernel(1), initramfs(1))
    volume.damage(content)
    with pytest.raises(AlteredImageError, match="differs from its sums"):
        volume.slots.read("a")


def test_damaged_sums_are_noticed(volume: Volume) -> None:
    volume.slots.write("a", kernel(1), initramfs(1))
    for name in updater_slots.Sums.of(kernel(1), initramfs(1)).files():
        volume.damage(name)
        with pytest.raises((FormatError, AlteredImageError), match="sums"):
            volume.slots.read("a")
        volume.slots.write("a", kernel(1), initramfs(1))


def test_a_damaged_folder_leads_nowhere(volume: Volume) -> None:
    volume.slots.write("a", kernel(1), initramfs(1))
    data = volume.path.read_bytes()
    at = data.find(b"CRC32   SUM")
    with volume.path.open("r+b") as file:
        file.seek(at + 26)
        file.write(b"\x03\x00")
    with pytest.raises(FormatError, match="outside its slot"):
        volume.slots.read("a")


def test_a_try_is_marked_and_a_proof_ends_it(volume: Volume) -> None:
    volume.slots.write("a", kernel(1), initramfs(1))
    assert volume.slots.prove("a")
    assert not volume.slots.prove("a")
    volume.slots.write("b", kernel(2), initramfs(2))
    volume.slots.try_once("b")
    assert volume.slots.marks() == Marks("a", "b")
    assert volume.slots.prove("b")
    # GRUB has not taken the mark away yet, so that is still asked for.
    assert volume.slots.marks() == Marks("b", "b")


def test_writing_a_slot_takes_its_marks_away_first(volume: Volume) -> None:
    volume.slots.try_once("b")
    volume.slots.write("b", kernel(2), initramfs(2))
    assert volume.slots.marks() == Marks("")


@pytest.mark.parametrize("name", [b"try=b", b"slot=a"])
def test_a_damaged_mark_is_none(volume: Volume, name: bytes) -> None:
    volume.slots.prove("a")
    volume.slots.try_once("b")
    data = bytearray(volume.path.read_bytes())
    at = data.find(name)
    data[at : at + len(name)] = name[:-1] + b"z"
    volume.path.write_bytes(data)
    marks = volume.slots.marks()
    assert (marks.proven, marks.to_try) == (("a", "") if name == b"try=b" else ("", "b"))
    start = data.rfind(b"# GRUB", 0, at)
    data[start : start + 1024] = bytes(1024)
    volume.path.write_bytes(data)
    marks = volume.slots.marks()
    assert (marks.proven, marks.to_try) == (("a", "") if name == b"try=b" else ("", "b"))


def test_a_write_that_the_disk_forgets_is_noticed(volume: Volume) -> None:
    real, places = volume.device.write_at, [0]

    def forgets(offset: int, data: bytes | memoryview) -> None:
        places[0] += 1
        if places[0] != 6:
            real(offset, data)

    store = volume.slots
    volume.device.write_at = forgets  # type: ignore[method-assign]
    with pytest.raises(ReadBackError):
        store.write("b", kernel(2), initramfs(2))
    with pytest.raises(FormatError):
        volume.slots.read("b")


def test_an_esp_of_another_kind_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.fs"
    path.write_bytes(bytes(8 * 2**20))
    run_tool(["mkfs.vfat", "-F", "32", "-s", "1", path])
    before = path.read_bytes()
    with DirectDevice(path, writable=True) as device:
        with pytest.raises(LayoutError, match="not where they were made"):
            SlotStore(device)
        assert path.read_bytes() == before
        format_slots(device)
        with pytest.raises(LayoutError, match="taken already"):
            format_slots(device)


def test_an_esp_that_was_cut_short_is_not_touched(volume: Volume) -> None:
    os.truncate(volume.path, volume.device.size // 2)
    with (
        DirectDevice(volume.path, writable=True) as half,
        pytest.raises(LayoutError, match="larger than it is"),
    ):
        SlotStore(half)


def test_what_another_program_notes_beside_the_names_does_no_harm(volume: Volume) -> None:
    data = bytearray(volume.path.read_bytes())
    at = data.find(b"PROVEN  ENV")
    data[at + 18 : at + 20] = b"\x21\x5d"  # the day of the last access
    volume.path.write_bytes(data)
    volume.slots.prove("a")
    assert volume.slots.marks() == Marks("a")


def test_an_esp_whose_folder_was_changed_is_not_touched(volume: Volume) -> None:
    data = bytearray(volume.path.read_bytes())
    at = data.find(b"PROVEN  ENV")
    data[at] = 0xE5
    volume.path.write_bytes(data)
    with pytest.raises(LayoutError, match="not where they were made"):
        SlotStore(volume.device)


def test_the_version_of_a_kernel_is_read_from_its_head() -> None:
    assert kernel_release(kernel(12)) == "6.1.12"
    assert kernel_release(bytes(4096)) == kernel_release(b"") == ""
