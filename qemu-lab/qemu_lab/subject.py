"""A machine with bootsvc on its disk, in the words that stories use.

The guest says which image runs; the record and the areas are read from the disk file outside the
guest, by code of their own: sfdisk finds the partitions and ``struct`` decodes the record, so that
a mistake in bootsvc's own readers cannot hide itself.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qemu_lab.disk import read_range, sha256_range, write_range
from qemu_lab.errors import ExpectationError
from qemu_lab.images import products
from qemu_lab.machine import Drive, Machine
from qemu_lab.stages import Bad, Stage
from qemu_lab.vm import VM

UPDATE_DEVICE = "/dev/vdb"
"""Where the guest finds the image that it is to stage."""

COPY_OFFSETS = (0, 2 * 2**20)
PHASES = [
    "unknown",
    "install",
    "idle",
    "check",
    "backup",
    "copy",
    "verify",
    "trial",
    "confirm",
    "restore",
    "degraded",
    "rollback",
    "rot",
    "halt",
]
BOOT_S = 90.0
"""Longest time from power-on to the image's first word, under emulation."""


@dataclass(frozen=True)
class Record:
    """The boot-status record as the bytes on the disk say; ``raw`` are both copies.

    Attributes:
        request: 0 none, 1 update, 2 rollback.
        numbers: of the images in primary, backup and staging.
        floor: images with a lower number may not be installed.
        failure: the last failure's reason as a number of the record's format, 0 for none, and the
            number of the image that failed.
    """

    code: int
    phase: str
    boot_area: int
    request: int
    sequence: int
    tries_left: int
    numbers: tuple[int, int, int]
    floor: int
    failure: tuple[int, int]
    raw: bytes


def decode_record(copies: list[bytes]) -> Record:
    """The newest valid of the two copies, decoded without bootsvc.

    Raises:
        ExpectationError: neither is valid.
    """
    valid = [
        one
        for one in copies
        if one[:8] == b"BOOTSVC\0" and zlib.crc32(one[:508]) == struct.unpack("<I", one[508:])[0]
    ]
    if not valid:
        raise ExpectationError("neither copy of the boot-status record is valid")
    best = max(valid, key=lambda one: int(struct.unpack_from("<Q", one, 16)[0]))
    code, phase, boot_area, request, sequence, tries_left = struct.unpack_from("<4BQB", best, 12)
    numbers = tuple(struct.unpack_from("<Q", best, at + 16)[0] for at in (112, 168, 224))
    return Record(
        code,
        PHASES[phase],
        boot_area,
        request,
        sequence,
        tries_left,
        (numbers[0], numbers[1], numbers[2]),
        struct.unpack_from("<Q", best, 64)[0],
        (best[281], struct.unpack_from("<Q", best, 296)[0]),
        b"".join(copies),
    )


class Subject:
    """One machine under test.

    Attributes:
        vm: the machine; its first drive is ``disk``, its second (if any) the image to stage.
        disk: raw disk file.
    """

    def __init__(self, vm: VM, disk: Path) -> None:
        self.vm = vm
        self.disk = disk
        self._partitions = partitions_of(disk)

    # --- what is done to it -------------------------------------------------------------------

    def power_on(self) -> None:
        """Press the button."""
        self.vm.start()

    def insert(self, image: Path) -> None:
        """Have ``image`` at UPDATE_DEVICE from the next power-on."""
        drives = (self.vm.machine.drives[0], Drive(image, read_only=True))
        self.vm.machine = replace(self.vm.machine, drives=drives)

    def command(self, text: str, timeout: float = 120.0) -> str:
        """What a bootsvc command in the running OS prints; it must succeed."""
        return self.vm.port.run(f"bootsvc {text}", timeout)

    def stage(self, timeout: float = 180.0) -> None:
        """Stage the inserted image from within the running OS."""
        self.command(f"stage {UPDATE_DEVICE}", timeout)

    def shell(self, command: str, timeout: float = 60.0) -> str:
        """What a shell command in the running OS prints; it must succeed."""
        return self.vm.port.run(command, timeout)

    def root_device(self) -> str:
        """The device that the running OS has its read-only root from."""
        return self.shell("sed -n 's,^\\([^ ]*\\) /run/bootsvc/lower [^ ]* .*,\\1,p' /proc/mounts")

    def confirm(self) -> None:
        """The running OS proves itself."""
        self.vm.port.ask("confirm", timeout=60.0).require()

    def restart(self) -> None:
        """Switch off and on again, with all that the guest wrote on the disk.

        Not ``vm.reset()``: emulated, a guest that was reset starts two to three times slower. What
        devices remember over a reset (a watchdog that it fired) is gone.
        """
        self.vm.quit()
        self.vm.start()

    def power_cut(self) -> None:
        """Pull the plug."""
        self.vm.power_cut()

    def stage_from_outside(self, image: Path) -> subprocess.CompletedProcess[str]:
        """Stage ``image`` on this machine's disk while it is off."""
        site: list[str | Path] = [
            "--keys",
            products.KEYS,
            "--settings",
            products.SETTINGS_FILE,
        ]
        return subprocess.run(
            [sys.executable, "-m", "bootsvc.cli", "stage", "--disk", self.disk, *site, image],
            capture_output=True,
            text=True,
            check=False,
        )

    def damage(self, partition: str, offset: int, data: bytes) -> None:
        """Overwrite bytes of a partition while the machine is off."""
        write_range(self.disk, self._partitions[partition][0] + offset, data)

    def put(self, area: str, image: Path) -> None:
        """Write ``image`` into an area while the machine is off."""
        _, size = self._partitions[f"bootsvc-{area}"]
        content, footer = parts_of(image)
        self.damage(f"bootsvc-{area}", 0, read_range(image, 0, content))
        at = image.stat().st_size - footer
        self.damage(f"bootsvc-{area}", size - footer, read_range(image, at, footer))

    def change_boot_options(self, old: str, new: str) -> None:
        """Replace text among the kernel options of the boot menu while the machine is off.

        Raises:
            ValueError: not of equal length, or ``old`` is not there.
        """
        if len(old) != len(new):
            raise ValueError(f"{old!r} and {new!r} are not of equal length")
        start, size = self._partitions["esp"]
        esp = read_range(self.disk, start, size)
        at = esp.find(old.encode())
        if at < 0:
            raise ValueError(f"the boot menu has no option {old!r}")
        while at >= 0:
            write_range(self.disk, start + at, new.encode())
            at = esp.find(old.encode(), at + 1)

    # --- what is seen of it -------------------------------------------------------------------

    def wait(
        self, stage: Stage, timeout: float = BOOT_S, *, expecting: tuple[Bad, ...] = ()
    ) -> None:
        """Until the console proves ``stage``."""
        self.vm.console.wait_for(stage, timeout, expecting=expecting)

    def runs(
        self,
        version: int,
        *,
        area: str = "primary",
        trial: bool = False,
        timeout: float = BOOT_S,
        expecting: tuple[Bad, ...] = (),
    ) -> None:
        """The guest itself says that this version runs, from this area.

        Raises:
            ExpectationError: another version, area or kind of start.
        """
        hello = self.vm.port.wait_hello(timeout, expecting=expecting)
        found = (hello.get("version"), hello.get("area"), hello.get("trial"))
        wanted = (str(version), area, str(int(trial)))
        if found != wanted:
            raise ExpectationError(
                self.vm.console.report(f"(version, area, trial) is {found}, wanted {wanted}")
            )

    def status(self) -> dict[str, Any]:
        """``bootsvc status --json`` in the running OS."""
        document: dict[str, Any] = json.loads(self.command("status --json"))
        return document

    def failure(self) -> tuple[str, str, int]:
        """Phase, reason and image number of the last failure, as the running OS tells it."""
        last = self.status()["last_failure"]
        return last["phase"], last["reason"], last["number"]

    def record(self) -> Record:
        """The record, read from the disk file."""
        start = self._partitions["bootsvc-status"][0]
        return decode_record([read_range(self.disk, start + at, 512) for at in COPY_OFFSETS])

    def status_partition(self) -> str:
        """SHA-256 of the whole status partition."""
        return self._sha256("bootsvc-status")

    def area(self, name: str) -> str:
        """SHA-256 of a whole area: ``primary``, ``backup`` or ``staging``."""
        return self._sha256(f"bootsvc-{name}")

    def holds(self, name: str, image: Path) -> bool:
        """Whether an area begins with the bytes of ``image`` and ends with its footer."""
        start, size = self._partitions[f"bootsvc-{name}"]
        content, footer = parts_of(image)
        total = image.stat().st_size
        return sha256_range(self.disk, start, content) == sha256_range(
            image, 0, content
        ) and sha256_range(self.disk, start + size - footer, footer) == sha256_range(
            image, total - footer, footer
        )

    def range_of(self, partition: str) -> tuple[int, int]:
        """Offset and size of a partition on the disk, in bytes."""
        return self._partitions[partition]

    def _sha256(self, partition: str) -> str:
        start, size = self._partitions[partition]
        return sha256_range(self.disk, start, size)


ProbeMaker = Callable[..., Subject]
"""What the fixture ``probe`` gives: see qemu-lab/scenarios/conftest.py."""


def machine_for(disk: Path, *, base: Machine | None = None) -> Machine:
    """A machine that boots from ``disk``; ``base`` gives everything else."""
    return replace(base or Machine(), drives=(Drive(disk),))


def parts_of(image: Path) -> tuple[int, int]:
    """Size of an image file's content and of its footer, in bytes."""
    locator = read_range(image, image.stat().st_size - 4096, 4096)
    manifest_size, content, tree_size = struct.unpack_from("<IQQ", locator, 12)
    return content, tree_size + -(-manifest_size // 4096) * 4096 + 4096


def partitions_of(disk: Path) -> dict[str, tuple[int, int]]:
    """GPT name -> offset and size in bytes, as sfdisk finds them on a disk file."""
    done = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=True)
    table = json.loads(done.stdout)["partitiontable"]
    unit = int(table.get("sectorsize", 512))
    return {one["name"]: (one["start"] * unit, one["size"] * unit) for one in table["partitions"]}
