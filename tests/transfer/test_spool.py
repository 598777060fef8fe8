"""What arrived is kept until it stands in its place; nothing of it is in anybody's way."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from bootsvc.transfer import spool as spool_module
from bootsvc.transfer.spool import Spool

GOAL = bytes(range(32))
OTHER = bytes(32)
SERVER = "http://server"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def begun(folder: Path, goal: bytes = GOAL) -> Spool:
    spool = Spool(folder)
    spool.begin(goal)
    return spool


def put(spool: Spool, *pieces: bytes, remote: str = SERVER, offset: int = 0) -> None:
    with spool.range(remote, "packs/a.pack", offset, 100) as here:
        for piece in pieces:
            here.append(piece)


def there(spool: Spool, *, remote: str = SERVER, offset: int = 0) -> bytes:
    with spool.range(remote, "packs/a.pack", offset, 100) as here:
        return here.data


def test_the_next_process_goes_on_behind_the_last_piece(folder: Path) -> None:
    put(begun(folder), b"one ", b"two ")
    put(begun(folder), b"three")
    assert there(begun(folder)) == b"one two three"


def test_ranges_and_remotes_are_kept_apart(folder: Path) -> None:
    spool = begun(folder)
    put(spool, b"first")
    assert there(spool, offset=1) == b""
    assert there(spool, remote="http://another") == b""


def test_of_another_version_nothing_is_kept(folder: Path) -> None:
    put(begun(folder), b"of the old goal")
    begun(folder, OTHER)
    assert there(begun(folder)) == b""


def test_a_range_in_its_place_is_gone_whoever_gave_it(folder: Path) -> None:
    spool = begun(folder)
    put(spool, b"a")
    put(spool, b"b", remote="http://another")
    put(spool, b"c", offset=100)
    spool.drop("packs/a.pack", 0, 100)
    assert [there(spool), there(spool, remote="http://another")] == [b"", b""]
    assert there(spool, offset=100) == b"c"


def test_of_a_remote_that_gave_something_wrong_all_is_forgotten(folder: Path) -> None:
    spool = begun(folder)
    put(spool, b"wrong")
    put(spool, b"right", remote="http://another")
    spool.distrust(SERVER)
    assert there(spool) == b""
    assert there(spool, remote="http://another") == b"right"


def test_each_thread_hears_of_what_it_was_given_from_before(folder: Path) -> None:
    put(begun(folder), b"from before")
    spool = begun(folder)
    there(spool, offset=1)
    assert spool.resumed_here == 0
    with ThreadPoolExecutor(1) as other:
        other.submit(there, spool).result()
        assert other.submit(lambda: spool.resumed_here).result() == 1
    assert spool.resumed_here == 0


def test_at_the_end_nothing_is_left(folder: Path) -> None:
    spool = begun(folder)
    put(spool, b"some")
    spool.end()
    put(spool, b"more")
    assert list(folder.iterdir()) == []


def test_where_little_room_is_left_nothing_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(f_bavail=spool_module.ROOM // 4096, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    spool = begun(folder)
    put(spool, b"some")
    assert there(spool) == b""


def test_a_disk_that_takes_nothing_ends_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(spool_module, "SYNC_S", 0.0)
    monkeypatch.setattr(os, "fdatasync", failing)
    spool = begun(folder)
    put(spool, b"some", b" more")
    assert there(spool) == b"some"


def test_a_disk_that_lets_nothing_be_removed_ends_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_path: Path, *, missing_ok: bool) -> None:
        raise OSError(30, os.strerror(30), missing_ok)

    spool = begun(folder)
    put(spool, b"some")
    monkeypatch.setattr(Path, "unlink", failing)
    spool.drop("packs/a.pack", 0, 100)
    spool.distrust(SERVER)


def test_behind_a_beginning_that_cannot_be_read_nothing_is_appended(folder: Path) -> None:
    put(begun(folder), b"some")
    spool = begun(folder)
    (path,) = (one for one in folder.rglob("*") if one.is_file())
    path.unlink()
    path.mkdir()  # opening or reading it fails, whoever does it
    put(spool, b"more")
    assert there(spool) == b""


def test_a_file_system_without_writes_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    spool = begun(tmp_path / "file")
    put(spool, b"some")
    spool.end()
    assert there(spool) == b""
