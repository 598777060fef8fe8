"""Where the updater's two slots lie on the ESP, and what a slot is made of (DESIGN 2). Pure.

    /bootsvc/try.env       one-shot mark: try=b has GRUB start slot b once, and take the mark away
    /bootsvc/proven.env    slot=a: the slot that proved itself; GRUB only reads it
    /bootsvc/a, /bootsvc/b
        sha256.sum         digests of kernel and initramfs, as sha256sum writes them
        crc32.sum          their CRC-32, which GRUB compares at every start
        vmlinuz            the updater's kernel
        initrd.img         its initramfs
        room               the rest of the slot: nobody else may take it

Places are fixed by the volume's size alone, and each region below covers whole sectors of the
allocation table: whoever writes a slot writes no byte, and no sector, of the other.

    clusters:  | EFI, grub, a person's own files | control | slot a ........ | slot b ........ |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from bootsvc.errors import FieldError, LayoutError
from bootsvc.formats import grub_env
from bootsvc.formats._codec import crc32
from bootsvc.formats.fat32 import (
    FIRST_CLUSTER,
    Entry,
    Geometry,
    Run,
    build_chains,
    build_folder,
)
from bootsvc.units import MIB, describe_size, round_up

SLOTS = ("a", "b")
FOLDER = "bootsvc"
TRY, PROVEN = "try.env", "proven.env"
SUMS, CRCS = "sha256.sum", "crc32.sum"
KERNEL, INITRAMFS, ROOM = "vmlinuz", "initrd.img", "room"

FRONT = 4 * MIB
"""Bytes at the ESP's beginning for everything else: boot loaders, a person's own files."""

_DIGEST_DIGITS = 64
_CRC_DIGITS = 8


@dataclass(frozen=True)
class Regions:
    """Clusters of the folder /bootsvc with its marks, and of each slot."""

    control: Run
    slots: dict[str, Run]


@dataclass(frozen=True)
class SlotPlan:
    """How one slot's content lies in its clusters.

    Attributes:
        chains: the allocation table's entries for the whole run.
        folder: the bytes of the slot's folder, which is its first cluster.
        sums, crcs, kernel, initramfs: clusters of the files; the first two are neighbours.
    """

    chains: bytes
    folder: bytes
    sums: Run
    crcs: Run
    kernel: Run
    initramfs: Run


def other(slot: str) -> str:
    """The slot that is not ``slot``."""
    return SLOTS[1 - SLOTS.index(slot)]


def regions_of(geometry: Geometry) -> Regions:
    """Where control and slots lie. Raises LayoutError: the volume is too small for them."""
    unit = geometry.entries_a_sector
    front = -(-(FIRST_CLUSTER + -(-FRONT // geometry.cluster_size)) // unit)
    each = ((geometry.clusters + FIRST_CLUSTER) // unit - front - 1) // 2
    if each < 1:
        raise LayoutError(
            f"an ESP of {describe_size(geometry.clusters * geometry.cluster_size)} is too small"
            " for the updater's two slots"
        )
    starts = (front + 1, front + 1 + each)
    return Regions(
        Run(front * unit, unit),
        {slot: Run(start * unit, each * unit) for slot, start in zip(SLOTS, starts, strict=True)},
    )


@dataclass(frozen=True)
class Sums:
    """What kernel and initramfs must be: SHA-256 for people and the OS, CRC-32 for GRUB, whose
    SHA-256 takes twenty times as long (``bootsvc/disk/ESP.md``)."""

    kernel_sha256: bytes
    initramfs_sha256: bytes
    kernel_crc: int
    initramfs_crc: int

    @classmethod
    def of(cls, kernel: bytes, initramfs: bytes) -> Sums:
        """The sums of these files."""
        return cls(
            hashlib.sha256(kernel).digest(),
            hashlib.sha256(initramfs).digest(),
            crc32(kernel),
            crc32(initramfs),
        )

    def files(self) -> tuple[bytes, bytes]:
        """The two files of sums, always of one length."""
        return (
            f"{self.kernel_sha256.hex()}  {KERNEL}\n"
            f"{self.initramfs_sha256.hex()}  {INITRAMFS}\n".encode("ascii"),
            f"{self.kernel_crc:08x}  {KERNEL}\n{self.initramfs_crc:08x}  {INITRAMFS}\n".encode(
                "ascii"
            ),
        )


def parse_sums(sums: bytes, crcs: bytes) -> Sums:
    """What two files of sums say.

    Raises:
        FieldError: they are none: the slot is empty or was not finished.
    """
    try:
        digests = [bytes.fromhex(line[:_DIGEST_DIGITS].decode()) for line in sums.splitlines()]
        values = [int(line[:_CRC_DIGITS], 16) for line in crcs.splitlines()]
        if (len(digests), len(values)) == (2, 2):
            found = Sums(digests[0], digests[1], values[0], values[1])
            if found.files() == (sums, crcs):
                return found
    except ValueError:
        pass
    raise FieldError(f"{SUMS} or {CRCS} holds no sums: the slot is empty or was not finished")


SUMS_SIZE, CRCS_SIZE = (len(file) for file in Sums(bytes(32), bytes(32), 0, 0).files())


def control_plan(geometry: Geometry, regions: Regions) -> tuple[bytes, bytes, dict[str, Run]]:
    """Chains and folder of /bootsvc, and the clusters of its two marks."""
    length = -(-grub_env.SIZE // geometry.cluster_size)
    here = regions.control
    folder = Run(here.first, 1)
    marks = {
        TRY: Run(folder.end, length),
        PROVEN: Run(folder.end + length, length),
    }
    rest = Run(marks[PROVEN].end, here.end - marks[PROVEN].end)
    entries = [
        Entry(".", here.first, is_folder=True),
        Entry("..", 0, is_folder=True),
        *(Entry(slot, run.first, is_folder=True) for slot, run in regions.slots.items()),
        *(Entry(name, run.first, grub_env.SIZE) for name, run in marks.items()),
        Entry(ROOM, rest.first, rest.count * geometry.cluster_size),
    ]
    chains = build_chains((folder, *marks.values(), rest))
    return chains, build_folder(entries, geometry.cluster_size), marks


def slot_plan(
    geometry: Geometry, regions: Regions, slot: str, kernel_size: int, initramfs_size: int
) -> SlotPlan:
    """How files of these sizes, in bytes, lie in ``slot``; both 0 for an empty one.

    Raises:
        LayoutError: the slot has no room for them.
    """
    size, here = geometry.cluster_size, regions.slots[slot]
    folder = Run(here.first, 1)
    sums = Run(folder.end, -(-SUMS_SIZE // size))
    crcs = Run(sums.end, -(-CRCS_SIZE // size))
    kernel = Run(crcs.end, -(-kernel_size // size))
    initramfs = Run(kernel.end, -(-initramfs_size // size))
    rest = Run(initramfs.end, here.end - initramfs.end)
    if rest.count < 0:
        raise LayoutError(
            f"the updater's slot {slot} has room for {describe_size(room_of(geometry, regions))},"
            f" kernel and initramfs have {describe_size(kernel_size + initramfs_size)}",
            hint="make the disk with a larger --esp-size",
        )
    files = [
        Entry(SUMS, sums.first, SUMS_SIZE),
        Entry(CRCS, crcs.first, CRCS_SIZE),
        Entry(KERNEL, kernel.first, kernel_size),
        Entry(INITRAMFS, initramfs.first, initramfs_size),
        Entry(ROOM, rest.first, rest.count * size),
    ]
    entries = [
        Entry(".", here.first, is_folder=True),
        Entry("..", regions.control.first, is_folder=True),
        *(file for file in files if file.size),
    ]
    runs = (folder, sums, crcs, kernel, initramfs, rest)
    return SlotPlan(
        build_chains(run for run in runs if run.count),
        build_folder(entries, size),
        sums,
        crcs,
        kernel,
        initramfs,
    )


def room_of(geometry: Geometry, regions: Regions) -> int:
    """Bytes of kernel and initramfs that a slot takes at least."""
    size = geometry.cluster_size
    # The folder, the sums, and what is lost at the end of the kernel.
    reserved = 2 * size + round_up(SUMS_SIZE, size) + round_up(CRCS_SIZE, size)
    return regions.slots["a"].count * size - reserved
