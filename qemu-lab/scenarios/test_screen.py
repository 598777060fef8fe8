"""A person in front of the machine: its own screen and keyboard, under BIOS and UEFI.

The screen is read as a picture from outside the guest, keys come from an emulated keyboard.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import pytest

from qemu_lab import Machine, Stage
from qemu_lab.errors import ExpectationError
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.machine import OVMF
from qemu_lab.screen import Screen, fonts
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
BOTH = "quiet console=tty0 console=ttyS0"
WAITING = "bootsvc.console_wait_s=20"
BIOS = Machine(screen="ps2")
UEFI = Machine(screen="ps2", firmware=OVMF, memory_mib=512)
KNOCK = "press a key within 20 s for the console"
MENU = "Choice [1]:"
BOOT_S = 180.0
ANSWER_S = 60.0
PRESSES, AGAIN_S = 6, 3.0
"""How often a key is pressed, and how long each time nothing happens before it is pressed again."""


def before(machine: Subject) -> Screen:
    """The screen and the keyboard of ``machine``."""
    return Screen(machine.vm, fonts(products.kernel("generic").vmlinuz))


def opened(machine: Subject) -> Screen:
    """Switch on, press a key when the screen asks for one, and read the menu."""
    screen = before(machine)
    machine.power_on()
    screen.wait_for(KNOCK, BOOT_S)
    # As a person does: a keyboard on USB may show itself only after the line that asks for a key.
    for _ in range(PRESSES):
        screen.press("spc")
        with suppress(ExpectationError):
            screen.wait_for(MENU, AGAIN_S)
            break
    screen.wait_for(MENU, ANSWER_S)
    time.sleep(1.5)  # a person reads
    return screen


def test_a_person_at_the_screen_uses_the_console_as_one_at_the_serial_line_does(
    probe: ProbeMaker,
) -> None:
    machine = probe(V1, options=f"{BOTH} {WAITING}", base=BIOS)
    screen = opened(machine)
    serial = machine.vm.console
    for text in ("Start primary.", "Primary is confirmed, and nothing was asked for."):
        screen.wait_for(text, ANSWER_S)
        serial.wait_for_text(text, ANSWER_S)

    screen.type("verify backup\n")
    screen.wait_for("every byte fits its signed digests", ANSWER_S)
    serial.wait_for_text("every byte fits its signed digests", ANSWER_S)
    screen.type("\n")
    screen.wait_for(MENU, ANSWER_S)

    screen.type("shell\n")
    serial.wait_for_text("tty0 has the shell. Keys are not heard here", ANSWER_S)
    serial.send("power-off\r")
    screen.type("uname\n")
    screen.wait_for("Linux", ANSWER_S)
    screen.type("exit\n")
    screen.wait_for("Enter goes back:", ANSWER_S)
    screen.type("\n")
    screen.wait_for(MENU, ANSWER_S)
    screen.type("go-on\n")
    machine.runs(1)


@pytest.mark.thorough
def test_the_locked_form_of_a_forced_update_hears_no_key(probe: ProbeMaker) -> None:
    forced = "bootsvc.console_locked_while_updating=on"
    machine = probe(V1, options=f"{BOTH} {WAITING} {forced}", base=BIOS)
    assert machine.stage_from_outside(V2.path).returncode == 0
    screen = before(machine)
    machine.power_on()
    screen.wait_for("This screen is locked until the update is done", BOOT_S)
    machine.wait(Stage.COPY, ANSWER_S)
    screen.press("q")
    screen.press("ctrl", "c")
    machine.vm.console.wait_for_text(
        "locked: an update is being installed, and no key stops it", ANSWER_S
    )
    shown = screen.wait_for("%", ANSWER_S)
    assert any("MiB/s" in line for line in shown)
    assert any("keys are not heard" in line for line in shown)
    machine.runs(2, trial=True)


@pytest.mark.thorough
def test_a_usb_keyboard_opens_the_console_where_there_is_no_other(probe: ProbeMaker) -> None:
    image = ProbeImage(1, method="kexec", kernel="generic")
    base = replace(BIOS, screen="usb")
    machine = probe(image, options=f"{BOTH} {WAITING}", base=base)
    screen = opened(machine)
    screen.type("power-off\n")
    machine.vm.wait_off(ANSWER_S)


@pytest.mark.thorough
def test_the_same_pages_are_on_the_screen_of_a_uefi_machine(probe: ProbeMaker) -> None:
    machine = probe(V1, options=f"{BOTH} {WAITING}", base=UEFI)
    screen = opened(machine)
    screen.type("areas\n")
    shown = screen.wait_for("Primary id ", ANSWER_S)
    assert shown[0] == "Areas: which version is where, and is it whole"
    screen.type("power-off\n")
    machine.vm.wait_off(ANSWER_S)
