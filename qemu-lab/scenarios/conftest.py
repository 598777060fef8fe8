"""Fixtures of all scenarios."""

from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.disk.boot_menu import FIXED_OPTIONS
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.machine import Machine
from qemu_lab.pytest_plugin import Lab, lab, pytest_runtest_makereport
from qemu_lab.subject import ProbeMaker, Subject, machine_for

__all__ = ["lab", "probe", "pytest_runtest_makereport"]

LONGEST = ("test_block_update.py", "test_demo.py", "test_debian.py")
"""Scenarios of minutes each: they begin first, so that no worker is left alone with one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest scenarios first; the others keep their order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def probe(lab: Lab) -> ProbeMaker:
    """Makes a machine with a probe image on its disk, switched off.

    Arguments: the first image; ``update``: the image to be staged; ``confirmed``, ``options``:
    see ``products.lab_disk``; ``base``: hardware beside the disk; ``by_boot_loader``: the disk's
    own boot loader starts the updater, as on a real machine. Otherwise QEMU does, some seconds
    quicker, unless ``base`` has a kernel or a firmware of its own.
    """

    def make(
        first: ProbeImage,
        *,
        update: ProbeImage | Path | None = None,
        confirmed: bool = True,
        options: str = "",
        base: Machine | None = None,
        by_boot_loader: bool = False,
    ) -> Subject:
        disk = products.lab_disk(
            lab.directory / "disk.img",
            first.path,
            kernel_name=first.kernel,
            confirmed=confirmed,
            options=options,
        )
        machine = machine_for(disk, base=base)
        starts_otherwise = machine.kernel is not None or machine.firmware is not None
        if not by_boot_loader and not starts_otherwise:
            machine = replace(
                machine,
                kernel=products.kernel(first.kernel).vmlinuz,
                initrd=products.updater(first.kernel),
                append=f"{products.CONSOLE} {products.QUICK} {FIXED_OPTIONS} {options}",
            )
        subject = Subject(lab.vm(machine), disk)
        if update is not None:
            subject.insert(update.path if isinstance(update, ProbeImage) else update)
        return subject

    return make
