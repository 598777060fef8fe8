"""An updater makes a disk: what is on it, and what a power cut leaves of the work."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.disk import data, grub, installer, real_disk
from bootsvc.disk.create_on_disk import UNFINISHED
from bootsvc.disk.partition import plan, smallest_esp
from bootsvc.disk.real_disk import Part, RealDisk, is_empty
from bootsvc.errors import BootsvcError, FormatError, LayoutError, StorageError
from bootsvc.formats.boot_status import Area, Phase, Reason, Request
from bootsvc.formats.describe import next_start, why_next_start
from bootsvc.formats.gpt import parse_gpt
from bootsvc.sequence.requests import check_stageable
from bootsvc.settings import Settings
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import open_disk
from bootsvc.storage.image_area import CopyCounts, read_footer
from bootsvc.units import MIB
from tests.disk.test_stick import file_on

SIZE = smallest_esp(512) + 90 * MIB + 7 * 512
SETTINGS = Settings(area_mib=2)


class Heard:
    """A start's reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.counted: list[tuple[str, int]] = []
        self.on_progress: Callable[[], None] = lambda: None
        self.progressed_s = 0.0

    def stage(self, name: str, **facts: object) -> None:
        self.said.append(f"{name} {facts}")

    def begin(self, work: str, total: int) -> None:
        self.counted.append((work, total))

    def tick(self, count: int) -> None:
        work, left = self.counted[-1]
        self.counted[-1] = (work, left - count)

    def end(self, counts: CopyCounts | None = None) -> None:
        assert counts is not None
        self.said.append(f"{self.counted[-1][0]} ended, {counts.written} written")

    def say(self, text: str) -> None:
        self.said.append(text)

    def decided(self, action: object) -> None:
        raise AssertionError(action)

    def wait(self, what: str, limit_s: float | None, then: str) -> Callable[[], None]:
        return lambda: self.said.append(f"{what} {limit_s} {then}")


def as_found(path: Path) -> RealDisk:
    """The disk file as ``look_at`` would describe a disk."""
    size = path.stat().st_size
    whole = Part(str(path), "disk", size, "", ())
    return RealDisk(str(path), "disk", size, 512, False, "", "", "", whole, ())


@pytest.fixture
def disk(tmp_path: Path) -> RealDisk:
    """Full of what an earlier life left."""
    path = tmp_path / "sdz"
    rubbish = random.Random(5).randbytes(MIB)
    path.write_bytes(rubbish * (SIZE // MIB) + rubbish[: SIZE % MIB])
    return as_found(path)


@pytest.fixture(autouse=True)
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an installer carries, GRUB's images among it."""
    folder = tmp_path / "installer"
    folder.mkdir()
    (folder / "vmlinuz").write_bytes(random.Random(2).randbytes(100_000))
    (folder / "updater.img").write_bytes(random.Random(3).randbytes(50_000))
    for platform in (grub.BIOS, grub.EFI):
        image = f"carried for {platform.name}".encode() * 100
        (folder / grub.carried_name(platform, plan())).write_bytes(image)
    (folder / grub.BOOT_SECTOR).write_bytes(b"carried boot sector".ljust(512, b"."))
    monkeypatch.setattr(grub, "INSTALLER_DIR", folder)
    monkeypatch.setattr(installer, "KERNEL", folder / "vmlinuz")
    monkeypatch.setattr(installer, "INITRAMFS", folder / "updater.img")
    (tmp_path / "cmdline").write_text(
        "console=ttyS0 nomodeset gpt rdinit=/init panic=10 initrd=i bootsvc.create-disk=only\n"
    )
    monkeypatch.setattr(installer, "CMDLINE_FILE", tmp_path / "cmdline")
    monkeypatch.setattr(installer, "SCRATCH", tmp_path)
    return folder


def test_the_new_disk_has_the_carried_updater_and_no_image_and_waits_for_one(
    disk: RealDisk, carried: Path
) -> None:
    heard = Heard()
    installer.create(disk, SETTINGS, heard)
    path = Path(disk.path)
    with open_disk(path, writable=False) as made:
        status = made.status.read()
        assert (status.phase, status.boot_area) == (Phase.HALT, Area.NONE)
        assert status.last_failure.reason == Reason.NO_IMAGE
        check_stageable(status)
        assert next_start(status) == "stop in the console: no image verifies"
        assert "no image was found there" in why_next_start(status)
        asked = replace(status, request=Request.UPDATE)
        assert next_start(asked) == "check the staged image and install it"
        assert why_next_start(asked) == "an update was asked for (bootsvc stage)"
        for area in made.areas.values():
            assert area.size == 2 * MIB
            with pytest.raises(BootsvcError):
                read_footer(area)
        offset = made.partition("esp").offset
    assert file_on(path, offset, "/bootsvc/a/vmlinuz") == (carried / "vmlinuz").read_bytes()
    assert file_on(path, offset, "/bootsvc/a/initrd.img") == (carried / "updater.img").read_bytes()
    assert file_on(path, offset, "/EFI/BOOT/BOOTX64.EFI").startswith(b"carried for x86_64-efi")
    assert path.read_bytes()[:19] == b"carried boot sector"
    # It speaks where this start speaks, and is not told once more to make a disk.
    config = file_on(path, offset, "/grub/grub.cfg").decode()
    assert "console=ttyS0 nomodeset gpt rdinit=/init panic=10 bootsvc.slot=$1 $2" in config
    assert "create-disk" not in config
    written = 101 * MIB
    assert heard.counted == [("boot partitions", 0)], "all that was begun was counted to its end"
    assert f"boot partitions ended, {written} written" in heard.said


def test_nothing_is_written_where_it_may_not_or_cannot_be(disk: RealDisk, tmp_path: Path) -> None:
    before = Path(disk.path).read_bytes()
    used = Part(disk.path, "disk", SIZE, "ext4", ("/",))
    mounted = RealDisk(disk.path, "disk", SIZE, 512, False, "", "", "", used, ())
    with pytest.raises(StorageError, match="in use"):
        installer.create(mounted, SETTINGS, Heard())
    with pytest.raises(LayoutError, match="partitions need"):
        installer.create(disk, Settings(area_mib=4000), Heard())
    (tmp_path / "cmdline").write_text("console=ttyS0 a=$(reboot)")
    with pytest.raises(BootsvcError, match="GRUB"):
        installer.create(disk, SETTINGS, Heard())
    assert Path(disk.path).read_bytes() == before


class CutError(Exception):
    """The power is gone."""


def cut_at(monkeypatch: pytest.MonkeyPatch, disk: RealDisk, number: int, torn: int) -> list[int]:
    """Of the writes to ``disk`` number ``number`` keeps only ``torn`` bytes, and is the last."""
    write, make = DirectDevice.write_at, data.make
    written: list[int] = []

    def write_at(self: DirectDevice, offset: int, content: bytes | memoryview) -> None:
        if self.name == disk.path:
            if len(written) == number:
                write(self, offset, bytes(content)[:torn])
                raise CutError
            written.append(offset)
        write(self, offset, content)

    def make_data(path: Path, *args: object, **more: object) -> None:
        if path == Path(disk.path):
            if len(written) == number:
                raise CutError
            written.append(-1)
        make(path, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectDevice, "write_at", write_at)
    monkeypatch.setattr(data, "make", make_data)
    return written


def create_until(
    monkeypatch: pytest.MonkeyPatch, disk: RealDisk, number: int = 10**9, torn: int = 0
) -> list[int]:
    """Make the disk up to a power cut; returns the offsets of what was written in full."""
    with monkeypatch.context() as cutting, suppress(CutError):
        written = cut_at(cutting, disk, number, torn)
        installer.create(disk, SETTINGS, Heard())
    return written


def test_a_power_cut_leaves_a_disk_that_is_made_again_or_a_whole_one(
    disk: RealDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(disk.path)
    written = create_until(monkeypatch, disk)
    tail = written[1:3]
    assert written[0] == 0, "the old table goes first"
    assert min(tail) > max(written[3:-3]), "and its spare"
    assert written[-3:] == [*tail, 0], "the new ones come last, the spare first"
    last, file_system = len(written) - 1, written.index(-1)
    for number in (1, 2, 3, 4, file_system, file_system + 1, last - 3, last - 2, last - 1):
        for torn in (0, 512):
            assert len(create_until(monkeypatch, disk, number, torn)) == number
            assert is_empty(disk), f"cut at write {number}, {torn} bytes of it"
            if number == 1:
                continue  # the old spare table stands yet
            with DirectDevice(path, writable=False) as device, pytest.raises(FormatError):
                parse_gpt(device.read_at, device.size)
    # As soon as the spare table stands, all that it names is complete.
    for torn in (0, 512, 1024, 4096):
        assert len(create_until(monkeypatch, disk, last, torn)) == last
        with open_disk(path, writable=False) as made:
            assert made.gpt.is_spare == (torn < 4096)
            assert made.status.read().phase is Phase.HALT
    create_until(monkeypatch, disk)
    done = subprocess.run(["sfdisk", "--verify", path], capture_output=True, text=True, check=True)
    assert "No errors detected" in done.stdout
    assert UNFINISHED not in path.read_bytes()[:MIB]


def test_a_disk_is_empty_only_where_nothing_could_begin(tmp_path: Path) -> None:
    path = tmp_path / "sdz"
    with path.open("wb") as file:
        file.truncate(SIZE)
    disk = as_found(path)
    assert is_empty(disk)
    part = Part("/dev/sdz1", "part", 1, "", ())
    assert not is_empty(RealDisk(*(*list(vars(disk).values())[:-1], (part,))))
    for offset in (0, 446, MIB - 1, SIZE - MIB, SIZE - 1):
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"x")
        assert not is_empty(disk), offset
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\0")
    assert is_empty(disk)
    with path.open("r+b") as file:
        file.seek(MIB - 4096)
        file.write(UNFINISHED)
    assert is_empty(disk), "its making was cut off"
    with path.open("r+b") as file:
        file.write(b"x")
    assert not is_empty(disk), "somebody else began something since"


@given(
    size=st.integers(0, 16 << 40), sector=st.sampled_from([512, 4096]), area=st.integers(0, 1 << 20)
)
def test_every_disk_is_laid_out_within_itself_or_refused(size: int, sector: int, area: int) -> None:
    try:
        layout = installer.layout_for(size, sector, area)
    except LayoutError:
        with pytest.raises(LayoutError):
            plan(area_size=area * MIB or MIB, size=size, sector_size=sector)
        return
    assert layout.partitions[-1].end + MIB <= size
    wanted = layout["primary"].size
    assert wanted == (area * MIB or wanted)
    assert area or MIB <= wanted <= installer.LARGEST_AREA


def test_what_has_no_medium_and_the_boot_areas_of_an_emmc_are_no_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("mmcblk0", 8), ("mmcblk0boot0", 8), ("sdb", 0), ("sr0", 8), ("vda", 8)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "size").write_text(f"{size}\n")
    monkeypatch.setattr("bootsvc.boot.disks.SYS_BLOCK", tmp_path)
    monkeypatch.setattr(installer, "wake_new_hardware", lambda: None)
    whole = Part("", "disk", 8, "", ())
    monkeypatch.setattr(
        installer,
        "look_at",
        lambda node: RealDisk(str(node), "disk", 8, 512, False, "", "", "", whole, ()),
    )
    found = [disk.path for disk in installer.disks_of_machine()]
    assert found == ["/dev/mmcblk0", "/dev/vda"]


def test_model_and_serial_number_come_from_the_kernel_where_lsblk_knows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sdz"
    path.write_bytes(bytes(MIB))
    (tmp_path / "sys/sdz/device").mkdir(parents=True)
    (tmp_path / "sys/sdz/device/model").write_text("FAST SSD \n")
    (tmp_path / "sys/sdz/serial").write_text("A-17\n")
    monkeypatch.setattr("bootsvc.boot.disks.SYS_BLOCK", tmp_path / "sys")
    monkeypatch.setattr(real_disk, "parse_lsblk", lambda _: as_found(path))
    monkeypatch.setattr(real_disk, "run_tool", lambda *_: "")
    found = real_disk.look_at(path)
    assert (found.model, found.serial) == ("FAST SSD", "A-17")
