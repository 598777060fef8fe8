"""Files of a store: the same in a folder and in an S3 bucket."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from bootsvc.errors import (
    NoObjectError,
    ObjectKeyError,
    ObjectTooLargeError,
    ReadBackError,
    StoreAccessError,
)
from bootsvc.storage.files import flush_folder
from bootsvc.store import local_objects
from bootsvc.store.address import open_object_store
from bootsvc.store.objects import ObjectStore
from bootsvc.units import MIB


def test_what_is_written_is_read_and_listed(objects: ObjectStore) -> None:
    before = int(time.time())
    objects.write("packs/ab/one", b"first")
    objects.write("packs/two", b"")
    objects.write("packs-of-others/x", b"x")
    assert objects.read("packs/ab/one", 5) == b"first"
    assert objects.read("packs/two", 0) == b""
    assert objects.size("packs/ab/one") == 5
    found = {one.key: one for one in objects.list("packs")}
    assert {key: one.size for key, one in found.items()} == {"packs/ab/one": 5, "packs/two": 0}
    assert all(before <= one.modified_s <= time.time() + 1 for one in found.values())
    assert {one.key for one in objects.list()} == {*found, "packs-of-others/x"}


def test_a_second_write_replaces_the_first(objects: ObjectStore) -> None:
    objects.write("a", b"a longer first content")
    objects.write("a", b"second")
    assert objects.read("a", 100) == b"second"


def test_what_is_not_there_is_named(objects: ObjectStore) -> None:
    assert objects.size("nothing/here") is None
    assert list(objects.list("nothing")) == []
    with pytest.raises(NoObjectError, match="nothing/here"):
        objects.read("nothing/here", 10)
    with pytest.raises(NoObjectError, match="nothing/here"):
        objects.read_range("nothing/here", 0, 10)
    objects.delete("nothing/here")


def test_what_is_deleted_is_gone(objects: ObjectStore) -> None:
    objects.write("a/b", b"content")
    objects.delete("a/b")
    assert objects.size("a/b") is None
    assert list(objects.list()) == []


def test_a_file_larger_than_allowed_is_not_read(objects: ObjectStore) -> None:
    objects.write("large", bytes(1001))
    with pytest.raises(ObjectTooLargeError, match=r"1001 bytes, at most 1000"):
        objects.read("large", 1000)


def test_a_range_is_given_exactly_or_not_at_all(objects: ObjectStore) -> None:
    objects.write("a", bytes(range(100)))
    assert objects.read_range("a", 10, 5) == bytes(range(10, 15))
    assert objects.read_range("a", 0, 100) == bytes(range(100))
    assert objects.read_range("a", 100, 0) == b""
    with pytest.raises(StoreAccessError, match="/a"):
        objects.read_range("a", 90, 11)
    with pytest.raises(StoreAccessError, match="/a"):
        objects.read_range("a", 200, 1)


@pytest.mark.parametrize("size", [0, 1000, 8 * MIB, 20 * MIB + 7])
def test_a_file_of_any_size_arrives_in_pieces_and_is_named_at_last(
    objects: ObjectStore, size: int
) -> None:
    content = random.Random(size).randbytes(size)
    done: list[int] = []
    with objects.arriving() as file:
        for at in range(0, size, MIB):
            file.write(content[at : at + MIB])
        assert list(objects.list()) == []
        file.name("packs/large", done.append)
    assert objects.size("packs/large") == size == sum(done)
    assert objects.read("packs/large", size) == content
    assert (
        objects.read_range("packs/large", size // 2, size // 4)
        == (content[size // 2 : size // 2 + size // 4])
    )


def test_a_file_that_is_left_without_a_name_is_gone(objects: ObjectStore, tmp_path: Path) -> None:
    with objects.arriving() as file:
        file.write(bytes(1000))
    assert list(objects.list()) == []
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "key",
    [
        *("", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", ".hidden", "a/.b", "a/.."),
        *("ä", "a b", "a\nb", "a?b", "a%2e", "a\\b", "a" * 513),
    ],
)
def test_a_key_that_could_lead_elsewhere_is_refused(objects: ObjectStore, key: str) -> None:
    for work in (
        lambda: objects.read(key, 1),
        lambda: objects.read_range(key, 0, 1),
        lambda: objects.write(key, b""),
        lambda: named(objects, key),
        lambda: objects.write_if(key, b"", None),
        lambda: objects.size(key),
        lambda: objects.delete(key),
        lambda: list(objects.list(key or "/")),
    ):
        with pytest.raises(ObjectKeyError):
            work()


def named(objects: ObjectStore, key: str) -> None:
    with objects.arriving() as file:
        file.name(key)


def test_of_two_writers_who_saw_the_same_only_one_writes(objects: ObjectStore) -> None:
    assert objects.write_if("state", b"1", None)
    assert not objects.write_if("state", b"other 1", None)
    content, seen = objects.read_seen("state", 100)
    assert content == b"1"
    assert objects.write_if("state", b"2", seen)
    assert not objects.write_if("state", b"other 2", seen)
    assert not objects.write_if("never-written", b"x", seen)
    assert objects.read("state", 100) == b"2"


def test_of_many_writers_at_once_each_change_survives(objects: ObjectStore) -> None:
    objects.write_if("state", b"", None)

    def add(letter: bytes) -> None:
        while True:
            content, seen = objects.read_seen("state", 100)
            if objects.write_if("state", content + letter, seen):
                return

    threads = [threading.Thread(target=add, args=(bytes([65 + n]),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(objects.read("state", 100)) == list(range(65, 73))


def test_a_folder_that_is_not_there_is_made_only_when_asked(tmp_path: Path) -> None:
    with pytest.raises(StoreAccessError, match="no such folder") as refused:
        open_object_store(str(tmp_path / "a/b"))
    assert "bootsvc store init" in refused.value.hint
    open_object_store(str(tmp_path / "a/b"), create=True).write("c", b"d")
    assert (tmp_path / "a/b/c").read_bytes() == b"d"
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o644


def test_what_a_write_leaves_half_done_is_neither_listed_nor_kept_for_ever(tmp_path: Path) -> None:
    open_object_store(str(tmp_path)).write("a", b"b")
    old, new = tmp_path / ".writing/old", tmp_path / ".writing/new"
    for path in (old, new):
        path.write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    store = open_object_store(str(tmp_path))
    store.write("c", b"d")
    assert {one.key for one in store.list()} == {"a", "c"}
    assert [*(tmp_path / ".writing").iterdir()] == [new]


def test_a_file_gets_its_name_only_after_its_flush_and_its_folder_is_flushed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_object_store(str(tmp_path))
    target = tmp_path / "packs/one"
    seen: list[tuple[str, bool]] = []
    flush, flush_names = os.fsync, flush_folder

    def spy(fd: int) -> None:
        seen.append((Path(f"/proc/self/fd/{fd}").readlink().parent.name, target.exists()))
        flush(fd)

    def spy_folder(folder: Path) -> None:
        seen.append((f"names in {folder.name}", target.exists()))
        flush_names(folder)

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(local_objects, "flush_folder", spy_folder)
    store.write("packs/one", b"content")
    assert (".writing", False) in seen
    assert ("names in packs", True) in seen
    assert (f"names in {tmp_path.name}", False) in seen


def test_what_is_read_back_differently_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_object_store(str(tmp_path))

    class Lying:
        def __init__(self, path: Path, *, writable: bool) -> None:
            assert not writable
            self.content = path.read_bytes()

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def read_at(self, offset: int, length: int) -> bytes:
            return bytes(length) if offset else self.content[:length]

    store.write("a", b"short is well")
    monkeypatch.setattr(local_objects, "DirectDevice", Lying)
    with pytest.raises(StoreAccessError, match="differs") as refused:
        store.write("a", b"x" * (2 * MIB))
    assert isinstance(refused.value.__cause__, ReadBackError)
    assert store.read("a", 100) == b"short is well"
    assert [*(tmp_path / ".writing").iterdir()] == []


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    store = open_object_store(bucket.replace("s3://bucket-", "s3://other-"))
    with pytest.raises(StoreAccessError, match="no such bucket"):
        store.write("a", b"b")
    with pytest.raises(StoreAccessError, match="no such bucket"):
        store.read("a", 10)


@pytest.mark.parametrize("where", ["s3://", "s3://B", "s3://bucket/../x", "s3://bucket//x"])
def test_an_address_that_is_no_buckets_is_refused(where: str) -> None:
    with pytest.raises(StoreAccessError, match="not the address of a bucket"):
        open_object_store(where)


def test_a_server_that_cannot_be_reached_is_named_with_the_next_step(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreAccessError, match="cannot be read") as refused:
        open_object_store(bucket).read("a", 10)
    assert "AWS_ENDPOINT_URL_S3" in refused.value.hint
    assert "\n" not in str(refused.value)
