"""Drivers for what was plugged in after the start."""

from __future__ import annotations

from pathlib import Path

from bootsvc.boot.drivers import SETTLE_S, LateKeyboards, wake_new_hardware


class Hardware:
    """A made-up /sys/bus, and what modprobe was asked for."""

    def __init__(self, base: Path) -> None:
        self.sys_bus, self.loaded = base / "bus", base / "modules"
        self.sys_bus.mkdir()
        self.loaded.write_text("xhci_pci 1 0\n")
        self.is_new = True
        self.ran: list[list[str]] = []
        self.slept: list[float] = []

    def add(self, bus: str, device: str, alias: str) -> None:
        folder = self.sys_bus / bus / "devices" / device
        folder.mkdir(parents=True)
        (folder / "modalias").write_text(f"{alias}\n")

    def run(self, words: list[str]) -> None:
        self.ran.append(words)
        if self.is_new:
            self.loaded.write_text("usb_storage 1 0\nxhci_pci 1 0\n")

    def wake(self) -> None:
        wake_new_hardware(self.sys_bus, self.loaded, self.run, self.slept.append)


def test_a_new_driver_is_loaded_and_given_time(tmp_path: Path) -> None:
    hardware = Hardware(tmp_path)
    hardware.add("usb", "1-1:1.0", "usb:v0951p1666")
    hardware.add("pci", "0000:00:01.0", "pci:v00008086")
    hardware.add("acpi", "x", "acpi:PNP0A03: two words")
    hardware.wake()
    assert hardware.ran == [["modprobe", "-a", "-q", "-b", "--", "pci:v00008086", "usb:v0951p1666"]]
    assert hardware.slept == [SETTLE_S]


def test_where_nothing_is_new_nothing_is_waited_for(tmp_path: Path) -> None:
    hardware = Hardware(tmp_path)
    hardware.is_new = False
    hardware.wake()
    assert hardware.ran == []
    hardware.add("usb", "1-1:1.0", "usb:v0951p1666")
    hardware.wake()
    assert hardware.slept == []


def test_a_machine_without_these_files_is_none_to_stumble_over(tmp_path: Path) -> None:
    hardware = Hardware(tmp_path)
    hardware.loaded.unlink()
    hardware.sys_bus.rmdir()
    hardware.wake()
    assert hardware.ran == []


def test_a_usb_keyboard_that_shows_itself_late_gets_its_drivers_once(tmp_path: Path) -> None:
    hardware = Hardware(tmp_path)
    tried = tmp_path / "aliases"
    tried.write_text("pci:v00008086\nusb:v1p1ic03isc01in00\n")
    hardware.add("usb", "1-1:1.0", "usb:v1p1ic03isc01in00")  # init found this one
    keyboards = LateKeyboards(hardware.sys_bus, tried, hardware.run)
    keyboards.look()
    assert hardware.ran == []
    hardware.add("usb", "1-2:1.0", "usb:v2p2ic03isc01in00")
    hardware.add("usb", "1-3:1.0", "usb:v3p3ic08isc06in00")  # a stick can wait
    keyboards.look()
    keyboards.look()
    hardware.add("hid", "0003:0002:0002.0001", "hid:b0003g0001v2p2")
    keyboards.look()
    keyboards.look()
    modprobe = ["modprobe", "-a", "-q", "-b", "--"]
    assert hardware.ran == [
        [*modprobe, "usb:v2p2ic03isc01in00"],
        [*modprobe, "hid:b0003g0001v2p2"],
    ]
