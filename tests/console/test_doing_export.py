"""What is exported, and where it may be left."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from bootsvc.boot import stick
from bootsvc.boot.stick import leave
from bootsvc.console.actions import Then
from bootsvc.console.doing import export
from bootsvc.console.doing.export import file_name
from bootsvc.formats.boot_status import parse
from tests.console.console_bench import Bench, facts_of
from tests.sequence.machine import PARTS, V1, V2, settled_machine


@pytest.fixture(autouse=True)
def _plain_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own facts are no test's business."""
    monkeypatch.setattr("bootsvc.boot.hardware.hardware", lambda: {"cpu": {"count": 2}})


def shown(bench: Bench) -> dict[str, object]:
    """The document as it stands on the screen."""
    outcome = bench.do("export", to="screen")
    assert outcome.is_done
    assert all(line.isascii() and len(line) < 10000 for line in outcome.lines)
    document = json.loads("\n".join(outcome.lines))
    assert isinstance(document, dict)
    return document


def test_the_document_holds_the_record_raw_and_decoded() -> None:
    bench = Bench(settled_machine(V2, V1))
    document = shown(bench)
    copies = document["record"]
    assert isinstance(copies, list)
    for copy in copies:
        assert parse(base64.b64decode(copy["base64"])) == bench.record
        assert copy["problem"] == ""
    facts = document["facts"]
    assert isinstance(facts, dict)
    assert facts["status"]["phase"] == "idle"
    assert not bench.has_written


def test_a_copy_that_is_garbage_is_exported_as_it_stands_with_its_problem() -> None:
    machine = settled_machine(V2, V1)
    start = PARTS["status"].start
    bench = Bench(machine)
    machine.device.bytes[start : start + 512] = b"x" * 512
    copies = shown(bench)["record"]
    assert isinstance(copies, list)
    assert base64.b64decode(copies[0]["base64"]) == b"x" * 512
    assert "magic" in copies[0]["problem"]


def test_a_copy_that_cannot_be_read_is_said() -> None:
    machine = settled_machine(V2, V1)
    bench = Bench(machine)
    machine.device.bad_reads.append(range(PARTS["status"].start, PARTS["status"].start + 1))
    copies = shown(bench)["record"]
    assert isinstance(copies, list)
    assert "base64" not in copies[0]
    assert "failed" in copies[0]["problem"]


def test_this_start_and_the_past_ones_are_told_or_why_they_are_not() -> None:
    bench = Bench(settled_machine())
    bench.do("verify", area="backup")
    document = shown(bench)
    start = document["start"]
    assert isinstance(start, list)
    assert any(entry.get("work") == "verify backup" for entry in start)
    past = document["past_starts"]
    assert isinstance(past, list)
    assert "problem" in past[0]


def test_without_a_disk_the_hardware_is_exported_all_the_same() -> None:
    bench = Bench(settled_machine())
    bench.session.runner = None
    document = shown(bench)
    assert document["hardware"] == {"cpu": {"count": 2}}
    assert document["record"] == []


def test_the_name_says_which_machine_and_when() -> None:
    bench = Bench(settled_machine())
    facts = facts_of(bench.session)
    now = time.gmtime(1795329000)
    assert file_name(facts, now) == "bootsvc-test-undated.json"
    dated = type(facts)(**{**vars(facts), "clock_s": 1795329000, "compatible": "a/b c"})
    assert file_name(dated, now) == "bootsvc-a-b-c-20261122-063000.json"


# --- on a stick ---------------------------------------------------------------------------------


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stick at /dev/sdb1 whose files stand in a folder."""
    mounted: list[tuple[str, Path, str]] = []

    def mount(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
        del flags, options
        mounted.append((source, target, kind))

    def umount(target: Path) -> None:
        assert target == mounted[-1][1]
        mounted.clear()

    monkeypatch.setattr(stick, "places", lambda _: (Path("/dev/sdb1"),))
    monkeypatch.setattr(stick, "_kind_of", lambda _: "vfat")
    monkeypatch.setattr("bootsvc.boot.media.MOUNTS", tmp_path)
    monkeypatch.setattr("bootsvc.boot.syscalls.mount", mount)
    monkeypatch.setattr("bootsvc.boot.syscalls.umount", umount)
    return tmp_path / "sdb1-written"


def test_enter_lists_the_disks_and_a_number_leaves_the_document_there(plugged_in: Path) -> None:
    bench = Bench(settled_machine(V2, V1))
    listed = bench.do("export")
    assert listed.then is Then.STAY
    assert listed.lines == ("1: /dev/sdb1",)
    outcome = bench.do("export", to="1")
    assert outcome.is_done
    (left,) = plugged_in.iterdir()
    assert left.name in outcome.lines[0]
    assert json.loads(left.read_text())["schema"] == export.SCHEMA


def test_a_disk_that_is_full_is_an_outcome_and_it_is_unmounted(
    plugged_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stick, "replace_file", full)
    outcome = Bench(settled_machine()).do("export", to="/dev/sdb1")
    assert not outcome.is_done
    assert "No space left" in outcome.lines[0]
    assert not list(plugged_in.iterdir())


def test_nothing_is_left_elsewhere(plugged_in: Path) -> None:
    outcome = Bench(settled_machine()).do("export", to="/dev/sda1")
    assert not outcome.is_done
    assert "/dev/sdb1" in " ".join(outcome.lines)
    assert not plugged_in.exists()


# --- whose disk it is ---------------------------------------------------------------------------


@pytest.fixture
def sys_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three disks: ours, one that only bears our names, and a stick with a partition."""
    names = {"sda": "bootsvc-data", "sdb": "bootsvc-status", "sdc": "holiday"}
    for disk, name in names.items():
        part = tmp_path / disk / f"{disk}1"
        part.mkdir(parents=True)
        (part / "partition").write_text("1\n")
        (part / "uevent").write_text(f"DEVNAME={disk}1\nPARTNAME={name}\n")
    monkeypatch.setattr("bootsvc.boot.disks.SYS_BLOCK", tmp_path)
    monkeypatch.setattr(stick, "found_disks", tuple)
    monkeypatch.setattr("bootsvc.boot.media.kind_of", lambda _: "vfat")
    return tmp_path


def test_no_disk_of_ours_is_ever_a_place_even_one_that_is_not_in_use(sys_block: Path) -> None:
    assert stick.places("/dev/sda") == (Path("/dev/sdc1"),)
    assert sys_block.exists()


def test_our_own_disk_is_refused_by_its_node_when_its_table_is_lost(sys_block: Path) -> None:
    for uevent in (sys_block / "sda").glob("*/uevent"):
        uevent.write_text("DEVNAME=sda1\n")
    with pytest.raises(Exception, match="no place to leave a file"):
        leave(Path("/dev/sda1"), "file", b"", "/dev/sda")


def test_a_file_system_that_is_not_written_to_is_no_place(
    sys_block: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootsvc.boot.media.kind_of", lambda _: "exfat")
    assert stick.places("/dev/sda") == ()
    assert sys_block.exists()
