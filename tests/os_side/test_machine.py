"""Which disk is this machine's, and what is refused as none of ours."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bootsvc.errors import (
    DiskBusyError,
    LayoutError,
    NotBootsvcError,
    StatusLostError,
)
from bootsvc.formats.boot_status import Area
from bootsvc.os_side.machine import find_disk, open_machine, whole_disk
from bootsvc.os_side.started import ThisStart
from bootsvc.sequence.requests import Started
from bootsvc.storage.lock import lock
from tests.bench import Bench

STARTED = Started(Area.PRIMARY, bytes(32), bytes(16))


@pytest.fixture
def machine_tree(tmp_path: Path) -> tuple[Path, Path]:
    """/sys and /dev with a disk vda of two partitions, and a loop device."""
    sys, dev = tmp_path / "sys", tmp_path / "dev"
    for partition in ("vda1", "vda4"):
        (sys / "devices/pci/vda" / partition).mkdir(parents=True)
        (sys / "devices/pci/vda" / partition / "partition").write_text(partition[3:])
    (sys / "devices/pci/vda/device").mkdir()
    (sys / "devices/virtual/loop0").mkdir(parents=True)
    for name in ("class/block", "block"):
        (sys / name).mkdir(parents=True)
    for name in ("vda", "vda/vda1", "vda/vda4"):
        link = sys / "class/block" / Path(name).name
        link.symlink_to(sys / "devices/pci" / name)
    (sys / "block/vda").symlink_to(sys / "devices/pci/vda")
    (sys / "block/loop0").symlink_to(sys / "devices/virtual/loop0")
    dev.mkdir()
    return sys, dev


def test_disk_of_this_start_is_the_one_that_holds_its_root(
    machine_tree: tuple[Path, Path],
) -> None:
    sys, dev = machine_tree
    assert find_disk(ThisStart(STARTED, root="/dev/vda4"), sys, dev) == dev / "vda"


@pytest.mark.parametrize("root", ["", "PARTUUID=1234", "/dev/vda", "/dev/vdz1"])
def test_root_that_is_no_partition_names_no_disk(
    machine_tree: tuple[Path, Path], root: str
) -> None:
    assert whole_disk(root, *machine_tree) is None


def test_only_disk_with_our_partitions_is_taken(machine_tree: tuple[Path, Path]) -> None:
    sys, dev = machine_tree
    Bench(dev / "vda")
    (dev / "loop0").hardlink_to(dev / "vda")
    assert find_disk(None, sys, dev) == dev / "vda"


def test_machine_without_our_disk_is_refused(machine_tree: tuple[Path, Path]) -> None:
    sys, dev = machine_tree
    (dev / "vda").write_bytes(bytes(65536))
    with pytest.raises(NotBootsvcError, match="no disk of this machine"):
        find_disk(None, sys, dev)


def test_several_disks_of_ours_are_refused_with_their_names(
    machine_tree: tuple[Path, Path],
) -> None:
    sys, dev = machine_tree
    Bench(dev / "vda")
    (sys / "block/vdb/device").mkdir(parents=True)
    (dev / "vdb").hardlink_to(dev / "vda")
    with pytest.raises(NotBootsvcError, match=r"vda, .*vdb") as caught:
        find_disk(None, sys, dev)
    assert "--disk" in caught.value.hint


def test_file_that_is_no_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(65536))
    with (
        pytest.raises(NotBootsvcError, match="not a disk of bootsvc"),
        open_machine(tmp_path / "file", writable=False),
    ):
        pass


def test_disk_partitioned_anew_is_read_but_never_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "disk.img")
    bench.change(lambda status: replace(status, layout_hash=bytes(32)))
    before = bench.digest()
    with open_machine(bench.path, writable=False) as machine:
        assert machine.status.layout_hash == bytes(32)
    with pytest.raises(LayoutError, match="another disk"), open_machine(bench.path, writable=True):
        pass
    assert bench.digest() == before


def test_lost_record_is_said(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "disk.img")
    offset, size = bench.place("status")
    bench.write(offset, bytes(size))
    with pytest.raises(StatusLostError), open_machine(bench.path, writable=False):
        pass


def test_second_writer_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootsvc.storage.disk.lock", partial(lock, wait_s=0.0))
    bench = Bench(tmp_path / "disk.img")
    with (
        open_machine(bench.path, writable=True),
        pytest.raises(DiskBusyError, match="works on this disk"),
        open_machine(bench.path, writable=True),
    ):
        pass


def test_errors_of_the_work_itself_pass_unchanged(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "disk.img")
    error = LayoutError("met later, while working")
    with pytest.raises(LayoutError) as caught, open_machine(bench.path, writable=False):
        raise error
    assert caught.value is error
