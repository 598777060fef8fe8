"""What is right, told from raw bytes: the approved images' own files and the record's bytes.

Nothing here runs code of bootsvc: partitions are found by sfdisk, the record is decoded with
``struct``, images are compared byte for byte.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qemu_lab.errors import ExpectationError
from qemu_lab.subject import COPY_OFFSETS, Record, decode_record, partitions_of

RECORD_BYTES = 512
_BLOCK = 4096
AREAS = {1: "primary", 2: "backup", 3: "staging"}
"""Number of an area in the record -> the end of its partition's name."""


class Bytes(Protocol):
    """A disk as bytes: a mapping of its file, or the bytes themselves."""

    def __getitem__(self, part: slice, /) -> bytes: ...


@dataclass(frozen=True)
class Approved:
    """One approved image as its file has it: content for the start of an area, footer for its end.

    Attributes:
        proof: the ranges that prove the image once they are read, as offsets in its file: all of
            it but the zeros behind the manifest, which fill its last block.
    """

    number: int
    content: bytes
    footer: bytes
    proof: tuple[range, ...]

    @classmethod
    def of(cls, number: int, path: Path) -> Approved:
        """The image in the file ``path``."""
        data = path.read_bytes()
        manifest_size, image_size, tree_size = struct.unpack_from("<IQQ", data, len(data) - 4084)
        locator_at = len(data) - _BLOCK
        manifest_at = locator_at - -(-manifest_size // _BLOCK) * _BLOCK
        tree_at = manifest_at - tree_size
        proof = (
            range(image_size),
            range(tree_at, manifest_at + manifest_size),
            range(locator_at, len(data)),
        )
        return cls(number, data[:image_size], data[tree_at:], proof)

    def is_in(self, area: bytes) -> bool:
        """Whether ``area`` holds every byte of it."""
        return area.startswith(self.content) and area.endswith(self.footer)

    def proof_in(self, area: range) -> list[range]:
        """The ranges of the disk to be read if the image in ``area`` is to be proved."""
        size = self.proof[-1].stop
        return [
            range(area.start + one.start, area.start + one.stop)
            if one.start == 0
            else range(area.stop - size + one.start, area.stop - size + one.stop)
            for one in self.proof
        ]


@dataclass(frozen=True)
class Oracle:
    """What is known of a disk and of the images that may run on it.

    Attributes:
        status: byte range of the status partition on the disk.
        areas: number of an area -> its byte range.
        approved: the images that may run.
    """

    status: range
    areas: dict[int, range]
    approved: tuple[Approved, ...]

    @classmethod
    def of(cls, disk: Path, images: dict[int, Path]) -> Oracle:
        """The oracle for a disk file and the image files by number."""
        parts = {
            name.removeprefix("bootsvc-"): range(start, start + size)
            for name, (start, size) in partitions_of(disk).items()
        }
        areas = {number: parts[name] for number, name in AREAS.items()}
        approved = tuple(Approved.of(number, path) for number, path in images.items())
        return cls(parts["status"], areas, approved)

    @property
    def ranges(self) -> tuple[range, ...]:
        """All that decides what a machine starts."""
        return (self.status, *self.areas.values())

    @property
    def copies(self) -> tuple[int, ...]:
        """Where the copies of the record stand on the disk."""
        return tuple(self.status.start + offset for offset in COPY_OFFSETS)

    def record(self, disk: Bytes) -> Record:
        """The newest valid record.

        Raises:
            ExpectationError: neither copy is valid.
        """
        return decode_record([disk[at : at + RECORD_BYTES] for at in self.copies])

    def image_in(self, disk: Bytes, area: int) -> int | None:
        """The number of the approved image of which ``area`` holds every byte, if any."""
        where = self.areas[area]
        data = disk[where.start : where.stop]
        return next((one.number for one in self.approved if one.is_in(data)), None)

    def fault_of_record(self, disk: Bytes) -> str | None:
        """What is wrong with the area that the newest record names; None if nothing."""
        try:
            record = self.record(disk)
        except ExpectationError as error:
            return str(error)
        if record.boot_area not in (1, 2):
            return f"record {record.sequence} names no area to boot ({record.boot_area})"
        found, named = self.image_in(disk, record.boot_area), record.numbers[record.boot_area - 1]
        if found is None or found != named:
            return (
                f"record {record.sequence} ({record.phase}) names {AREAS[record.boot_area]} with "
                f"image {named}, which holds {'no whole image' if found is None else found}"
            )
        return None
