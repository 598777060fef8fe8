"""A stolen or broken mirror, attack by attack: what a machine takes, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from bootsvc.errors import (
    ClockNotSetError,
    ConnectionLostError,
    DiskBusyError,
    ExpiredMetadataError,
    FreshnessError,
    MixedMetadataError,
    NotOnServerError,
    NotPublishedError,
    RollbackError,
    StorageError,
    UntrustedMetadataError,
)
from bootsvc.storage.files import replace_file
from bootsvc.store.expiry import Expiry
from bootsvc.transfer import freshness
from bootsvc.transfer.freshness import KEPT_DOCUMENTS, Freshness
from bootsvc.transfer.layout import check_clock
from tests.transfer.mirror import Mirror

TIMESTAMP = "metadata/timestamp.json"


@dataclass
class Machine:
    """A machine with a data partition; each ``looks`` is a new process."""

    folder: Path
    mirror: Mirror
    said: list[str] = field(default_factory=list)
    now: datetime | None = None

    def looks(self) -> Freshness:
        return Freshness(
            self.folder,
            self.mirror.root,
            self.mirror.fetch,
            say=self.said.append,
            clock=lambda: self.now or datetime.now(UTC),
        )

    def reads(self, name: str) -> bytes:
        return self.looks().target(name)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path)


@pytest.fixture
def machine(tmp_path: Path, mirror: Mirror) -> Machine:
    return Machine(tmp_path / "data/freshness", mirror)


# --- what is well ---------------------------------------------------------------------------


def test_a_machine_sees_what_was_published_last(mirror: Mirror, machine: Machine) -> None:
    mirror.publish(a=b"1", b=b"2")
    assert machine.reads("a.json") == b"1"
    mirror.publish(a=b"new", b=None)
    looked = machine.looks()
    assert looked.names() == {"a.json"}
    assert looked.target("a.json", 3) == b"new"
    with pytest.raises(NotPublishedError, match=r"b\.json"):
        looked.target("b.json")
    assert machine.said == []


def test_a_document_larger_than_asked_for_is_not_fetched(mirror: Mirror, machine: Machine) -> None:
    mirror.publish(a=b"12345")
    with pytest.raises(UntrustedMetadataError, match="5 bytes"):
        machine.looks().target("a.json", 4)
    assert not any(path.startswith("targets/") for path in mirror.asked)


def test_nothing_is_fetched_twice(mirror: Mirror, machine: Machine) -> None:
    mirror.publish(a=b"1")
    machine.reads("a.json")
    mirror.asked.clear()
    assert machine.reads("a.json") == b"1"
    assert mirror.asked == ["metadata/2.root.json", TIMESTAMP]


def test_a_kept_document_that_rotted_is_fetched_again(mirror: Mirror, machine: Machine) -> None:
    mirror.publish(a=b"1")
    machine.reads("a.json")
    [kept] = (machine.folder / "documents").iterdir()
    kept.write_bytes(b"rot")
    assert machine.reads("a.json") == b"1"
    assert kept.read_bytes() == b"1"


def test_old_documents_do_not_fill_the_disk(mirror: Mirror, machine: Machine) -> None:
    count = KEPT_DOCUMENTS + 3
    mirror.publish(**{f"d{number}": b"%d" % number for number in range(count)})
    looked = machine.looks()
    for number in range(count):
        assert looked.target(f"d{number}.json") == b"%d" % number
    assert len([*(machine.folder / "documents").iterdir()]) == KEPT_DOCUMENTS


@pytest.mark.parametrize("name", ["root", "targets", "online"])
def test_a_machine_follows_the_replacement_of_a_key(
    mirror: Mirror, machine: Machine, name: str
) -> None:
    mirror.publish(a=b"1")
    assert machine.reads("a.json") == b"1"
    mirror.rotate(name)
    mirror.rotate(name)
    assert machine.reads("a.json") == b"1"
    mirror.publish(a=b"2")
    assert machine.reads("a.json") == b"2"
    # One that was in a drawer meanwhile knows only the first root metadata.
    assert Machine(machine.folder / "new", mirror).reads("a.json") == b"2"


def test_a_machine_that_saw_the_future_recovers_once_the_stolen_key_is_replaced(
    mirror: Mirror, machine: Machine
) -> None:
    mirror.publish(a=b"1")
    honest = mirror.follow()
    own_keys, mirror.keys = mirror.keys, mirror.steal_keys()
    for _ in range(5):  # the thief lets the versions run ahead
        mirror.refresh()
    machine.looks().refresh()
    mirror.keys = own_keys
    for key, content in honest.items():
        mirror.store.write(key, content)
    mirror.files = honest
    with pytest.raises(RollbackError, match="version 2 of its timestamp metadata"):
        machine.looks().refresh()
    mirror.rotate("online")
    assert machine.reads("a.json") == b"1"


# --- attacks --------------------------------------------------------------------------------


def test_a_mirror_that_replays_old_metadata_is_refused(mirror: Mirror, machine: Machine) -> None:
    old = mirror.publish(a=b"vulnerable")
    mirror.publish(a=b"repaired")
    assert machine.reads("a.json") == b"repaired"
    mirror.files = old
    with pytest.raises(RollbackError, match="has seen 3") as refused:
        machine.looks().refresh()
    assert "another server" in refused.value.hint
    mirror.follow()
    assert machine.reads("a.json") == b"repaired"


def test_what_was_believed_before_a_fetch_broke_off_is_not_forgotten(
    mirror: Mirror, machine: Machine
) -> None:
    old = mirror.publish(a=b"vulnerable")
    mirror.publish(a=b"repaired")
    del mirror.files["metadata/3.snapshot.json"]
    with pytest.raises(NotOnServerError):
        machine.looks().refresh()
    mirror.files = old
    with pytest.raises(RollbackError, match="version 2 of its timestamp"):
        machine.looks().refresh()


def test_an_old_snapshot_below_a_new_timestamp_is_refused(mirror: Mirror, machine: Machine) -> None:
    """The thief of the online key may sign any timestamp, but cannot take back what was seen."""
    old = mirror.publish(a=b"vulnerable")
    mirror.publish(a=b"repaired")
    machine.looks().refresh()
    for key in (TIMESTAMP, "metadata/2.snapshot.json", "metadata/2.targets.json"):
        mirror.store.write(key, old[key])
    mirror.keys = mirror.steal_keys()
    for _ in range(4):
        mirror.refresh()
    with pytest.raises(RollbackError, match=r"version 2 of its snapshot metadata.*has seen 3"):
        machine.looks().refresh()


def test_a_mirror_that_stands_still_is_found_out_when_its_metadata_runs_out(
    tmp_path: Path,
) -> None:
    mirror = Mirror(tmp_path, days_ago=6.9)
    machine = Machine(tmp_path / "machine", mirror)
    mirror.publish(a=b"1")
    assert machine.reads("a.json") == b"1"
    later = datetime.now(UTC) + timedelta(days=1)
    with pytest.MonkeyPatch.context() as patch:
        _let_tuf_see(patch, later)
        machine.now = later
        with pytest.raises(ExpiredMetadataError, match="timestamp metadata ran out at") as refused:
            machine.reads("a.json")
        since = mirror.now + timedelta(days=7)
        assert since.strftime("%Y-%m-%d %H:%M UTC") in str(refused.value)
        assert later.strftime("%Y-%m-%d %H:%M UTC") in str(refused.value)
        assert "bootsvc store refresh" in refused.value.hint
        mirror.days_ago(0)
        mirror.refresh()
        assert machine.reads("a.json") == b"1"


def _let_tuf_see(patch: pytest.MonkeyPatch, time: datetime) -> None:
    """Have python-tuf judge by another time than the machine's own."""

    seen = SimpleNamespace(datetime=SimpleNamespace(now=lambda _: time), timezone=timezone)
    patch.setattr("tuf.ngclient._internal.trusted_metadata_set.datetime", seen)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_each_kind_of_metadata_runs_out(tmp_path: Path, role: str) -> None:
    mirror = Mirror(tmp_path, days_ago=2, expiry=Expiry(**{f"{role}_days": 1}))
    with pytest.raises(ExpiredMetadataError, match=f"the server's {role} metadata ran out at"):
        Machine(tmp_path / "machine", mirror).looks().refresh()


def test_a_document_of_another_state_is_refused(mirror: Mirror, machine: Machine) -> None:
    mirror.publish(a=b"old")
    old = next(path for path in mirror.files if path.endswith(".a.json"))
    mirror.publish(a=b"new")
    new = next(path for path in mirror.files if path.endswith(".a.json") and path != old)
    mirror.files[new] = mirror.files[old]
    with pytest.raises(MixedMetadataError, match=r"a\.json: .*another content"):
        machine.reads("a.json")


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_metadata_of_two_states_is_not_mixed(mirror: Mirror, machine: Machine, role: str) -> None:
    old = mirror.publish(a=b"old")
    mirror.publish(a=b"new")
    mirror.files[f"metadata/3.{role}.json"] = old[f"metadata/2.{role}.json"]
    with pytest.raises(MixedMetadataError, match="do not belong together"):
        machine.reads("a.json")


def test_metadata_of_another_store_is_refused(
    mirror: Mirror, machine: Machine, tmp_path: Path
) -> None:
    thief = Mirror(tmp_path / "thief")
    mirror.files = thief.publish(a=b"evil")
    with pytest.raises(UntrustedMetadataError, match=r"timestamp\.json: not signed by the keys"):
        machine.reads("a.json")


def test_a_root_that_nobody_before_signed_is_refused(
    mirror: Mirror, machine: Machine, tmp_path: Path
) -> None:
    thief = Mirror(tmp_path / "thief")
    thief.rotate("root")
    mirror.files = thief.publish(a=b"evil")
    with pytest.raises(UntrustedMetadataError, match=r"2\.root\.json: not signed by the keys"):
        machine.reads("a.json")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"{}", b"[" * 10000, b"\xff", b"9" * 9000])
@pytest.mark.parametrize("path", [TIMESTAMP, "metadata/2.root.json"])
def test_rubbish_for_metadata_is_refused(
    mirror: Mirror, machine: Machine, path: str, content: bytes
) -> None:
    mirror.files[path] = content
    with pytest.raises(UntrustedMetadataError, match="no metadata"):
        machine.looks().refresh()


@pytest.mark.parametrize(
    "path",
    [TIMESTAMP, "metadata/2.root.json", "metadata/2.snapshot.json", "metadata/2.targets.json"],
)
def test_endless_metadata_ends(mirror: Mirror, machine: Machine, path: str) -> None:
    mirror.publish(a=b"1")
    mirror.endless.add(path)
    with pytest.raises(MixedMetadataError, match=f"{path} has more than"):
        machine.looks().refresh()


def test_an_endless_document_ends(mirror: Mirror, machine: Machine) -> None:
    mirror.publish(a=b"1")
    mirror.endless |= set(mirror.files)
    mirror.endless -= {path for path in mirror.files if path.startswith("metadata/")}
    with pytest.raises(MixedMetadataError, match=r"a\.json: .*another content"):
        machine.reads("a.json")


def test_what_a_mirror_lacks_is_named(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish(a=b"1")
    document = next(path for path in mirror.files if path.endswith(".a.json"))
    for path in (document, "metadata/2.targets.json", "metadata/2.snapshot.json", TIMESTAMP):
        del mirror.files[path]
        with pytest.raises(NotOnServerError, match=path):
            Machine(tmp_path / Path(path).name, mirror).reads("a.json")


def test_a_server_that_falls_silent_is_told_from_a_lying_one(
    mirror: Mirror, machine: Machine
) -> None:
    mirror.is_dead = True
    with pytest.raises(ConnectionLostError, match="fell silent"):
        machine.looks().refresh()


# --- the machine's own clock and disk -------------------------------------------------------


def test_a_machine_without_a_set_clock_says_so_and_asks_nobody(
    mirror: Mirror, machine: Machine
) -> None:
    machine.now = datetime(1970, 1, 1, 0, 3, tzinfo=UTC)
    with pytest.raises(ClockNotSetError, match="1970-01-01 00:03 UTC") as refused:
        machine.looks().refresh()
    assert "timedatectl" in refused.value.hint
    assert mirror.asked == []


def test_a_clock_that_stands_before_the_newest_signature_is_not_trusted(
    mirror: Mirror, machine: Machine
) -> None:
    """Else a machine whose clock fell back to its making would take any old metadata for good."""
    mirror.publish(a=b"1")
    machine.now = datetime.now(UTC) - timedelta(days=2)
    with pytest.raises(ClockNotSetError):
        machine.reads("a.json")
    machine.now = datetime.now(UTC) - timedelta(hours=2)
    assert machine.reads("a.json") == b"1"


STATE_FILES = ["root_history/1.root.json", "timestamp.json", "snapshot.json", "targets.json"]


@pytest.mark.parametrize("damage", ["cut", "empty", "rubbish"])
@pytest.mark.parametrize("name", STATE_FILES)
def test_a_damaged_file_of_the_machine_is_said_and_made_anew(
    mirror: Mirror, machine: Machine, name: str, damage: str
) -> None:
    mirror.publish(a=b"1")
    machine.looks().refresh()
    path = machine.folder / name
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:100], "empty": b"", "rubbish": bytes(500)}[damage])
    assert machine.reads("a.json") == b"1"
    assert [text for text in machine.said if str(path) in text and "damaged" in text]
    assert path.read_bytes() == whole


def test_after_a_power_cut_at_any_write_the_machine_goes_on(
    mirror: Mirror, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of the newer files had reached the disk: what was seen is not forgotten."""
    old = mirror.publish(a=b"old")
    machine.looks().refresh()
    mirror.rotate("online")
    newest = mirror.publish(a=b"new")
    for writes in range(6):
        left = writes

        def cut(path: Path, content: bytes) -> None:
            nonlocal left
            if not left:
                raise PowerCutError
            left -= 1
            replace_file(path, content)

        monkeypatch.setattr(freshness, "replace_file", cut)
        try:
            machine.looks().refresh()
        except PowerCutError:
            assert writes < 5
        monkeypatch.setattr(freshness, "replace_file", replace_file)
        if (machine.folder / "timestamp.json").read_bytes() == newest[TIMESTAMP]:
            mirror.files = old
            with pytest.raises(FreshnessError):
                machine.looks().refresh()
            mirror.files = newest
    assert machine.reads("a.json") == b"new"
    assert machine.said == []


class PowerCutError(Exception):
    """Nothing after it happened."""


def test_a_full_disk_is_named(
    mirror: Mirror, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(freshness, "replace_file", full)
    with pytest.raises(StorageError, match="No space left") as refused:
        machine.looks().refresh()
    assert "full" in refused.value.hint
    assert mirror.asked


def test_two_programs_do_not_work_on_one_folder(
    mirror: Mirror, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = mirror.fetch

    def second_program(path: str, largest: int) -> bytes:
        with pytest.raises(DiskBusyError, match="another program"):
            Freshness(machine.folder, mirror.root, fetch).refresh()
        return fetch(path, largest)

    monkeypatch.setattr(mirror, "fetch", second_program)
    machine.looks().refresh()


def test_a_root_that_is_none_is_named(mirror: Mirror, machine: Machine) -> None:
    mirror.root = b"{}"
    with pytest.raises(UntrustedMetadataError, match="that this machine was given"):
        machine.looks().refresh()


@pytest.mark.parametrize("odd", [None, -1, 2**80, "yesterday", 1.5, [], True])
def test_an_odd_time_of_signing_harms_no_machine(odd: object) -> None:
    check_clock(datetime.now(UTC), odd)
