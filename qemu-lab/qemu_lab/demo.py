"""The main job, narrated (``make demo``): a good update, then a bad one that is thrown back.

A real Debian system on a disk of its own, started by SeaBIOS and GRUB in QEMU: version 1 runs,
version 2 is installed and proves itself, version 3 panics and version 2 comes back by itself. The
serial console is shown as it is; lines of the story begin with ``==``.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootsvc.units import MIB
from qemu_lab.errors import LabError
from qemu_lab.images import products, signed
from qemu_lab.images.signed import DebianImage
from qemu_lab.images.tools import BUILD
from qemu_lab.machine import Machine
from qemu_lab.stages import Bad, Stage
from qemu_lab.subject import Subject, machine_for
from qemu_lab.vm import VM

FOLDER = BUILD / "demo"
METHOD = "switch_root"
"""Back end of all three versions: they run the updater's own kernel, and it saves a minute."""

V1 = DebianImage("debian-v1", METHOD)
V2 = DebianImage("debian-v2", METHOD)
V3_BAD = DebianImage("debian-bad-panic", METHOD)
AREA_SIZE = 96 * MIB
MEMORY_MIB = 512
UP_S = 300.0


@dataclass(frozen=True)
class Work:
    """One piece of work of one start: seconds, and bytes read, written and skipped."""

    start: str
    name: str
    seconds: float
    read: int
    written: int
    skipped: int


def works_of(start: str, document: dict[str, Any]) -> list[Work]:
    """The work in the record that the updater handed to the OS (/run/bootsvc/start.json)."""
    return [
        Work(start, one["work"], one["seconds"], one["read"], one["written"], one["skipped"])
        for one in document["entries"]
        if "work" in one
    ]


def timeline(works: list[Work]) -> list[str]:
    """The table at the end, in columns; bytes as MiB."""
    lines = [f"{'start':<22}{'phase':<18}{'s':>7}{'read':>9}{'written':>9}{'skipped':>9}  MiB"]
    for one in works:
        amounts = "".join(f"{size / MIB:>9.1f}" for size in (one.read, one.written, one.skipped))
        lines.append(f"{one.start:<22}{one.name:<18}{one.seconds:>7.1f}{amounts}")
    return lines


def tell(text: str) -> None:
    """One line of the story."""
    print(f"\n== {text}", flush=True)


TELLING = (
    "bootsvc",
    "SeaBIOS",
    "GRUB",
    "Linux version",
    "Kernel panic",
    "Rebooting in",
    "systemd[1]: Detected",
    "login:",
    "===",
)
"""What a line of the console must hold to be shown; the transcript has all of them."""


def show_console(line: str) -> None:
    """Show a line of the serial console that tells how far the machine is."""
    if any(word in line for word in TELLING):
        print(line[:150], flush=True)


class Demo:
    """The story, scene by scene."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.works: list[Work] = []

    def first_version(self) -> None:
        """Version 1 runs on a machine that is known to be good."""
        tell("version 1: power on; firmware, GRUB, updater, Debian")
        self.subject.power_on()
        self.subject.runs(1, timeout=UP_S)
        self._show("bootsvc status")

    def good_update(self) -> None:
        """Version 2 is staged from within version 1, installed, tried, confirmed."""
        tell("bootsvc stage: every check first, then the image goes to the staging area")
        print(self.subject.command("stage /dev/vdb", UP_S), flush=True)
        tell("restart: check, backup, copy, verify, then version 2 starts on trial")
        self.subject.restart()
        self.subject.runs(2, trial=True, timeout=UP_S)
        self._keep("update to 2")
        tell("version 2 is up; its own unit runs the health checks and confirms")
        self._wait_confirmed()
        self._show("bootsvc status")

    def bad_update(self) -> None:
        """Version 3 panics at each of its tries; version 2 comes back by itself."""
        tell("power off, insert version 3, which is bad: its kernel will panic; power on")
        self.subject.power_cut()
        self.subject.insert(V3_BAD.path)
        self.subject.power_on()
        self.subject.runs(2, timeout=UP_S)
        print(self.subject.command("stage /dev/vdb", UP_S), flush=True)
        tell("restart: version 3 is installed and gets its tries; nobody touches anything now")
        self.subject.restart()
        for number in range(1, 4):
            self.subject.wait(Stage.HAND_OVER, UP_S, expecting=(Bad.KERNEL_PANIC,))
            self.subject.vm.console.wait_for_bad(Bad.KERNEL_PANIC, UP_S)
            tell(f"try {number} of 3 ended in a kernel panic; the machine restarts by itself")
        self.subject.wait(Stage.RESTORE, UP_S, expecting=(Bad.KERNEL_PANIC,))
        tell("the tries are used up: the backup is copied back and verified")
        self.subject.runs(2, timeout=UP_S, expecting=(Bad.KERNEL_PANIC,))
        self._keep("version 3 thrown back")
        self._show("bootsvc status")

    def end(self) -> None:
        """The machine off, the areas compared with the images outside the guest."""
        self.subject.power_cut()
        if not self.subject.holds("primary", V2.path):
            raise LabError("primary does not hold version 2 bit for bit")
        tell("power off; primary holds version 2 bit for bit (read outside the guest)")
        print("\n".join(["", *timeline(self.works)]), flush=True)

    def _wait_confirmed(self) -> None:
        deadline = time.monotonic() + UP_S
        while self.subject.status()["phase"] != "idle":
            if time.monotonic() > deadline:
                raise LabError("version 2 did not confirm itself")
            time.sleep(1)

    def _keep(self, start: str) -> None:
        text = self.subject.vm.port.run("cat /run/bootsvc/start.json", UP_S)
        self.works += works_of(start, json.loads(text))

    def _show(self, command: str) -> None:
        print(self.subject.vm.port.run(command, UP_S), flush=True)


def main(folder: Path = FOLDER) -> int:
    """Tell the whole story; 1 where it does not go as told.

    Args:
        folder: for the disk and the transcript; emptied first.
    """
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tell("making what is missing: kernels, updater, Debian images (minutes the first time)")
    signed.build_all()
    disk = products.lab_disk(folder / "disk.img", V1.path, area_size=AREA_SIZE)
    vm = VM(
        machine_for(disk, base=Machine(memory_mib=MEMORY_MIB, smp=2, pstore=folder / "erst")),
        folder,
        name="demo",
    )
    vm.console.transcript.listener = show_console
    subject = Subject(vm, disk)
    subject.insert(V2.path)
    demo = Demo(subject)
    try:
        with vm:
            demo.first_version()
            demo.good_update()
            demo.bad_update()
            demo.end()
    except LabError as error:
        print(f"\n== the demo failed: {error}", file=sys.stderr)
        return 1
    print(f"\ndone in {time.monotonic() - began:.0f} s; the disk is {_relative(disk)},", end=" ")
    print(f"the console's transcript {_relative(folder / 'demo.console.txt')}")
    print(f"start it yourself: .venv/bin/python -m qemu_lab run {_relative(disk)}")
    return 0


def _relative(path: Path) -> Path:
    return path.relative_to(BUILD.parent)


if __name__ == "__main__":
    sys.exit(main())
