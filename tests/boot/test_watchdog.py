"""What guards a trial start, and what is said where nothing does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bootsvc.boot import watchdog
from bootsvc.boot.watchdog import arm


class Hardware:
    """Stands for the driver behind the node: keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.loaded: list[list[str]] = []
        self.error = 0

    def ioctl(self, _fd: int, request: int, argument: bytes) -> int:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.asked.append((request, int.from_bytes(argument, "little")))
        return 0

    def run(self, command: list[str], **_: object) -> None:
        self.loaded.append(command)


@pytest.fixture
def hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """A machine whose watchdog node is not there until a test makes it."""
    made = Hardware()
    monkeypatch.setattr(watchdog, "NODE", tmp_path / "watchdog0")
    monkeypatch.setattr("fcntl.ioctl", made.ioctl)
    monkeypatch.setattr("subprocess.run", made.run)
    return made


def test_zero_leaves_the_watchdog_alone(hardware: Hardware, tmp_path: Path) -> None:
    (tmp_path / "watchdog0").touch()
    assert arm(0, same_kernel=True) == "watchdog: switched off by setting"
    assert not hardware.asked
    assert not (tmp_path / "watchdog0").read_bytes()


def test_it_is_armed_with_its_time_and_never_stopped(hardware: Hardware, tmp_path: Path) -> None:
    (tmp_path / "watchdog0").touch()
    assert arm(60, same_kernel=False) == "watchdog: armed, resets this machine after 60 s unfed"
    assert hardware.asked == [(0xC0045706, 60)]  # WDIOC_SETTIMEOUT
    assert (tmp_path / "watchdog0").read_bytes() == b"\0", "V would stop it when it is closed"
    assert not hardware.loaded


def test_without_hardware_a_software_watchdog_serves_the_same_kernel_only(
    hardware: Hardware,
) -> None:
    assert "this machine has none" in arm(60, same_kernel=False)
    assert not hardware.loaded, "it would end with this kernel"
    assert "this machine has none" in arm(60, same_kernel=True)
    assert hardware.loaded == [["/sbin/modprobe", "softdog", "nowayout=1"]]


def test_a_driver_without_time_setting_is_armed_and_says_so(
    hardware: Hardware, tmp_path: Path
) -> None:
    (tmp_path / "watchdog0").touch()
    hardware.error = errno.EOPNOTSUPP
    assert arm(60, same_kernel=False).startswith("watchdog: armed with its own time-out (")


def test_a_watchdog_that_is_in_use_stops_no_start(hardware: Hardware, tmp_path: Path) -> None:
    (tmp_path / "watchdog0").mkdir()
    assert arm(60, same_kernel=False).startswith("watchdog: cannot be opened: ")
    assert not hardware.asked
