"""File systems are told apart by their first bytes, as their own programs make them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootsvc.boot import media, syscalls
from bootsvc.boot.media import kind_of, kind_of_bytes, mounted
from bootsvc.errors import StorageError
from bootsvc.units import MIB

MAKERS = {
    "small vfat": ("vfat", ["mkfs.vfat", "-F", "16"]),
    "large vfat": ("vfat", ["mkfs.vfat", "-F", "32"]),
    "ext4": ("ext4", ["mkfs.ext4", "-q", "-F"]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_system_is_known_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    kind, words = MAKERS[name]
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(40 * MIB)
    subprocess.run([*words, image], check=True, capture_output=True)
    assert kind_of(image) == kind


def test_exfat_is_known_by_its_name() -> None:
    assert kind_of_bytes(b"\xeb\x76\x90EXFAT   " + bytes(4085)) == "exfat"


def test_what_cannot_be_read_or_mounted_here_is_refused(tmp_path: Path) -> None:
    for content in (bytes(4096), b"hsqs" + bytes(4092), b"", b"short"):
        (tmp_path / "disk").write_bytes(content)
        with pytest.raises(StorageError, match="no file system that can be read here"):
            kind_of(tmp_path / "disk")
    with pytest.raises(StorageError, match="cannot be opened"):
        kind_of(tmp_path / "none")


def test_nothing_on_the_disk_can_change_and_it_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(media, "MOUNTS", tmp_path / "media")
    monkeypatch.setattr(media, "kind_of", lambda _: "ext4")
    monkeypatch.setattr(syscalls, "mount", lambda *words: calls.append(words))
    monkeypatch.setattr(syscalls, "umount", lambda place: calls.append((place,)))
    with pytest.raises(KeyError), mounted(Path("/dev/sdb1")) as place:
        raise KeyError
    read_only, no_programs = syscalls.MS_RDONLY, syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    ((source, target, kind, flags, options), (given_back,)) = calls
    assert (source, target, kind, options) == ("/dev/sdb1", place, "ext4", "noload")
    assert isinstance(flags, int)
    assert flags & read_only
    assert flags & no_programs == no_programs
    assert given_back == place
