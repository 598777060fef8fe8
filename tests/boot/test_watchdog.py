"""What guards the updater's own work and a trial start, and what is said where nothing does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bootsvc.boot import watchdog
from bootsvc.boot.watchdog import Watchdog

SET_TIMEOUT, SET_OPTIONS = 0xC0045706, 0x80045704
DISABLE, ENABLE = (SET_OPTIONS, 1), (SET_OPTIONS, 2)
LOCKED = "write nowayout"


class Hardware:
    """Stands for the driver behind the node and in /sys: keeps what it was asked, in order."""

    def __init__(self, folder: Path) -> None:
        self.node = folder / "watchdog0"
        self.sysfs = folder / "sys"
        self.asked: list[object] = []
        self.loaded: list[list[str]] = []
        self.error = 0
        self.now_s = 1000.0

    def present(self, *, nowayout: bool = True) -> None:
        self.node.touch()
        self.sysfs.mkdir()
        (self.sysfs / "state").write_text("inactive\n")
        if nowayout:
            (self.sysfs / "nowayout").write_text("0\n")

    def ioctl(self, _fd: int, request: int, argument: bytes) -> int:
        if request == SET_OPTIONS and self.locked and argument[0] == DISABLE[1]:
            raise OSError(errno.EBUSY, "nowayout prevents watchdog being stopped")
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.asked.append((request, int.from_bytes(argument, "little")))
        if request == SET_OPTIONS and argument[0] == ENABLE[1] and self.locked:
            self.asked.append("started with its lock")
        return 0

    @property
    def locked(self) -> bool:
        file = self.sysfs / "nowayout"
        return file.exists() and file.read_text().strip() == "1"

    @property
    def written(self) -> bytes:
        return self.node.read_bytes()

    def run(self, command: list[str], **_: object) -> None:
        self.loaded.append(command)


@pytest.fixture
def hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """A machine whose watchdog is not there until a test says so."""
    made = Hardware(tmp_path)
    monkeypatch.setattr(watchdog, "NODE", made.node)
    monkeypatch.setattr(watchdog, "SYSFS", made.sysfs)
    monkeypatch.setattr("fcntl.ioctl", made.ioctl)
    monkeypatch.setattr("subprocess.run", made.run)
    monkeypatch.setattr("time.monotonic", lambda: made.now_s)
    return made


# --- the updater's own work ----------------------------------------------------------------------


def test_zero_leaves_the_watchdog_alone(hardware: Hardware) -> None:
    hardware.present()
    guard = Watchdog()
    assert "not guarded, by setting" in guard.guard_work(0)
    guard.feed()
    assert guard.stop() == ""
    assert not hardware.asked
    assert not hardware.written


def test_it_guards_the_work_with_its_time_and_can_still_be_stopped(hardware: Hardware) -> None:
    hardware.present()
    assert Watchdog().guard_work(300) == (
        "watchdog: guards the updater's work, resets this machine after 300 s without progress"
    )
    assert hardware.asked == [(SET_TIMEOUT, 300)]
    assert hardware.written == b"\0"
    assert not hardware.locked


def test_progress_feeds_it_once_a_second_however_much_there_is(hardware: Hardware) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(300)
    for _ in range(1000):
        guard.feed()
    assert hardware.written == b"\0" * 2
    hardware.now_s += 1
    guard.feed()
    assert hardware.written == b"\0" * 3


def test_without_progress_nothing_feeds_it(hardware: Hardware) -> None:
    hardware.present()
    Watchdog().guard_work(300)
    hardware.now_s += 299
    assert hardware.written == b"\0", "no thread of its own feeds a work that hangs"


def test_a_disk_that_makes_feeding_fail_stops_no_work(
    hardware: Hardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(300)

    def fails(_fd: int, _data: bytes) -> int:
        raise OSError(errno.EIO, "driver gone")

    monkeypatch.setattr("os.write", fails)
    guard.feed()
    assert guard.stop() == ""


def test_before_an_ordinary_start_it_is_stopped_with_the_magic_letter(hardware: Hardware) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(300)
    assert guard.stop() == ""
    assert hardware.written.endswith(b"V")
    guard.feed()
    assert hardware.written.endswith(b"V"), "a stopped one is opened, and so started, no more"


def test_one_that_cannot_be_stopped_is_an_alarm(hardware: Hardware) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(300)
    (hardware.sysfs / "state").write_text("active\n")
    assert guard.stop().startswith("ALARM watchdog: locked, it runs on")


def test_a_machine_without_watchdog_says_so_and_works(hardware: Hardware) -> None:
    guard = Watchdog()
    assert "this machine has none" in guard.guard_work(300)
    guard.feed()
    assert guard.stop() == ""
    assert not hardware.loaded, "a software one leaves no evidence of a hang that could be counted"


# --- a trial -------------------------------------------------------------------------------------


def test_a_trial_is_guarded_by_one_that_was_locked_before_it_was_started_again(
    hardware: Hardware,
) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(300)
    said = guard.guard_trial(60, same_kernel=False)
    assert said == "watchdog: armed, resets this machine after 60 s unfed"
    assert hardware.asked == [
        *((SET_TIMEOUT, 300), DISABLE, (SET_TIMEOUT, 60), ENABLE),
        "started with its lock",
    ]
    assert b"V" not in hardware.written, "V would stop it when it is closed"


def test_a_trial_is_guarded_where_the_work_was_not(hardware: Hardware) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(0)
    assert "watchdog: armed" in guard.guard_trial(60, same_kernel=False)
    assert hardware.asked[-2:] == [ENABLE, "started with its lock"]


def test_a_trial_whose_watchdog_is_switched_off_is_left_without_the_one_of_the_work(
    hardware: Hardware,
) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(300)
    assert guard.guard_trial(0, same_kernel=True) == "watchdog: switched off by setting"
    assert hardware.written.endswith(b"V")


def test_a_kernel_that_cannot_lock_it_is_armed_all_the_same_and_says_so(hardware: Hardware) -> None:
    hardware.present(nowayout=False)
    guard = Watchdog()
    guard.guard_work(300)
    said = guard.guard_trial(60, same_kernel=False)
    assert said.startswith(
        "watchdog: armed, resets this machine after 60 s unfed, without nowayout"
    )
    assert hardware.asked[-1] == ENABLE


def test_a_hand_over_that_failed_after_it_was_locked_leaves_the_work_guarded(
    hardware: Hardware,
) -> None:
    hardware.present()
    guard = Watchdog()
    guard.guard_work(300)
    guard.guard_trial(60, same_kernel=False)
    assert "guards the updater's work" in guard.guard_work(300)
    assert hardware.asked[-1] == (SET_TIMEOUT, 300)
    assert "watchdog: armed" in guard.guard_trial(60, same_kernel=False)


def test_without_hardware_a_software_watchdog_serves_the_same_kernel_only(
    hardware: Hardware,
) -> None:
    assert "this machine has none" in Watchdog().guard_trial(60, same_kernel=False)
    assert not hardware.loaded, "it would end with this kernel"
    assert "this machine has none" in Watchdog().guard_trial(60, same_kernel=True)
    assert hardware.loaded == [["/sbin/modprobe", "softdog", "nowayout=1"]]


def test_a_driver_without_time_setting_is_armed_and_says_so(hardware: Hardware) -> None:
    hardware.present()
    hardware.error = errno.EOPNOTSUPP
    assert "resets this machine after its own time-out (" in Watchdog().guard_work(300)
    assert Watchdog().guard_trial(60, same_kernel=False).startswith("watchdog: armed, ")


def test_a_watchdog_that_is_in_use_stops_no_start(hardware: Hardware) -> None:
    hardware.node.mkdir()
    guard = Watchdog()
    assert guard.guard_work(300).startswith("watchdog: cannot be opened: ")
    assert guard.guard_trial(60, same_kernel=False).startswith("watchdog: cannot be opened: ")
    assert not hardware.asked


def test_a_starved_watchdog_is_fed_by_nothing_until_it_guards_work_again(
    hardware: Hardware,
) -> None:
    hardware.present()
    watchdog = Watchdog()
    watchdog.guard_work(300)
    assert watchdog.starve(10) == "watchdog: resets this machine after 10 s"
    assert watchdog.is_running
    fed = hardware.written
    for _ in range(3):
        hardware.now_s += 100
        watchdog.feed()
    assert hardware.written == fed
    watchdog.guard_work(300)
    hardware.now_s += 100
    fed = hardware.written
    watchdog.feed()
    assert len(hardware.written) == len(fed) + 1
    assert hardware.asked[-1] == (SET_TIMEOUT, 300)


def test_a_machine_without_a_watchdog_cannot_have_it_starved(hardware: Hardware) -> None:
    assert not hardware.node.exists()
    watchdog = Watchdog()
    assert "this machine has none" in watchdog.starve(10)
    assert not watchdog.is_running
