"""A disk file and signed images for tests of what works on a disk, without root."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Phase,
    StatusCode,
)
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE, KIB, MIB
from tests.formats.tables import write_gpt
from tests.images import Image, like, make_image, random_blocks

AREA_SIZE = 256 * KIB


def _parts() -> dict[str, range]:
    sizes = {"status": COPY_OFFSETS[-1] + BLOCK_SIZE}
    sizes |= dict.fromkeys(("primary", "backup", "staging"), AREA_SIZE)
    parts, at = {}, MIB // 8
    for role, size in sizes.items():
        parts[role] = range(at, at + size)
        at += size
    return parts


PARTS = _parts()
DISK_SIZE = PARTS["staging"].stop + 64 * KIB

V1 = make_image(random_blocks(18, seed=1), number=1)
V2 = make_image(like(V1.content, {1: 21, 4: 22, 9: 24}), number=2, floor=1)
V3 = make_image(like(V2.content, {0: 31, 9: 33}), number=3, floor=2)

Change = Callable[[BootStatus], BootStatus]


def record_of(image: Image, state: AreaState) -> AreaRecord:
    """What the record says of an area with ``image``."""
    return AreaRecord(state, image.manifest.size, image.number, image.identity)


class Bench:
    """A confirmed machine with V2 in primary and V1 in backup; staging is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        disk_bytes = bytearray(DISK_SIZE)
        write_gpt(disk_bytes, PARTS)
        path.write_bytes(disk_bytes)
        self.put(Area.PRIMARY, V2)
        self.put(Area.BACKUP, V1)
        with DirectDevice(path, writable=True) as device:
            disk = disk_on(device)
            disk.status.replace(
                BootStatus(
                    StatusCode.WORKING,
                    Phase.IDLE,
                    Area.PRIMARY,
                    version_floor=1,
                    layout_hash=disk.gpt.layout_hash(),
                    primary=record_of(V2, AreaState.CONFIRMED),
                    backup=record_of(V1, AreaState.VALID),
                )
            )

    @property
    def status(self) -> BootStatus:
        """The record as it stands."""
        with DirectDevice(self.path, writable=False) as device:
            return disk_on(device).status.read()

    def change(self, change: Change) -> BootStatus:
        """Write another record."""
        with DirectDevice(self.path, writable=True) as device:
            status = disk_on(device).status
            return status.replace(change(status.read()))

    def on_trial(self, transaction: bytes, tries_left: int = 2) -> BootStatus:
        """V2 in primary is on trial."""
        return self.change(
            lambda status: replace(
                status,
                status_code=StatusCode.FIRST_START,
                phase=Phase.TRIAL,
                tries_left=tries_left,
                transaction=transaction,
                version_floor=0,
                primary=record_of(V2, AreaState.VALID),
                staging=record_of(V2, AreaState.VALID),
            )
        )

    def place(self, role: str) -> tuple[int, int]:
        """Offset and size of a partition in the file."""
        return PARTS[role].start, len(PARTS[role])

    def put(self, area: Area, image: Image) -> None:
        """Fill an area with an image."""
        offset, size = self.place(area.name.lower())
        self.write(offset, image.in_area(size))

    def holds(self, area: Area, image: Image) -> None:
        """Fill an area with an image, and have the record say so."""
        self.put(area, image)
        name = area.name.lower()
        state = AreaState.CONFIRMED if area is Area.PRIMARY else AreaState.VALID
        self.change(lambda status: replace(status, **{name: record_of(image, state)}))  # type: ignore[arg-type]

    def write(self, offset: int, data: bytes) -> None:
        """Overwrite bytes of the disk."""
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def content(self, role: str) -> bytes:
        """All bytes of a partition."""
        offset, size = self.place(role)
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def digest(self) -> str:
        """Digest of the whole disk file: equal as long as nothing at all was written."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
