"""``bootsvc.create-disk``: which disk is meant, and everything for which nothing is made."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.disk import installer, unattended
from bootsvc.disk.real_disk import Part, RealDisk
from bootsvc.disk.unattended import Wanted, chosen, create_as_told, parse_wanted
from bootsvc.errors import LayoutError, SettingsError, SeveralDisksError, StorageError
from bootsvc.settings import Settings
from tests.disk.test_installer import Heard


def a_disk(name: str, *partitions: str) -> RealDisk:
    node = f"/dev/{name}"
    parts = tuple(
        Part(f"{node}{number}", "part", 1, content, ())
        for number, content in enumerate(partitions, 1)
    )
    whole = Part(node, "disk", 1 << 30, "", ())
    return RealDisk(node, "disk", 1 << 30, 512, False, "", f"S-{name}", "", whole, parts)


ONE, TWO = a_disk("sda"), a_disk("sdb")
FULL = a_disk("sdc", 'ext4 "root"')
STICK = a_disk("sdd", "bios-grub", 'vfat "BOOTSVC" esp', 'vfat "IMAGES" bootsvc-images')
OLD = a_disk("sde", "bootsvc-status", "bootsvc-primary")
PLACES = {"/dev/sda": "0000:00:17.0", "/dev/sdb": "0000:00:18.0", "/dev/sdc": "0000:00:17.0"}


def choice(text: str, *found: RealDisk) -> str:
    """The node that is chosen."""
    disk = chosen(
        parse_wanted(text),
        found,
        lambda disk: f"/sys/devices/pci0000:00/{PLACES[disk.path]}/ata1/block",
        lambda disk: not disk.parts,
    )
    return disk.path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("only", Wanted()),
        ("only,erase", Wanted(may_erase=True)),
        ("serial:S3Z:9 ", Wanted(serial="S3Z:9 ")),
        ("pci:0000:00:1F.2,erase", Wanted(pci="0000:00:1f.2", may_erase=True)),
    ],
)
def test_a_disk_is_named_in_one_of_three_ways(text: str, wanted: Wanted) -> None:
    assert parse_wanted(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "any", "/dev/sda", "serial:", "pci:", "only,", "only,erased", "only,erase,erase", "only "],
)
def test_what_names_no_disk_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="names no disk"):
        parse_wanted(text)


@given(st.text())
def test_nothing_else_is_taken_for_the_only_disk(text: str) -> None:
    with suppress(SettingsError):
        wanted = parse_wanted(text)
        assert wanted.serial or wanted.pci or text in ("only", "only,erase")


def test_the_only_disk_is_meant_and_a_stick_of_ours_is_none() -> None:
    assert choice("only", ONE) == choice("only", STICK, ONE) == "/dev/sda"
    for found in ((), (STICK,), (ONE, TWO), (ONE, FULL)):
        with pytest.raises(StorageError, match="fit"):
            choice("only", *found)


def test_one_of_several_is_meant_by_its_number_or_its_place() -> None:
    assert choice("serial:S-sdb", ONE, TWO) == "/dev/sdb"
    assert choice("pci:0000:00:18.0", ONE, TWO) == "/dev/sdb"
    for text in ("serial:S-sd", "serial:s-sda", "pci:0000:00:1", "pci:0000:00:17.1"):
        with pytest.raises(StorageError, match="no disk fits"):
            choice(text, ONE, TWO)
    with pytest.raises(StorageError, match="2 disks fit"):
        choice("pci:0000:00:17.0", ONE, FULL)
    with pytest.raises(StorageError, match="2 disks fit"):
        choice("serial:S-sda", ONE, replace(TWO, serial="S-sda"))


def test_what_is_not_empty_wants_the_word_and_a_disk_of_bootsvc_a_person() -> None:
    with pytest.raises(StorageError, match=r'not empty: /dev/sdc.*ext4 "root"'):
        choice("only", FULL)
    assert choice("only,erase", FULL) == "/dev/sdc"
    for text in ("only", "only,erase"):
        with pytest.raises(StorageError, match="only a person"):
            choice(text, OLD)


# --- the start that is told so -------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nodes of the disks that were made; the machine has one, empty, and none of bootsvc."""
    made: list[str] = []

    def find_disk(_wait_s: float, _looked: object) -> None:
        raise LayoutError("none")

    monkeypatch.setattr("bootsvc.boot.disks.find_disk", find_disk)
    monkeypatch.setattr(installer, "disks_of_machine", lambda: (ONE,))
    monkeypatch.setattr(unattended, "is_empty", lambda _: True)
    monkeypatch.setattr(installer, "create", lambda disk, *_: made.append(disk.path))
    return made


def test_an_empty_machine_gets_its_disk(made: list[str]) -> None:
    heard = Heard()
    assert create_as_told("only", Settings(), heard)
    assert made == ["/dev/sda"]
    assert "/dev/sda is a disk of bootsvc now" in heard.said[-1]


def test_where_several_disks_of_bootsvc_are_none_is_made(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_disk(_wait_s: float, _looked: object) -> None:
        raise SeveralDisksError("two")

    monkeypatch.setattr("bootsvc.boot.disks.find_disk", find_disk)
    heard = Heard()
    assert not create_as_told("only,erase", Settings(), heard)
    assert made == []
    assert "nothing is to be made" in heard.said[-1]


def test_where_a_disk_of_bootsvc_is_none_is_made_and_it_can_be_used_afterwards(
    made: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bootsvc.storage.device import DirectDevice
    from bootsvc.storage.disk import Disk

    (tmp_path / "sdz").write_bytes(bytes(4096))
    device = DirectDevice(tmp_path / "sdz", writable=True)
    disk = Disk.__new__(Disk)
    object.__setattr__(disk, "device", device)
    monkeypatch.setattr("bootsvc.boot.disks.find_disk", lambda *_: disk)
    assert not create_as_told("only,erase", Settings(), Heard())
    assert made == []
    assert device.fileno() < 0, "given back"


def test_no_room_in_memory_does_not_end_the_updater(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(installer, "create", no_room)
    heard = Heard()
    assert not create_as_told("only", Settings(), heard)
    assert made == []
    assert "No space left" in heard.said[-1]


@pytest.mark.parametrize("text", ["", "/dev/sda", "serial:another"])
def test_what_cannot_be_done_is_an_alarm_with_its_next_step(made: list[str], text: str) -> None:
    heard = Heard()
    assert not create_as_told(text, Settings(), heard)
    assert made == []
    assert heard.said[-2].startswith("ALARM bootsvc.create-disk: ")
    assert heard.said[-2].endswith("no disk was made")
    assert "serial:NUMBER" in heard.said[-1]
