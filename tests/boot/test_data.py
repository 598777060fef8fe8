"""The list of failed images in data, as the updater reads it; mounting is the lab's business."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bootsvc.boot import data, syscalls
from bootsvc.errors import BootError, LayoutError
from bootsvc.formats.failed_list import NAME, build
from bootsvc.storage.disk import Disk

BAD = b"B" * 32
NO_DISK: Disk = SimpleNamespace()  # type: ignore[assignment]


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was mounted and unmounted; data itself is a folder."""
    done: list[str] = []

    def mount(source: str, target: Path, kind: str, flags: int) -> None:
        done.append(f"mount {source} {target.name} {kind} {flags}")

    monkeypatch.setattr(data, "_MOUNT_POINT", tmp_path / "data")
    monkeypatch.setattr(data, "partition_node", lambda _disk, role: Path(f"/dev/{role}"))
    monkeypatch.setattr(syscalls, "mount", mount)
    monkeypatch.setattr(syscalls, "umount", lambda target: done.append(f"umount {target.name}"))
    return done


def test_the_list_is_read_from_data_mounted_read_only_for_the_moment(
    tmp_path: Path, mounts: list[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / NAME).write_bytes(build([BAD]))
    said: list[str] = []
    assert data.failed_images(NO_DISK, said.append) == (BAD,)
    assert mounts == [f"mount /dev/data data ext4 {syscalls.MS_RDONLY}", "umount data"]
    assert said == ["data remembers 1 failed images"]


def test_data_without_a_list_knows_of_no_failed_image(mounts: list[str]) -> None:
    assert data.failed_images(NO_DISK, lambda _: None) == ()
    assert mounts[-1] == "umount data"


def test_a_list_that_cannot_be_read_is_said_and_data_is_unmounted(
    tmp_path: Path, mounts: list[str]
) -> None:
    (tmp_path / "data" / NAME).mkdir(parents=True)
    said: list[str] = []
    assert data.failed_images(NO_DISK, said.append) == ()
    assert said[0].startswith("no list of failed images can be read from data: ")
    assert mounts[-1] == "umount data"


@pytest.mark.parametrize("error", [BootError("damaged"), LayoutError("no partition")])
def test_data_that_cannot_be_mounted_is_said(
    monkeypatch: pytest.MonkeyPatch, mounts: list[str], error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    place = (syscalls, "mount") if isinstance(error, BootError) else (data, "partition_node")
    monkeypatch.setattr(*place, fails)
    said: list[str] = []
    assert data.failed_images(NO_DISK, said.append) == ()
    assert said == [f"no list of failed images can be read from data: {error}"]
    assert mounts == []
