"""What a publisher signs, and what he refuses to build on."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bootsvc.errors import (
    ClockNotSetError,
    FieldError,
    NoObjectError,
    ObjectKeyError,
    ObjectTooLargeError,
    StoreAccessError,
    StoreBusyError,
    StoreDamagedError,
    WrongKeyError,
)
from bootsvc.image.keys import new_key_pair
from bootsvc.store.address import open_object_store
from bootsvc.store.expiry import ROLES, Expiry
from bootsvc.store.metadata import (
    edit_targets,
    init_metadata,
    publish_targets,
    read_targets,
    refresh_timestamp,
    rotate,
)
from bootsvc.store.objects import ObjectStore
from bootsvc.transfer.layout import LARGEST_TARGET

NOW = datetime(2027, 3, 1, tzinfo=UTC)


def at(days: float) -> Callable[[], datetime]:
    """A clock that stands ``days`` after NOW."""
    return lambda: NOW + timedelta(days=days)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Where the publisher's keys lie."""
    return tmp_path / "keys"


@pytest.fixture
def store(tmp_path: Path, keys: Path) -> ObjectStore:
    """A new store in a folder."""
    made = open_object_store(str(tmp_path / "store"), create=True)
    init_metadata(made, keys, now=at(0))
    return made


def contents(store: ObjectStore) -> dict[str, bytes]:
    return {one.key: store.read(one.key, one.size) for one in store.list()}


def test_what_is_published_is_read_back(objects: ObjectStore, keys: Path) -> None:
    root = init_metadata(objects, keys, now=at(0))
    assert root == (keys / "root.json").read_bytes()
    assert read_targets(objects, keys).names == frozenset()
    publish_targets(objects, keys, {"a/catalogue.json": b"1", "b.json": b"2"}, now=at(0))
    publish_targets(objects, keys, {"a/catalogue.json": b"new", "b.json": None}, now=at(0))
    found = read_targets(objects, keys)
    assert found.names == {"a/catalogue.json"}
    assert found.read("a/catalogue.json") == b"new"
    with pytest.raises(NoObjectError, match=r"b\.json"):
        found.read("b.json")


def test_the_keys_of_a_state_are_all_that_a_reader_needs(store: ObjectStore, keys: Path) -> None:
    publish_targets(store, keys, {"old.json": b"old"}, now=at(0))
    publish_targets(store, keys, {"old.json": None, "x/new.json": b"new"}, now=at(0))
    before = read_targets(store, keys)
    for key in {one.key for one in store.list()} - before.keys:
        store.delete(key)
    after = read_targets(store, keys)
    assert (after.keys, after.version) == (before.keys, before.version)
    assert after.read("x/new.json") == b"new"
    assert not any("old.json" in one.key for one in store.list())


def test_publishing_the_same_again_writes_nothing(store: ObjectStore, keys: Path) -> None:
    publish_targets(store, keys, {"a.json": b"1"}, now=at(0))
    before = contents(store)
    found = publish_targets(store, keys, {"a.json": b"1", "never.json": None}, now=at(1))
    assert contents(store) == before
    assert found.version == read_targets(store, keys).version


def test_no_file_that_a_reader_may_be_reading_ever_changes(store: ObjectStore, keys: Path) -> None:
    seen = contents(store)
    for number in range(4):
        publish_targets(store, keys, {"a.json": b"%d" % number}, now=at(number * 10))
        refresh_timestamp(store, keys, now=at(number * 10))
        now = contents(store)
        changed = {key for key, content in seen.items() if now.get(key) != content}
        assert changed <= {"metadata/timestamp.json"}
        seen = now


def test_every_write_leaves_a_whole_state_old_or_new(store: ObjectStore, keys: Path) -> None:
    publish_targets(store, keys, {"a.json": b"old"}, now=at(0))
    states = []

    class Watched:
        """The store; after each write a reader comes."""

        def __getattr__(self, name: str) -> object:
            method = getattr(store, name)
            if not name.startswith("write"):
                return method

            def write(*args: object) -> object:
                done = method(*args)
                states.append(read_targets(store, keys).read("a.json"))
                return done

            return write

    publish_targets(Watched(), keys, {"a.json": b"new"}, now=at(0))  # type: ignore[arg-type]
    assert states == [b"old", b"old", b"old", b"new"]


def test_of_publishers_at_once_nobodys_entry_is_lost(objects: ObjectStore, keys: Path) -> None:
    init_metadata(objects, keys, now=at(0))
    publish_targets(objects, keys, {"catalogue.json": b"[]"}, now=at(0))
    failures: list[BaseException] = []

    def publish(number: int) -> None:
        def edit(state: object) -> dict[str, bytes]:
            entries = json.loads(state.read("catalogue.json"))  # type: ignore[attr-defined]
            return {
                "catalogue.json": json.dumps([*entries, number]).encode(),
                f"versions/{number}.json": b"%d" % number,
            }

        try:
            edit_targets(objects, keys, edit, now=at(0))
        except BaseException as exc:  # noqa: BLE001  # shown below, in the test's own thread
            failures.append(exc)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = read_targets(objects, keys)
    assert sorted(json.loads(found.read("catalogue.json"))) == [0, 1, 2, 3]
    assert found.names == {"catalogue.json", *(f"versions/{number}.json" for number in range(4))}
    assert all(found.read(f"versions/{number}.json") == b"%d" % number for number in range(4))


def test_a_publisher_who_is_always_second_gives_up_and_says_so(
    store: ObjectStore, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootsvc.store.publisher._TRIES", 3)
    busy = 0

    def edit(_: object) -> dict[str, bytes]:
        nonlocal busy
        busy += 1
        refresh_timestamp(store, keys, now=at(0))
        return {"a.json": b"1"}

    with pytest.raises(StoreBusyError, match="another publisher"):
        edit_targets(store, keys, edit, now=at(0))
    assert busy == 3
    assert read_targets(store, keys).names == frozenset()
    # What it left behind is stepped over by the next one.
    assert publish_targets(store, keys, {"a.json": b"1"}, now=at(0)).read("a.json") == b"1"


def test_refreshing_needs_the_online_key_alone(store: ObjectStore, keys: Path) -> None:
    publish_targets(store, keys, {"a.json": b"1"}, now=at(0))
    for name in ("root.key", "targets.key"):
        (keys / name).unlink()
    found = refresh_timestamp(store, keys, now=at(20))
    assert found.expiry_of("timestamp") == NOW + timedelta(days=27)
    assert found.expiry_of("snapshot") == NOW + timedelta(days=50)
    assert read_targets(store, keys).read("a.json") == b"1"
    with pytest.raises(WrongKeyError, match="targets") as refused:
        publish_targets(store, keys, {"a.json": b"2"}, now=at(20))
    assert "targets.key" in refused.value.hint


def test_the_snapshot_is_signed_anew_only_when_half_its_time_is_over(
    store: ObjectStore, keys: Path
) -> None:
    before = len(contents(store))
    refresh_timestamp(store, keys, now=at(14))
    assert len(contents(store)) == before
    refresh_timestamp(store, keys, now=at(16))
    assert len(contents(store)) == before + 1


def test_a_store_that_was_rolled_back_is_not_vouched_for(store: ObjectStore, keys: Path) -> None:
    publish_targets(store, keys, {"a.json": b"vulnerable"}, now=at(0))
    old = contents(store)
    publish_targets(store, keys, {"a.json": b"repaired"}, now=at(0))
    publish_targets(store, keys, {"b.json": b"2"}, now=at(0))
    for one in store.list():
        store.delete(one.key)
    for key, content in old.items():
        store.write(key, content)
    works: tuple[Callable[[], object], ...] = (
        lambda: refresh_timestamp(store, keys, now=at(1)),
        lambda: publish_targets(store, keys, {"c.json": b"3"}, now=at(1)),
        lambda: rotate(store, keys, "online", now=at(1)),
    )
    for work in works:
        with pytest.raises(StoreDamagedError, match="older state") as refused:
            work()
        assert "--restored" in refused.value.hint
    assert contents(store) == old
    # The publisher's own backup: machines that saw the later state follow from here.
    found = refresh_timestamp(store, keys, is_restored=True, now=at(1))
    assert found.read("a.json") == b"vulnerable"
    restored = contents(store)
    for key in ("metadata/timestamp.json", "metadata/5.snapshot.json", "metadata/5.targets.json"):
        assert json.loads(restored[key])["signed"]["version"] == 5
    assert publish_targets(store, keys, {"c.json": b"3"}, now=at(1)).version == 6


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"timestamp": "1"}', b'{"more": 1}', b'{"targets": -1}']
)
def test_a_damaged_memory_of_the_publisher_is_named(
    store: ObjectStore, keys: Path, content: bytes
) -> None:
    (keys / "newest.json").write_bytes(content)
    with pytest.raises(FieldError, match=r"newest\.json"):
        refresh_timestamp(store, keys, now=at(0))


def test_rotating_the_online_key_needs_no_targets_key(store: ObjectStore, keys: Path) -> None:
    (keys / "targets.key").unlink()
    new_key_pair(keys / "online-2")
    rotate(store, keys, "online", now=at(1))
    (keys / "online.key").unlink()
    refresh_timestamp(store, keys, now=at(2))


def test_where_all_keys_are_whatever_is_half_over_is_signed_anew(
    store: ObjectStore, keys: Path
) -> None:
    publish_targets(store, keys, {"a.json": b"1"}, now=at(0))
    first_root = (keys / "root.json").read_bytes()
    found = refresh_timestamp(store, keys, now=at(400))
    ends = {role: (found.expiry_of(role) - NOW).days for role in ROLES}
    assert ends == {"root": 1825, "targets": 1130, "snapshot": 430, "timestamp": 407}
    assert (keys / "root.json").read_bytes() == first_root
    found = refresh_timestamp(store, keys, now=at(1000))
    ends = {role: (found.expiry_of(role) - NOW).days for role in ROLES}
    assert ends == {"root": 2825, "targets": 1730, "snapshot": 1030, "timestamp": 1007}
    assert (keys / "root.json").read_bytes() == store.read("metadata/2.root.json", 10**6)
    (keys / "root.json").write_bytes(first_root)
    assert read_targets(store, keys).read("a.json") == b"1"


@pytest.mark.parametrize(
    "key", ["metadata/timestamp.json", "metadata/1.snapshot.json", "metadata/1.targets.json"]
)
@pytest.mark.parametrize("damage", ["altered", "rubbish", "empty", "other key"])
def test_metadata_that_somebody_altered_is_not_built_on(
    store: ObjectStore, keys: Path, tmp_path: Path, key: str, damage: str
) -> None:
    if damage == "other key":
        other = open_object_store(str(tmp_path / "other"), create=True)
        init_metadata(other, tmp_path / "other-keys", now=at(0))
        content = other.read(key, 10**6)
    else:
        content = store.read(key, 10**6)
        assert b'"version":1' in content
        content = {
            "altered": content.replace(b'"version":1', b'"version":2'),
            "rubbish": b"rubbish",
            "empty": b"",
        }[damage]
    store.write(key, content)
    before = contents(store)
    works: tuple[Callable[[], object], ...] = (
        lambda: read_targets(store, keys),
        lambda: publish_targets(store, keys, {"a.json": b"1"}, now=at(0)),
        lambda: refresh_timestamp(store, keys, now=at(0)),
    )
    for work in works:
        with pytest.raises(StoreDamagedError, match=key):
            work()
    assert contents(store) == before


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_metadata_that_was_signed_for_another_state_is_not_built_on(
    store: ObjectStore, keys: Path, tmp_path: Path, role: str
) -> None:
    other_keys = tmp_path / "other-keys"
    shutil.copytree(keys, other_keys)
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    other = open_object_store(str(tmp_path / "other"))
    publish_targets(store, keys, {"a.json": b"1"}, now=at(0))
    publish_targets(other, other_keys, {"a.json": b"other"}, now=at(0))
    key = f"metadata/2.{role}.json"
    store.write(key, other.read(key, 10**6))
    with pytest.raises(StoreDamagedError, match=key):
        publish_targets(store, keys, {"b.json": b"2"}, now=at(0))


def test_a_document_that_somebody_altered_is_not_read(store: ObjectStore, keys: Path) -> None:
    found = publish_targets(store, keys, {"a.json": b"1"}, now=at(0))
    [key] = [one.key for one in store.list("targets")]
    store.write(key, b"2")
    with pytest.raises(StoreDamagedError, match=r"a\.json"):
        found.read("a.json")
    store.delete(key)
    with pytest.raises(StoreDamagedError, match=r"a\.json"):
        found.read("a.json")


def test_a_place_without_a_store_is_named(tmp_path: Path, keys: Path, store: ObjectStore) -> None:
    empty = open_object_store(str(tmp_path / "empty"), create=True)
    with pytest.raises(NoObjectError, match="no image store") as refused:
        publish_targets(empty, keys, {"a.json": b"1"}, now=at(0))
    assert "bootsvc store init" in refused.value.hint
    with pytest.raises(StoreAccessError, match="already"):
        init_metadata(store, tmp_path / "other-keys", now=at(0))
    assert not (tmp_path / "other-keys").exists()


def test_no_two_stores_share_their_keys(tmp_path: Path, keys: Path, store: ObjectStore) -> None:
    second = open_object_store(str(tmp_path / "second"), create=True)
    with pytest.raises(WrongKeyError, match="another store") as refused:
        init_metadata(second, keys, now=at(0))
    assert store.name not in str(refused.value)
    assert list(second.list()) == []


@pytest.mark.parametrize("writes", range(5))
def test_making_a_store_that_was_cut_off_can_be_gone_on_with(
    tmp_path: Path, keys: Path, writes: int
) -> None:
    store = open_object_store(str(tmp_path / "store"), create=True)
    left = writes

    class Cut:
        """The store; power fails at one of the writes."""

        name = "cut"

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def write_if(self, key: str, data: bytes, seen: str | None) -> bool:
            nonlocal left
            if not left:
                raise StoreAccessError("power cut")
            left -= 1
            return store.write_if(key, data, seen)

    if writes < 4:
        with pytest.raises(StoreAccessError, match="power cut"):
            init_metadata(Cut(), keys, now=at(0))  # type: ignore[arg-type]
        init_metadata(store, keys, now=at(0))
    else:
        init_metadata(Cut(), keys, now=at(0))  # type: ignore[arg-type]
    assert publish_targets(store, keys, {"a.json": b"1"}, now=at(0)).read("a.json") == b"1"


def test_keys_are_secret_files_and_an_own_one_is_used(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    new_key_pair(keys / "root-card")
    store = open_object_store(str(tmp_path / "store"), create=True)
    init_metadata(store, keys, now=at(0))
    assert {one.name for one in keys.glob("*.key")} == {
        *("root-card.key", "targets.key", "online.key")
    }
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in keys.glob("*.key"))


@pytest.mark.parametrize("name", ["root", "targets", "online"])
def test_a_key_is_replaced_and_the_old_one_is_needed_no_more(
    store: ObjectStore, keys: Path, tmp_path: Path, name: str
) -> None:
    publish_targets(store, keys, {"a.json": b"1"}, now=at(0))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(keys, elsewhere)
    with pytest.raises(WrongKeyError, match=f"no new {name} key"):
        rotate(store, keys, name, now=at(1))
    new_key_pair(keys / f"{name}-2")
    root = rotate(store, keys, name, now=at(1))
    assert (keys / "root.json").read_bytes() == root
    (keys / f"{name}.key").unlink()
    (keys / f"{name}.pub").unlink()
    publish_targets(store, keys, {"a.json": b"2"}, now=at(2))
    refresh_timestamp(store, keys, now=at(3))
    # Whoever still has the first root.json finds the way from there.
    assert read_targets(store, elsewhere).read("a.json") == b"2"
    new_key_pair(elsewhere / "online-9")
    with pytest.raises(
        WrongKeyError, match=rf"0 keys that may sign this store's ({MAY_SIGN[name]})"
    ):
        _use_old_key(store, elsewhere, name)


MAY_SIGN = {"root": "root", "targets": "targets", "online": "snapshot|timestamp"}


def _use_old_key(store: ObjectStore, keys: Path, name: str) -> None:
    if name == "root":
        rotate(store, keys, "online", now=at(4))
    else:
        publish_targets(store, keys, {"a.json": b"3"}, now=at(4))


def test_a_document_that_cannot_be_one_is_refused(store: ObjectStore, keys: Path) -> None:
    before = contents(store)
    with pytest.raises(ObjectTooLargeError):
        publish_targets(store, keys, {"a.json": bytes(LARGEST_TARGET + 1)}, now=at(0))
    for name in ("../a.json", "/a", "a//b", ""):
        with pytest.raises(ObjectKeyError):
            publish_targets(store, keys, {name: b"1"}, now=at(0))
    assert contents(store) == before


def test_a_publisher_whose_clock_is_wrong_signs_nothing(store: ObjectStore, keys: Path) -> None:
    before = contents(store)
    for days in (-1000, -2):
        with pytest.raises(ClockNotSetError, match="the clock shows") as refused:
            refresh_timestamp(store, keys, now=at(days))
        assert "timedatectl" in refused.value.hint
    assert contents(store) == before


@pytest.mark.parametrize("days", [0, -1, 36501])
def test_metadata_that_is_good_for_no_time_or_for_ever_is_refused(days: int) -> None:
    with pytest.raises(FieldError, match="days"):
        Expiry(timestamp_days=days)
