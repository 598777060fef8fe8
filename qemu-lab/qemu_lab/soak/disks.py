"""The disk that every story begins with: an image in primary, the one before it in backup."""

from __future__ import annotations

import mmap
from pathlib import Path

from bootsvc.disk.boot_menu import FIXED_OPTIONS
from bootsvc.sequence.checks import Site
from bootsvc.trust.keys import parse_public_key
from qemu_lab.deadline import patience
from qemu_lab.disk import copy_sparse
from qemu_lab.errors import ExpectationError
from qemu_lab.images import products
from qemu_lab.machine import Drive, Machine
from qemu_lab.recorded.images import AREA_SIZE
from qemu_lab.recorded.judge import Judge, Outcome
from qemu_lab.recorded.oracle import Oracle
from qemu_lab.soak import images
from qemu_lab.soak.images import CATALOGUE, FIRST, FORMER
from qemu_lab.soak.plan import Story
from qemu_lab.subject import Subject, machine_for
from qemu_lab.vm import VM

CONFIRM_LIMIT_S = 20
"""How long a trial may run unconfirmed, on a host of ordinary speed (see ``deadline.patience``); a
good image needs a few seconds, emulated."""

MEMORY_MIB = 192
TRIES = (1, 2, 3)


def options(tries: int) -> str:
    """Kernel options for the updater; a panic ends in a restart after a second."""
    limit = round(CONFIRM_LIMIT_S * patience())
    return f"bootsvc.tries={tries} bootsvc.confirm_limit_s={limit} panic=1"


def base_disk(folder: Path, tries: int) -> Path:
    """The file that the disks of stories with so many tries are copies of."""
    return folder / f"base-{tries}.img"


def oracle_for(disk: Path) -> Oracle:
    """The oracle of all stories, for a disk like this one."""
    approved = {number: one.path for number, one in CATALOGUE.items() if one.is_approved}
    return Oracle.of(disk, approved)


def prepare(folder: Path) -> None:
    """Make all images, and the disks that stories begin with, in ``folder``.

    The first update, from FORMER to FIRST, is made in this process, without a machine.

    Raises:
        LabError: it failed.
    """
    images.build_all()
    folder.mkdir(parents=True, exist_ok=True)
    key = products.PUBLIC_KEY
    site = Site((parse_public_key(key.stem, key.read_text("utf-8")),), products.COMPATIBLE)
    for tries in TRIES:
        disk = products.lab_disk(
            base_disk(folder, tries),
            CATALOGUE[FORMER].path,
            area_size=AREA_SIZE,
            options=options(tries),
        )
        with VM(Machine(), folder, name="base") as vm:
            staged = Subject(vm, disk).stage_from_outside(CATALOGUE[FIRST].path)
        if staged.returncode:
            raise ExpectationError(f"image {FIRST} cannot be staged: {staged.stderr}")
        with disk.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
            verdict = Judge(oracle_for(disk), site, FORMER, FIRST).judge(shared)
        if verdict.outcome is not Outcome.WENT_ON:
            raise ExpectationError(f"the update from {FORMER} to {FIRST} failed: {verdict}")


def machine_of(story: Story, folder: Path, disk: Path) -> Machine:
    """The machine of a story, with a fresh disk in the file ``disk``."""
    copy_sparse(base_disk(folder, story.tries), disk)
    if story.full_chain:
        return machine_for(disk, base=Machine(memory_mib=MEMORY_MIB))
    return Machine(
        drives=(Drive(disk),),
        memory_mib=MEMORY_MIB,
        kernel=products.kernel("cloud").vmlinuz,
        initrd=products.updater("cloud"),
        append=f"{products.CONSOLE} {products.QUICK} {FIXED_OPTIONS} {options(story.tries)}",
    )
