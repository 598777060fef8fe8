"""One update in a virtual machine, recorded: every write and flush of its disk, and its reads.

The machine has a history (the backup holds an older image than primary), so that the update writes
backup and primary. The running system stages the new image, the power is cut, the updater installs
it, the new system confirms it. The kernel is given to QEMU directly: a start is then half as long.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bootsvc.disk.boot_menu import FIXED_OPTIONS
from bootsvc.sequence.checks import Site
from bootsvc.trust.keys import parse_public_key
from qemu_lab.disk import copy_sparse
from qemu_lab.errors import ExpectationError
from qemu_lab.images import products
from qemu_lab.machine import Drive, Machine
from qemu_lab.recorded import trace
from qemu_lab.recorded.images import AREA_SIZE, small_image
from qemu_lab.recorded.judge import Judge, Outcome
from qemu_lab.recorded.oracle import Oracle
from qemu_lab.recorded.trace import Request
from qemu_lab.subject import Subject
from qemu_lab.vm import VM

FORMER, FIRST, SECOND = 1, 2, 3
"""Numbers of the images: in the backup, in primary, and the update."""

MakeVM = Callable[[Machine, str], VM]
"""Makes a machine of this name that is switched off; whoever gives it also closes it."""


@dataclass(frozen=True)
class Recording:
    """The files of one recording, all in one folder.

    Attributes:
        folder: holds them.
        power_ons: how many times the machine was switched on.
    """

    folder: Path
    power_ons: int

    @property
    def before(self) -> Path:
        """The disk before the first power-on."""
        return self.folder / "before.img"

    @property
    def after(self) -> Path:
        """The disk after the last power cut."""
        return self.folder / "after.img"

    @property
    def log(self) -> Path:
        """What was written in between."""
        return self.folder / "writes.log"

    def trace(self, power_on: int) -> Path:
        """QEMU's trace of one power-on, counted from 0."""
        return self.folder / f"trace-{power_on}.txt"

    def requests(self) -> list[list[Request]]:
        """The requests to the disk, one list for each power-on."""
        starts = []
        for number in range(self.power_ons):
            with self.trace(number).open(encoding="ascii") as lines:
                starts.append(trace.parse_trace(lines))
        return starts


def judge_for(disk: Path, first: int = FIRST, second: int = SECOND) -> Judge:
    """Who judges disks like ``disk``, on which ``second`` follows ``first``."""
    images = {number: small_image(number) for number in (FORMER, FIRST, SECOND)}
    key = products.PUBLIC_KEY
    site = Site((parse_public_key(key.stem, key.read_text("utf-8")),), products.COMPATIBLE)
    return Judge(Oracle.of(disk, images), site, first, second)


def direct_machine(disk: Drive, update: Path | None = None) -> Machine:
    """A machine whose kernel and updater QEMU loads itself."""
    drives = (disk,) if update is None else (disk, Drive(update, read_only=True))
    return Machine(
        drives=drives,
        kernel=products.kernel("cloud").vmlinuz,
        initrd=products.updater("cloud"),
        append=f"{products.CONSOLE} {products.QUICK} {FIXED_OPTIONS}",
    )


def record(folder: Path, make_vm: MakeVM) -> Recording:
    """Record the update from FIRST to SECOND, with its confirm.

    Args:
        folder: where the files go; without any of an older recording.

    Raises:
        LabError: the update did not go through.
    """
    recording = Recording(folder, power_ons=2)
    update = small_image(SECOND)
    disk = Drive(recording.after, write_log=recording.log)
    vm = make_vm(direct_machine(disk, update), "recorded")
    subject = _with_history(recording, vm)

    def power_on(number: int) -> None:
        vm.machine = replace(vm.machine, extra=trace.options(recording.trace(number)))
        subject.power_on()

    power_on(0)
    subject.runs(FIRST)
    subject.stage()
    subject.power_cut()
    power_on(1)
    subject.runs(SECOND, trial=True)
    subject.confirm()
    subject.power_cut()
    return recording


def _with_history(recording: Recording, vm: VM) -> Subject:
    """The machine's disk: FORMER was updated to FIRST, all without a virtual machine."""
    disk = products.lab_disk(recording.after, small_image(FORMER), area_size=AREA_SIZE)
    subject = Subject(vm, disk)
    staged = subject.stage_from_outside(small_image(FIRST))
    if staged.returncode:
        raise ExpectationError(f"image {FIRST} cannot be staged: {staged.stderr}")
    with disk.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        verdict = judge_for(disk, FORMER, FIRST).judge(shared)
    if verdict.outcome is not Outcome.WENT_ON:
        raise ExpectationError(f"the update from {FORMER} to {FIRST} failed: {verdict}")
    copy_sparse(disk, recording.before)
    return subject
