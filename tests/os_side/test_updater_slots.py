"""The updater's update from the running OS: the rest is tested with its command."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from bootsvc.errors import DiskBusyError, LayoutError, StorageError
from bootsvc.os_side import updater_slots
from bootsvc.os_side.updater_slots import unmounted
from bootsvc.storage.disk import Disk, open_disk
from tests.bench import Bench


def node_is(patch: pytest.MonkeyPatch, path: Path) -> None:
    patch.setattr(updater_slots, "partition_node", lambda *_: path)


def cannot_be_opened(patch: pytest.MonkeyPatch, number: int) -> None:
    real = os.open

    def opens(path: Path, flags: int, *rest: int) -> int:
        if flags & os.O_EXCL and not flags & os.O_CREAT:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *rest)

    patch.setattr(os, "open", opens)


def is_held(node: Path) -> bool:
    """Whether this process has ``node`` open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(link.readlink())
    return node in found


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EBUSY, DiskBusyError), (errno.EIO, StorageError)]
)
def test_a_mounted_or_failing_esp_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    bench = Bench(tmp_path / "disk.img")
    node_is(monkeypatch, tmp_path / "vda2")
    cannot_be_opened(monkeypatch, number)
    with (
        open_disk(bench.path, writable=True) as disk,
        pytest.raises(kind, match="vda2"),
        unmounted(disk),
    ):
        raise AssertionError("it was taken for free")


def test_nobody_else_can_mount_the_esp_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "disk.img")
    node = tmp_path / "vda2"
    node.touch()
    node_is(monkeypatch, node)
    with open_disk(bench.path, writable=True) as disk:
        with unmounted(disk):
            assert is_held(node)
        assert not is_held(node)


def test_a_disk_file_has_nothing_to_be_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_node(disk: Disk, role: str) -> Path:
        raise LayoutError(f"{disk.device.name}: {role}")

    bench = Bench(tmp_path / "disk.img")
    monkeypatch.setattr(updater_slots, "partition_node", no_node)
    with open_disk(bench.path, writable=True) as disk, unmounted(disk):
        assert disk.areas
