"""A locked machine from its serial line: boot loader, console, and what is left without Python."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bootsvc.disk.create import DiskContents, create_disk
from bootsvc.disk.partition import plan
from bootsvc.trust import grub_password, password
from initramfs.build import BuildRequest, build
from initramfs.modules import KernelTree
from qemu_lab import Bad, Machine
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import Subject, machine_for

pytestmark = pytest.mark.vm

V1 = ProbeImage(1)
PASSWORD = "open sesame"  # noqa: S105  # it guards nothing
ESC = "\x1b"
MENU_S = 60
WAIT_S = 20
"""The console's wait: long enough for a test that types while others use the processor."""


@pytest.fixture(scope="module")
def locked_updater(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An updater whose site has locked the console; the OpenSSL half of its hashes is left out, so
    that scrypt has nothing to come from but libsodium."""
    folder = tmp_path_factory.mktemp("locked")
    stored = password.hash_password(PASSWORD, bytes(password.SALT_SIZE))
    config = folder / "bootsvc.toml"
    config.write_text(f'{products.SETTINGS}console_password = "{stored}"\n')
    found = products.kernel("cloud")
    request = BuildRequest(
        output=folder / "locked.cpio.zst",
        kernel=KernelTree.extracted(found.tree),
        hash_backend="builtin",
        config=config,
        keys=(products.PUBLIC_KEY,),
    )
    return build(request).output


def locked_machine(lab: Lab, updater: Path, options: str) -> Subject:
    disk = create_disk_of(lab.directory / "disk.img", updater, options)
    # SeaBIOS's own serial console would take every other character of what is typed. The memory is
    # the least that a machine may have: a check takes 32 MiB of it.
    base = Machine(firmware_on_serial=False, memory_mib=128)
    return Subject(lab.vm(machine_for(disk, base=base)), disk)


def create_disk_of(out: Path, updater: Path, options: str) -> Path:
    create_disk(
        out,
        plan(area_size=products.PROBE_AREA, data_size=products.DATA),
        DiskContents(
            image=V1.path,
            kernel=products.kernel("cloud").vmlinuz,
            initramfs=updater,
            confirmed=True,
            options=f"{products.CONSOLE} {options}".strip(),
            menu_seconds=10,
            grub_password=grub_password.hash_password(PASSWORD, bytes(grub_password.SALT_SIZE)),
        ),
    )
    return out


def test_a_locked_disk_asks_for_the_password_before_grubs_editor_opens(
    lab: Lab, locked_updater: Path
) -> None:
    machine = locked_machine(lab, locked_updater, "bootsvc.console_wait_s=0")
    machine.power_on()
    console = machine.vm.console
    console.wait_for_text("9 ", MENU_S)  # the menu counts down
    console.send(ESC)
    console.wait_for_text("Rescue: image in backup", MENU_S)
    for key in ("e", "c"):
        console.send(key)
        console.wait_for_text("Enter username:", MENU_S)
        console.send("bootsvc\r")
        console.wait_for_text("Enter password:", MENU_S)
        console.send("open sesam\r")
        console.wait_for_text("Rescue: image in backup", MENU_S)
    console.send("c")
    console.wait_for_text("Enter username:", MENU_S)
    console.send("bootsvc\r")
    console.wait_for_text("Enter password:", MENU_S)
    console.send(f"{PASSWORD}\r")
    with console.expecting(Bad.BOOT_LOADER_PROMPT):
        console.wait_for_text("grub>", MENU_S)
        console.send(ESC)
        console.wait_for_text("Rescue: image in backup", MENU_S)
    # Nobody needs a password for the ordinary start.
    console.send("\r")
    machine.runs(1)


def test_a_locked_console_opens_to_its_password_and_slows_wrong_tries_down(
    lab: Lab, locked_updater: Path
) -> None:
    machine = locked_machine(
        lab, locked_updater, f"bootsvc.console_wait_s={WAIT_S} bootsvc.console_password="
    )
    machine.power_on()
    console = machine.vm.console
    console.wait_for_text("press a key within", MENU_S)
    console.send("\r")
    console.wait_for_text("Password:", MENU_S)
    for wait_s in (1, 2, 4, 8):
        console.send("open sesam\r")
        console.wait_for_text(f"Wrong. The next try is looked at in {wait_s} s.", MENU_S)
        time.sleep(wait_s % 8)
    console.send(f"{PASSWORD}\r")
    console.wait_for_text("The next try is looked at in", MENU_S)
    time.sleep(8)
    console.send(f"{PASSWORD}\r")
    console.wait_for_text("Go on with the start", MENU_S)
    console.send("\r")
    machine.runs(1)


@pytest.mark.thorough
def test_a_locked_machine_that_cannot_start_gives_no_shell(lab: Lab, locked_updater: Path) -> None:
    machine = locked_machine(lab, locked_updater, "bootsvc.shell bootsvc.break=python")
    for at in (0, 2 << 20):
        machine.damage("bootsvc-status", at, bytes(4096))
    machine.power_on()
    console = machine.vm.console
    console.wait_for_text("bootsvc.shell is refused: the console is locked", MENU_S)
    console.wait_for_text("PYTHON DIED", MENU_S)
    console.wait_for_text("no rescue shell: the console is locked", MENU_S)
    console.send("\recho s${HOME}hell\r")
    # A shell's prompt, or its answer, would end this wait as bad.
    console.wait_for_text("the machine restarts in 270 s", MENU_S)
    assert "s/roothell" not in console.tail(40)
