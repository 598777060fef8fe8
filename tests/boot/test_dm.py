"""What is asked of the device-mapper, against a kernel that keeps what it is told."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootsvc.boot import dm
from bootsvc.errors import BootError
from bootsvc.formats.manifest import InnerPartition
from bootsvc.formats.verity import Verity
from bootsvc.units import MIB

ROOT = InnerPartition(1 * MIB, 8 * MIB)
VERITY = Verity(4096, 5000, b"\xab" * 32)
CREATE, REMOVE, SUSPEND, LOAD = 0xC138FD03, 0xC138FD04, 0xC138FD06, 0xC138FD09
"""The numbers in linux/dm-ioctl.h: _IOWR(0xfd, n, struct dm_ioctl), 312 bytes."""


@dataclass
class Kernel:
    """Answers the calls; ``refuses`` fails the load of that target.

    Attributes:
        tables: of the mappings that are there: name -> target, sectors, parameters, read-only.
    """

    refuses: str = ""
    tables: dict[str, tuple[str, int, str, bool]] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)

    def ioctl(self, _fd: int, number: int, request: bytearray, _mutate: bool) -> int:
        size, start, count = struct.unpack_from("<3I", request, 12)
        assert (size, start) == (len(request), 312)
        name = bytes(request[48:176]).rstrip(b"\0").decode()
        if number == CREATE:
            if name in self.tables:
                raise OSError(errno.EBUSY, "busy")
            self.tables[name] = ("", 0, "", False)
            minor = len(self.tables) - 1
            struct.pack_into("<Q", request, 40, os.makedev(254, minor))
        elif name not in self.tables:
            raise OSError(errno.ENXIO, "no such device")
        elif number == REMOVE:
            del self.tables[name]
        elif number == LOAD:
            first, sectors, _, following, kind = struct.unpack_from("<QQiI16s", request, 312)
            target = kind.rstrip(b"\0").decode()
            if target == self.refuses:
                raise OSError(errno.EINVAL, "invalid argument")
            assert (count, first, following) == (1, 0, len(request) - 312)
            text = bytes(request[352:]).split(b"\0")[0].decode()
            self.tables[name] = (target, sectors, text, bool(request[28] & 1))
        else:
            assert number == SUSPEND
            assert not request[28] & 2, "the flag that suspends"
            self.active.add(name)
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    stand_in = Kernel()
    monkeypatch.setattr("bootsvc.boot.dm.fcntl.ioctl", stand_in.ioctl)
    monkeypatch.setattr(dm, "_open_control", lambda: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(dm, "_number_of", lambda node: {"/dev/vda4": "8:4"}.get(node, node))
    return stand_in


def test_a_checked_partition_is_shown_above_the_check(kernel: Kernel) -> None:
    assert dm.map_area("/dev/vda4", "area", ROOT, VERITY) == ["/dev/dm-0", "/dev/dm-1"]
    assert kernel.tables == {
        "area": (
            "verity",
            4096 * 8,
            f"1 8:4 8:4 4096 4096 4096 5000 sha256 {'ab' * 32} - 1 panic_on_corruption",
            True,
        ),
        "area-root": ("linear", 16384, "/dev/dm-0 2048", True),
    }
    assert kernel.active == {"area", "area-root"}


def test_one_of_an_earlier_attempt_is_replaced(kernel: Kernel) -> None:
    dm.map_area("/dev/vda4", "area", ROOT, None)
    assert dm.map_area("/dev/vda4", "area", ROOT, None) == ["/dev/dm-0"]
    assert list(kernel.tables) == ["area-root"]


def test_a_plain_image_asks_nothing_of_the_device_mapper(kernel: Kernel) -> None:
    kernel.refuses = "everything"
    assert dm.map_area("/dev/vda4", "area", None, None) == []
    with dm.mapped("/dev/vda4", "area", None, None) as node:
        assert node == "/dev/vda4"
    assert not kernel.tables


def test_a_look_at_a_checked_image_does_not_end_the_machine_at_a_bad_block(kernel: Kernel) -> None:
    with dm.mapped("/dev/vda4", "area", ROOT, VERITY) as node:
        assert node == "/dev/dm-1"
        assert kernel.tables["area"][2].endswith(" -")
    assert not kernel.tables


@pytest.mark.parametrize("target", ["verity", "linear"])
def test_a_table_that_the_kernel_refuses_is_a_boot_error_and_leaves_nothing(
    kernel: Kernel, target: str
) -> None:
    kernel.refuses = target
    with pytest.raises(BootError, match=f"cannot be loaded with {target}: invalid argument"):
        dm.map_area("/dev/vda4", "area", ROOT, VERITY)
    assert not kernel.tables


def test_a_kernel_without_device_mapper_is_a_boot_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "control").touch()
    (tmp_path / "area").touch()
    monkeypatch.setattr(dm, "CONTROL", tmp_path / "control")
    with pytest.raises(BootError, match="device-mapper: area-root cannot be made"):
        dm.map_area(str(tmp_path / "area"), "area", ROOT, None)
    with pytest.raises(BootError, match="none: No such file"):
        dm.map_area(str(tmp_path / "none"), "area", ROOT, None)
