"""Images on other disks: which are listed, with what verdict, and how each is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootsvc.boot import sources
from bootsvc.boot.sources import MAX_FILES, FoundImage, find_images, open_source
from bootsvc.errors import StorageError
from bootsvc.units import MIB
from qemu_lab.image_server import ImageServer
from tests.bench import V2, V3
from tests.boot.watching import Watching
from tests.images import KEY, OTHER_KEY, make_image

KEYS = (KEY.public(),)
STRANGE = make_image(V3.content, number=9, key=OTHER_KEY)


class Disks:
    """A made-up /sys/block and /dev; partitions with files are folders."""

    def __init__(self, base: Path) -> None:
        self.sys_block, self.dev, self.files = base / "block", base / "dev", base / "files"
        for folder in (self.sys_block, self.dev, self.files):
            folder.mkdir()
        self.mounted: list[str] = []
        self.asleep: dict[str, bytes] = {}

    def add(self, name: str, content: bytes = bytes(MIB), part_of: str = "") -> None:
        entry = self.sys_block / part_of / name
        entry.mkdir()
        if part_of:
            (entry / "partition").write_text("1\n")
        (self.dev / name).write_bytes(content)

    def put(self, node: str, path: str, content: bytes) -> None:
        file = self.files / node / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    @contextmanager
    def mount(self, node: Path) -> Iterator[Path]:
        if not (self.files / node.name).exists():
            raise StorageError(f"{node}: no file system")
        self.mounted.append(node.name)
        yield self.files / node.name
        self.mounted.remove(node.name)

    def wake(self) -> None:
        for name, content in self.asleep.items():
            self.add(name, content)

    def find(self, ours: str = "/dev/vda") -> dict[str, FoundImage]:
        found = find_images(ours, KEYS, self.mount, self.wake)
        return {one.source.removeprefix(f"{self.dev}/"): one for one in found}


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    made = Disks(tmp_path)
    monkeypatch.setattr(sources, "SYS_BLOCK", made.sys_block)
    monkeypatch.setattr(sources, "DEV", made.dev)
    return made


def test_files_on_partitions_are_listed_with_what_their_footers_say(disks: Disks) -> None:
    disks.add("sdb")
    disks.add("sdb1", part_of="sdb")
    disks.put("sdb1", "v3.bimg", V3.as_file())
    disks.put("sdb1", "images/v2.bimg", V2.as_file())
    disks.put("sdb1", "images/deep/v2.bimg", V2.as_file())
    disks.put("sdb1", "holiday.jpg", b"x")
    found = disks.find()
    assert list(found) == ["sdb1:/images/v2.bimg", "sdb1:/v3.bimg"]
    one = found["sdb1:/v3.bimg"]
    assert (one.name, one.size) == ("v3.bimg", len(V3.as_file()))
    assert (one.number, one.label, one.identity) == (3, "3.0", V3.identity)
    assert (one.signed_by, one.problem) == ("key1", "")
    assert disks.mounted == []


def test_an_image_that_was_written_to_a_disk_as_it_is_is_one_as_well(disks: Disks) -> None:
    disks.add("vdb", V3.as_file())
    disks.add("sdc")
    disks.add("sdc1", V2.as_file(), part_of="sdc")
    found = disks.find()
    assert {name: one.number for name, one in found.items()} == {"sdc1": 2, "vdb": 3}


def test_a_disk_that_was_plugged_in_just_now_is_found(disks: Disks) -> None:
    disks.asleep["sdb"] = V3.as_file()
    assert list(disks.find()) == ["sdb"]


def test_our_own_disk_and_what_is_no_disk_are_left_alone(disks: Disks) -> None:
    for name in ("vda", "loop0", "ram0", "sr0", "dm-0"):
        disks.add(name, V3.as_file())
    assert disks.find() == {}
    assert list(disks.find(ours="")) == ["vda"]


def test_an_image_of_a_stranger_or_a_damaged_one_is_listed_with_its_problem(disks: Disks) -> None:
    disks.add("sdb")
    disks.put("sdb", "strange.bimg", STRANGE.as_file())
    disks.put("sdb", "cut.bimg", V3.as_file()[:-4096])
    disks.put("sdb", "empty.bimg", b"")
    damaged = bytearray(V3.as_file())
    damaged[-2000] ^= 1
    disks.add("sdd", bytes(damaged))
    found = disks.find()
    problems = {name: one.problem for name, one in found.items()}
    assert "no signature by any" in problems["sdb:/strange.bimg"]
    assert "not an image file" in problems["sdb:/cut.bimg"]
    assert "not an image file" in problems["sdb:/empty.bimg"]
    assert "CRC-32" in problems["sdd"]
    assert not any(one.signed_by for one in found.values())
    assert found["sdb:/strange.bimg"].number == 9


def test_a_disk_that_cannot_be_read_hides_no_other(disks: Disks) -> None:
    disks.add("sdb")
    disks.add("sdc", V3.as_file())
    (disks.sys_block / "sdd").mkdir()  # a card reader without a card
    assert list(disks.find()) == ["sdc"]


def test_a_disk_full_of_images_is_listed_to_a_limit(disks: Disks) -> None:
    disks.add("sdb")
    for number in range(MAX_FILES + 5):
        disks.put("sdb", f"{number:03}.bimg", b"")
    assert len(disks.find()) == MAX_FILES


def test_every_kind_of_source_is_opened_and_closed(disks: Disks) -> None:
    disks.put("sdb1", "a/v3.bimg", V3.as_file())
    disks.add("vdb", V3.as_file())
    with ImageServer({"v3.bimg": V3.as_file()}) as server:
        for source in (
            f"{disks.dev}/sdb1:/a/v3.bimg",
            f"{disks.dev}/vdb",
            server.url("v3.bimg"),
        ):
            with open_source(source, MIB, Watching(), disks.mount) as device:
                assert device.size == len(V3.as_file())
                assert device.read_at(0, 4096) == V3.content[:4096]
                assert device.name == source
            assert disks.mounted == []


@pytest.mark.parametrize("path", ["/none.bimg", "/../secret", "/link", "/"])
def test_a_path_leads_to_a_file_on_that_disk_or_nowhere(disks: Disks, path: str) -> None:
    disks.put("sdb1", "v3.bimg", V3.as_file())
    (disks.files / "secret").write_bytes(V3.as_file())
    (disks.files / "sdb1/link").symlink_to("../secret")
    source = f"{disks.dev}/sdb1:{path}"
    with (
        pytest.raises(StorageError, match="there is no such file"),
        open_source(source, MIB, Watching(), disks.mount),
    ):
        pass
