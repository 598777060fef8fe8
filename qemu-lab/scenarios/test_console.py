"""A person at the serial line: a key, no key, a bad line, a narrow terminal, a halted machine."""

from __future__ import annotations

import time

import pytest

from qemu_lab import Bad, Machine, Stage
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1 = ProbeImage(1)
KNOCK = "press a key within"
MENU = "Choice [1]: "
BOOT_S = 180.0
"""From power-on to the first wait, firmware and all, on a machine that has much else to do."""
ANSWER_S = 60.0
WAITING = "bootsvc.console_wait_s=10"
NARROW_VT100 = "\x1b[50;40R"
"""What a VT100 of 40 columns says when it is asked where its cursor ends up."""


def direct(probe: ProbeMaker, *options: str) -> Subject:
    """A machine whose updater QEMU starts itself: no firmware, no boot loader, no kernel log."""
    return probe(V1, options=" ".join(("quiet", *options)))


def knock(machine: Subject, key: str = "x") -> None:
    """Press a key as soon as the start waits for one."""
    machine.vm.console.wait_for_text(KNOCK, BOOT_S)
    machine.vm.console.send(key)


def menu(machine: Subject) -> None:
    """Wait for the menu, and until a person could have read it."""
    machine.vm.console.wait_for_text(MENU, ANSWER_S)
    time.sleep(1.5)


def halted(probe: ProbeMaker) -> Subject:
    """A machine on whose disk nothing verifies."""
    machine = direct(probe)
    for area in ("primary", "backup"):
        _, size = machine.range_of(f"bootsvc-{area}")
        machine.damage(f"bootsvc-{area}", size - 4096, bytes(4096))
    return machine


def test_nobody_presses_a_key_and_the_image_is_started(probe: ProbeMaker) -> None:
    machine = probe(V1, options="bootsvc.console_wait_s=2")
    machine.power_on()
    machine.vm.console.wait_for_text("next: start primary; why: primary is confirmed", BOOT_S)
    machine.vm.console.wait_for_text("press a key within 2 s for the console", ANSWER_S)
    machine.runs(1)


def test_a_key_opens_the_menu_within_a_second_and_enter_goes_on(probe: ProbeMaker) -> None:
    machine = direct(probe, WAITING)
    machine.power_on()
    console = machine.vm.console
    console.wait_for_text(KNOCK, BOOT_S)
    time.sleep(1.0)
    began = time.monotonic()
    console.send("x")
    console.wait_for_text(MENU, ANSWER_S)
    assert time.monotonic() - began < 1.0
    time.sleep(1.5)
    console.send("2\r")
    console.wait_for_text("Areas: which version is where", ANSWER_S)
    console.send("verify backup\r")
    console.wait_for_text("every byte fits its signed digests", ANSWER_S)
    console.wait_for_text("Enter goes back: ", ANSWER_S)
    time.sleep(0.2)
    console.send("\r")
    console.wait_for_text("yes: the backup was verified in this start", ANSWER_S)
    console.wait_for_text(MENU, ANSWER_S)
    console.send("b\r")
    console.wait_for_text("Next       Start primary.", ANSWER_S)
    menu(machine)
    console.send("\r")
    machine.runs(1)


@pytest.mark.thorough
def test_the_backup_is_started_once_and_the_record_stays_as_it_is(probe: ProbeMaker) -> None:
    machine = direct(probe, WAITING)
    record = machine.record()
    machine.power_on()
    knock(machine)
    menu(machine)
    machine.vm.console.send("boot-once backup\r")
    machine.runs(1, area="backup")
    assert machine.record().raw == record.raw


@pytest.mark.thorough
def test_a_bad_line_starts_nothing_that_was_not_meant(probe: ProbeMaker) -> None:
    machine = direct(probe, WAITING)
    record = machine.record()
    machine.power_on()
    console = machine.vm.console
    console.wait_for_text("init started", BOOT_S)
    console.send("power-off\rreboot\r")  # blindly, before anything listens
    menu(machine)
    console.send("\u00fc\u20ac\x1b[24;80R")
    console.send("rreebboooott\r\r\n\n")  # each character twice
    console.wait_for_text("Not understood: rreebboooott", ANSWER_S)
    menu(machine)
    console.send("roll-back\r")
    console.wait_for_text("Choice [", ANSWER_S)
    console.send("pwr-ff\r")  # two characters lost
    console.wait_for_text("Did you mean power-off?", ANSWER_S)
    menu(machine)
    console.send("go-on\r")
    machine.runs(1)
    assert machine.record().raw == record.raw


@pytest.mark.thorough
def test_a_console_that_noise_has_opened_closes_by_itself(probe: ProbeMaker) -> None:
    machine = direct(probe, WAITING, "bootsvc.console_idle_s=4")
    machine.power_on()
    knock(machine, "~")
    menu(machine)
    machine.vm.console.send("~~#~\r")
    machine.vm.console.wait_for_text("Nobody answered for 4 s; the start goes on.", ANSWER_S)
    machine.runs(1)


@pytest.mark.thorough
def test_a_terminal_of_40_columns_gets_pages_of_40_columns(probe: ProbeMaker) -> None:
    machine = direct(probe, WAITING)
    machine.power_on()
    console = machine.vm.console
    knock(machine)
    for _ in range(40):  # it answers whenever it is asked; a late answer is no key
        console.send(NARROW_VT100)
        time.sleep(0.1)
    console.wait_for_text("-" * 40, ANSWER_S)
    menu(machine)
    console.send("areas\r")
    console.wait_for_text("Areas: which version is where", ANSWER_S)
    console.send("go-on\r")
    machine.runs(1)
    assert "-" * 41 not in console.tail(500)


def test_a_machine_that_halts_opens_its_console_and_a_shell_comes_back_to_it(
    probe: ProbeMaker,
) -> None:
    machine = halted(probe)
    machine.power_on()
    console = machine.vm.console
    console.wait_for(Stage.HALT, BOOT_S)
    console.wait_for_text("Stopped ", ANSWER_S)
    console.wait_for_text("the console stays open", ANSWER_S)
    menu(machine)
    with console.expecting(Bad.RESCUE_SHELL):
        console.send("shell\r")
        console.wait_for_bad(Bad.RESCUE_SHELL, ANSWER_S)
        console.send("echo inside $((40 + 2))\n")
        console.wait_for_text("inside 42", ANSWER_S)
        console.send("exit\n")
        console.wait_for_text("Enter goes back: ", ANSWER_S)
        time.sleep(0.2)
        console.send("\r")
        console.wait_for_text(MENU, ANSWER_S)
    console.send("power-off\r")
    machine.vm.wait_off(ANSWER_S)


def test_a_machine_without_a_disk_opens_its_console(lab: Lab) -> None:
    found = products.kernel("cloud")
    vm = lab.vm(
        Machine(
            kernel=found.vmlinuz,
            initrd=products.updater("cloud"),
            append=f"{products.CONSOLE} panic=10 quiet bootsvc.disk_wait_s=1",
        )
    )
    vm.start()
    vm.console.wait_for(Stage.HALT, BOOT_S)
    vm.console.wait_for_text("Stopped    No disk with bootsvc's partitions.", ANSWER_S)
    vm.console.wait_for_text(MENU, ANSWER_S)
    time.sleep(1.5)
    vm.console.send("power-off\r")
    vm.wait_off(ANSWER_S)
