"""A real disk: what is on it, who may not be overwritten, and the order in which it is made."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.disk import create_on_disk as module
from bootsvc.disk import data, real_disk, tools
from bootsvc.disk.create import DiskContents, create_disk
from bootsvc.disk.create_on_disk import create_on_disk
from bootsvc.disk.partition import DiskLayout, plan, smallest_esp
from bootsvc.disk.real_disk import RealDisk, describe, look_at, parse_lsblk, refusal_of
from bootsvc.errors import (
    BootsvcError,
    FormatError,
    LayoutError,
    ReadBackError,
    StorageError,
    ToolError,
)
from bootsvc.formats.boot_status import Area, Phase
from bootsvc.formats.gpt import parse_gpt
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import open_disk
from bootsvc.storage.image_area import read_footer, read_leaves, verify_content
from bootsvc.units import MIB
from tests.disk.small_image import write_image

USED = {
    "path": "/dev/sdb",
    "type": "disk",
    "size": 64 * 1000**3,
    "model": "FAST SSD ",
    "serial": "A-17",
    "tran": "usb",
    "ro": False,
    "log-sec": 512,
    "fstype": None,
    "label": None,
    "partlabel": None,
    "mountpoints": [None],
    "children": [
        {
            "path": "/dev/sdb1",
            "type": "part",
            "size": 1 << 30,
            "fstype": "vfat",
            "label": "EFI",
            "partlabel": "boot",
            "mountpoints": [None],
        },
        {
            "path": "/dev/sdb2",
            "type": "part",
            "size": 2 << 30,
            "fstype": "LVM2_member",
            "mountpoints": [None],
            "children": [
                {
                    "path": "/dev/mapper/vg-home",
                    "type": "lvm",
                    "size": 2 << 30,
                    "fstype": "ext4",
                    "mountpoints": ["/home"],
                }
            ],
        },
    ],
}


def as_lsblk(**changes: Any) -> str:
    return json.dumps({"blockdevices": [{**USED, **changes}]})


# --- what is on it -------------------------------------------------------------------------------


def test_everything_on_a_disk_is_named_with_what_it_is_and_who_uses_it() -> None:
    lines = describe(parse_lsblk(as_lsblk()))
    assert lines[0] == "/dev/sdb: FAST SSD, serial A-17, usb, 59.6 GiB, 512-byte sectors"
    assert [line.split()[0] for line in lines[1:]] == [
        "/dev/sdb1",
        "/dev/sdb2",
        "/dev/mapper/vg-home",
    ]
    assert lines[1].endswith('vfat "EFI" boot')
    assert lines[3].endswith("ext4  in use: /home")


def test_a_disk_with_a_file_system_and_no_partition_shows_that() -> None:
    lines = describe(parse_lsblk(as_lsblk(fstype="ext4", label="old", children=[])))
    assert lines[1].endswith('ext4 "old"')


def test_partitions_that_the_kernel_knows_come_with_their_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real lsblk, on the files of a kernel that has a disk with two partitions."""
    devices, names = tmp_path / "sys/devices", tmp_path / "sys/dev/block"
    for folder in ("sys/block", "sys/dev/block", "proc/self", "sys/devices/sdq/queue", "dev"):
        (tmp_path / folder).mkdir(parents=True)
    for number, name in enumerate(("sdq", "sdq/sdq1", "sdq/sdq2")):
        for folder in ("holders", "slaves"):
            (devices / name / folder).mkdir(parents=True)
        for file, text in (("dev", f"8:{number}"), ("size", "2048"), ("ro", "0")):
            (devices / name / file).write_text(f"{text}\n")
        if number:
            (devices / name / "partition").write_text(f"{number}\n")
            (devices / name / "uevent").write_text(
                f"DEVTYPE=partition\nPARTNAME=bootsvc-{number}\n"
            )
        (names / f"8:{number}").symlink_to(devices / name)
    (tmp_path / "sys/block/sdq").symlink_to(devices / "sdq")
    (devices / "sdq/queue/logical_block_size").write_text("512\n")
    (tmp_path / "proc/self/mountinfo").write_text("")
    run = tools.run_tool

    def run_tool(command: list[str | Path]) -> str:
        if command[0] == "lsblk":
            return run([*command[:-1], "--sysroot", tmp_path])
        raise ToolError("it found nothing")

    monkeypatch.setattr(real_disk, "run_tool", run_tool)
    monkeypatch.setattr("bootsvc.boot.disks.SYS_BLOCK", tmp_path / "sys/block")
    found = look_at(Path("/dev/sdq"))
    assert (found.path, found.size) == ("/dev/sdq", MIB)
    assert [(part.path, part.content) for part in found.parts] == [
        ("/dev/sdq1", "bootsvc-1"),
        ("/dev/sdq2", "bootsvc-2"),
    ]


def test_an_empty_disk_says_so() -> None:
    lines = describe(parse_lsblk(as_lsblk(children=[])))
    assert lines[1:] == ["  no partition and no file system that is known"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "/dev/mapper/vg-home is in use: /home"),
        ({"children": [], "mountpoints": ["/"]}, "/dev/sdb is in use: /"),
        ({"children": [], "mountpoints": ["[SWAP]"]}, "in use"),
        ({"children": [], "ro": True}, "read-only"),
        ({"children": [], "type": "part"}, "not a whole disk but of the kind part"),
        ({"children": [], "type": "rom"}, "not a whole disk"),
        ({"children": []}, ""),
    ],
)
def test_what_is_in_use_or_no_whole_disk_is_refused(changes: dict[str, Any], words: str) -> None:
    reason = refusal_of(parse_lsblk(as_lsblk(**changes)))
    assert words in reason
    assert bool(words) == bool(reason)


@pytest.mark.parametrize("text", ["", "{}", '{"blockdevices": []}', '{"blockdevices": [{}]}', "[]"])
def test_an_answer_of_lsblk_that_makes_no_sense_stops_the_work(text: str) -> None:
    with pytest.raises(StorageError, match="lsblk"):
        parse_lsblk(text)


def test_a_table_that_the_kernel_has_not_read_is_shown_all_the_same(
    disk_file: Path, contents: DiskContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_file.unlink()
    create_disk(disk_file, plan(area_size=2 * MIB, data_size=8 * MIB), contents)
    run = tools.run_tool

    def run_tool(command: list[str | Path]) -> str:
        if command[0] == "lsblk":
            return as_lsblk(path=str(disk_file), children=[], type="loop")
        return run(command)

    monkeypatch.setattr(real_disk, "run_tool", run_tool)
    parts = look_at(disk_file).parts
    assert [part.content.split()[-1] for part in parts] == [
        "bios-grub",
        "esp",
        "bootsvc-status",
        "bootsvc-primary",
        "bootsvc-backup",
        "bootsvc-staging",
        "bootsvc-data",
    ]
    assert parts[1].content == 'vfat "BOOTSVC" esp'
    assert parts[6].content.startswith("ext4")


# --- how it is made ------------------------------------------------------------------------------

ESP_SIZE = smallest_esp(512)
SIZE = ESP_SIZE + 24 * MIB + 7 * 512
"""No whole MiB, as real disks have none."""


@pytest.fixture
def disk_file(tmp_path: Path) -> Path:
    """Stands for a disk, full of what an earlier life left."""
    path = tmp_path / "sdz"
    rubbish = random.Random(5).randbytes(MIB)
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(rubbish)
        file.write(rubbish[: SIZE % MIB])
    return path


@pytest.fixture
def contents(tmp_path: Path) -> DiskContents:
    write_image(tmp_path / "v1.bimg", random.Random(1).randbytes(300_000), number=7, floor=3)
    (tmp_path / "vmlinuz").write_bytes(random.Random(2).randbytes(100_000))
    (tmp_path / "initramfs.img").write_bytes(random.Random(3).randbytes(50_000))
    return DiskContents(
        tmp_path / "v1.bimg", tmp_path / "vmlinuz", tmp_path / "initramfs.img", confirmed=True
    )


@pytest.fixture
def layout() -> DiskLayout:
    return plan(area_size=2 * MIB, esp_size=ESP_SIZE, size=SIZE, seed="test")


def test_a_disk_is_made_whatever_was_on_it(
    disk_file: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    made = create_on_disk(disk_file, layout, contents)
    assert disk_file.stat().st_size == SIZE
    with open_disk(disk_file, writable=False) as disk:
        assert disk.gpt.disk_guid == layout.disk_guid
        assert not disk.gpt.is_spare
        assert disk.status.read().phase is Phase.IDLE
        for area in (Area.PRIMARY, Area.BACKUP):
            found = read_footer(disk.areas[area])
            assert found == made
            verify_content(disk.areas[area], read_leaves(disk.areas[area], found))
    content = bytearray(disk_file.read_bytes())
    content[512:1024] = bytes(512)
    assert parse_gpt(lambda at, length: bytes(content[at : at + length]), SIZE).is_spare


def test_file_systems_on_it_are_sound_although_nothing_was_blank(
    tmp_path: Path, disk_file: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    create_on_disk(disk_file, layout, contents)
    for role, check in (("esp", ["fsck.vfat", "-n"]), ("data", ["e2fsck", "-fn"])):
        part = layout[role]
        alone = tmp_path / f"{role}.fs"
        with disk_file.open("rb") as file:
            file.seek(part.offset)
            alone.write_bytes(file.read(part.size))
        tools.run_tool([*check, alone])


def test_an_image_of_an_earlier_life_is_not_found_again(
    tmp_path: Path, disk_file: Path, layout: DiskLayout, contents: DiskContents
) -> None:
    create_on_disk(disk_file, layout, contents)
    write_image(tmp_path / "v2.bimg", b"another", number=8)
    create_on_disk(
        disk_file, layout, replace(contents, image=tmp_path / "v2.bimg", confirmed=False)
    )
    with open_disk(disk_file, writable=False) as disk:
        assert read_footer(disk.areas[Area.STAGING]).manifest.number == 8
        for area in (Area.PRIMARY, Area.BACKUP):
            with pytest.raises(BootsvcError):
                read_footer(disk.areas[area])


class StoppedError(Exception):
    """The power is gone."""


def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every write of the making, as what it is; the one numbered ``stop_at`` never happens."""
    done: list[str] = []
    for name in ("_write_unfinished", "_write_zeros", "copy_verified", "fill_areas"):
        real = getattr(module, name)

        def step(*args: Any, real: Any = real, name: str = name) -> None:
            _one_more(done, name)
            real(*args)

        monkeypatch.setattr(module, name, step)
    make = data.make

    def make_data(*args: Any, **kwargs: Any) -> None:
        _one_more(done, "data")
        make(*args, **kwargs)

    monkeypatch.setattr(data, "make", make_data)
    return done


STOP = {"at": 10**9}


def _one_more(done: list[str], name: str) -> None:
    if len(done) == STOP["at"]:
        raise StoppedError
    done.append(name)


@pytest.fixture
def stop() -> Iterator[dict[str, int]]:
    yield STOP
    STOP["at"] = 10**9


def test_until_the_last_step_there_is_no_partition_table(
    disk_file: Path,
    layout: DiskLayout,
    contents: DiskContents,
    monkeypatch: pytest.MonkeyPatch,
    stop: dict[str, int],
) -> None:
    create_disk_of_an_earlier_life(disk_file, contents)
    done = steps(monkeypatch)
    create_on_disk(disk_file, layout, contents)
    assert done[:2] == ["_write_unfinished", "_write_zeros"], "the old table goes first"
    assert done[-2:] == ["copy_verified"] * 2, "the new one comes last"
    assert done.index("fill_areas") > done.index("data") > done.index("copy_verified")
    count = len(done)
    for at in (2, done.index("data"), done.index("fill_areas"), count - 2):
        done.clear()
        stop["at"] = at
        with pytest.raises(StoppedError):
            create_on_disk(disk_file, layout, contents)
        with DirectDevice(disk_file, writable=False) as device, pytest.raises(FormatError):
            parse_gpt(device.read_at, device.size)
    # Once the spare table stands, all that it names is complete.
    done.clear()
    stop["at"] = count - 1
    with pytest.raises(StoppedError):
        create_on_disk(disk_file, layout, contents)
    with open_disk(disk_file, writable=False) as disk:
        assert disk.gpt.is_spare
        assert disk.status.read().phase is Phase.IDLE


def create_disk_of_an_earlier_life(path: Path, contents: DiskContents) -> None:
    path.unlink()
    create_disk(path, plan(area_size=1 * MIB, esp_size=ESP_SIZE, size=SIZE), contents)
    with path.open("r+b") as file:
        file.truncate(SIZE)


def test_a_disk_that_keeps_its_old_table_is_found_out_before_anything_else_is_written(
    disk_file: Path, layout: DiskLayout, contents: DiskContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = DirectDevice.write_at
    written = []

    def deaf_at_its_beginning(self: DirectDevice, offset: int, data: bytes | memoryview) -> None:
        if self.name != str(disk_file):
            write(self, offset, data)
        elif offset:
            written.append(offset)
            write(self, offset, data)

    create_disk_of_an_earlier_life(disk_file, contents)
    monkeypatch.setattr(DirectDevice, "write_at", deaf_at_its_beginning)
    with pytest.raises(ReadBackError, match="at byte 0 reads back differently"):
        create_on_disk(disk_file, layout, contents)
    assert written == []


def test_a_disk_that_keeps_something_else_is_found_out(
    disk_file: Path, layout: DiskLayout, contents: DiskContents, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = DirectDevice.write_at

    def forgetful(self: DirectDevice, offset: int, data: bytes | memoryview) -> None:
        is_middle_of_esp = offset == layout["esp"].offset + MIB and self.name == str(disk_file)
        write(self, offset, bytes(len(data)) if is_middle_of_esp else data)

    monkeypatch.setattr(DirectDevice, "write_at", forgetful)
    with pytest.raises(ReadBackError, match="reads back differently"):
        create_on_disk(disk_file, layout, contents)


def test_a_layout_for_another_disk_writes_nothing(disk_file: Path, contents: DiskContents) -> None:
    before = disk_file.read_bytes()
    for other in (
        plan(area_size=2 * MIB, esp_size=ESP_SIZE, size=SIZE + MIB),
        plan(area_size=2 * MIB, sector_size=4096),
    ):
        with pytest.raises(LayoutError, match="for another disk"):
            create_on_disk(disk_file, other, contents)
    assert disk_file.read_bytes() == before


# --- what is asked -------------------------------------------------------------------------------


@pytest.fixture
def found(disk_file: Path, monkeypatch: pytest.MonkeyPatch) -> RealDisk:
    """The file passes for a disk."""
    disk = parse_lsblk(as_lsblk(path=str(disk_file), size=SIZE, children=[]))
    monkeypatch.setattr(real_disk, "is_block_device", lambda _: True)
    monkeypatch.setattr("bootsvc.cli.real_disk.look_at", lambda _: disk)
    return disk


def words(disk_file: Path, contents: DiskContents, *more: str) -> list[str]:
    made = [
        "disk",
        "create",
        str(disk_file),
        "--area-size",
        "2M",
        "--esp-size",
        str(ESP_SIZE),
        *more,
    ]
    for name in ("image", "kernel", "initramfs"):
        made += [f"--{name}", str(getattr(contents, name))]
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("typed", ["", "y", "yes", "/dev/sda", "sdz"])
def test_anything_but_the_disks_name_erases_nothing(
    disk_file: Path,
    contents: DiskContents,
    found: RealDisk,
    typed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = disk_file.read_bytes()
    monkeypatch.setattr("sys.stdin", Terminal(f"{typed}\n"))
    assert main(words(disk_file, contents)) == ExitCode.DISK
    assert main(words(disk_file, contents, "--yes-erase", typed)) == ExitCode.DISK
    shown = capsys.readouterr().err
    assert f"{found.path}: FAST SSD, serial A-17" in shown
    assert "Everything on it will be lost." in shown
    assert disk_file.read_bytes() == before


def test_the_disks_name_typed_out_erases_it(
    disk_file: Path,
    contents: DiskContents,
    found: RealDisk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{found.path}\n"))
    assert main(words(disk_file, contents)) == ExitCode.OK
    assert "first start: installs it" in capsys.readouterr().out
    with open_disk(disk_file, writable=False) as disk:
        assert disk.status.read().phase is Phase.INSTALL


def test_a_program_names_the_disk_twice(
    disk_file: Path, contents: DiskContents, found: RealDisk
) -> None:
    assert main(words(disk_file, contents, "--yes-erase", found.path)) == ExitCode.OK
    with open_disk(disk_file, writable=False) as disk:
        assert disk.status.read().phase is Phase.INSTALL


def test_without_a_terminal_and_without_the_name_nothing_is_erased(
    disk_file: Path,
    contents: DiskContents,
    found: RealDisk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = disk_file.read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{found.path}\n"))
    assert main(words(disk_file, contents, "--force")) == ExitCode.DISK
    assert f"--yes-erase {found.path}" in capsys.readouterr().err
    assert disk_file.read_bytes() == before


def test_a_disk_in_use_is_refused_whatever_is_typed(
    disk_file: Path,
    contents: DiskContents,
    found: RealDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = disk_file.read_bytes()
    used = replace(found, whole=replace(found.whole, mounts=("/",)))
    monkeypatch.setattr("bootsvc.cli.real_disk.look_at", lambda _: used)
    assert main(words(disk_file, contents, "--yes-erase", found.path)) == ExitCode.DISK
    assert disk_file.read_bytes() == before


def test_a_disk_has_its_own_size(
    disk_file: Path, contents: DiskContents, found: RealDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words(disk_file, contents, "--yes-erase", found.path, "--size", "64M")
    assert main(arguments) == ExitCode.DISK
    assert "leave --size out" in capsys.readouterr().err
