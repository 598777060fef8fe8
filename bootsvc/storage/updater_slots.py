"""The updater's two slots on an ESP: read, written, marked (DESIGN 2).

Two writers meet here: the OS puts a new updater into the slot that is not the proven one and asks
for one try; GRUB takes the mark away before it tries it. At every moment the proven slot is whole:

    1  the mark is taken away, where it names this slot          flush, read back
    2  the slot's sums are wiped: nobody starts it now           flush, read back
    3  tables, folder, kernel, initramfs                         flush, read back, all of it
    4  the sums                                                  flush, read back
    5  the mark for one try                                      flush, read back

Everything is written in place, in sectors that describe or hold this one slot. No other name,
table entry or free count of the volume changes, so what a power cut may leave is known exactly
(tests/power_cut/updater_slots.py). ``ESP.md`` in bootsvc/disk has the drawing.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bootsvc.errors import (
    AlteredImageError,
    BootsvcError,
    FormatError,
    LayoutError,
    ReadBackError,
    SequenceError,
)
from bootsvc.formats import fat32, grub_env, updater_slots
from bootsvc.formats._codec import crc32
from bootsvc.formats.fat32 import FAT_ENTRY_SIZE, FIRST_CLUSTER, Entry, Run
from bootsvc.formats.updater_slots import (
    CRCS,
    CRCS_SIZE,
    FOLDER,
    INITRAMFS,
    KERNEL,
    PROVEN,
    SLOTS,
    SUMS,
    TRY,
    SlotPlan,
    Sums,
)
from bootsvc.storage.device import Device
from bootsvc.units import MIB, round_up

Tick = Callable[[int], None]
"""Called with the bytes that were just written or read."""

PIECE = MIB
"""Bytes of a file that are written or read at once."""

NO_TRY = {"try": "", "tried": ""}

_UNKNOWN_COUNT = 0xFFFFFFFF


def no_tick(_: int) -> None:
    """For work that nobody watches."""


@dataclass(frozen=True)
class Marks:
    """What GRUB goes by; each is a, b, or empty where nothing valid is written there.

    Attributes:
        proven: the slot that proved itself.
        to_try: the slot that the next start tries, once.
        tried: the slot that was tried last.
    """

    proven: str
    to_try: str = ""
    tried: str = ""


@dataclass(frozen=True)
class SlotContent:
    """A whole slot: sizes in bytes and SHA-256 of its two files."""

    kernel_size: int
    kernel_sha256: bytes
    initramfs_size: int
    initramfs_sha256: bytes


class SlotStore:
    """The slots on an ESP, seen through ``esp``, which begins with the volume's first sector."""

    def __init__(self, esp: Device) -> None:
        """Find the slots.

        Raises:
            FormatError: it is no FAT32 volume.
            LayoutError: it has no slots of ours, or somebody moved them.
        """
        self._esp = esp
        self._geometry = fat32.parse_geometry(esp.read_at(0, 512))
        self._regions = updater_slots.regions_of(self._geometry)
        _, folder, self._marks = updater_slots.control_plan(self._geometry, self._regions)
        self._check_places(fat32.parse_folder(folder))

    def marks(self) -> Marks:
        """Both marks; what cannot be read or is not valid is empty, as it is for GRUB."""
        proven, attempt = self._values(PROVEN), self._values(TRY)
        return Marks(
            _slot_or_nothing(proven.get("slot", "")),
            _slot_or_nothing(attempt.get("try", "")),
            _slot_or_nothing(attempt.get("tried", "")),
        )

    def read(self, slot: str, tick: Tick = no_tick) -> SlotContent:
        """The content of ``slot``, read in full and compared with its digests.

        Raises:
            FormatError: it is empty or was never finished.
            AlteredImageError: a file differs from its digest.
            DeviceError: the disk cannot be read.
        """
        files = {entry.name: entry for entry in self._entries(slot)}
        for name in (SUMS, CRCS, KERNEL, INITRAMFS):
            if name not in files:
                raise FormatError(f"slot {slot} is empty: it has no {name}")
        sums = updater_slots.parse_sums(self._file(files[SUMS]), self._file(files[CRCS]))
        for name, expected in (
            (KERNEL, (sums.kernel_sha256, sums.kernel_crc)),
            (INITRAMFS, (sums.initramfs_sha256, sums.initramfs_crc)),
        ):
            if self._sums_of(files[name], tick) != expected:
                raise AlteredImageError(
                    f"slot {slot}: {name} differs from its sums",
                    hint="write the slot again: bootsvc updater stage KERNEL INITRAMFS",
                )
        return SlotContent(
            files[KERNEL].size,
            sums.kernel_sha256,
            files[INITRAMFS].size,
            sums.initramfs_sha256,
        )

    def release(self, slot: str) -> str:
        """The kernel's own words for its version (``6.1.0-9-amd64 ...``), empty where it has none.

        Raises:
            FormatError: the slot has no kernel.
        """
        for entry in self._entries(slot):
            if entry.name == KERNEL:
                return kernel_release(self._read(entry.cluster, min(entry.size, 64 * 1024)))
        raise FormatError(f"slot {slot} is empty: it has no {KERNEL}")

    def initramfs(self, slot: str) -> bytes:
        """The slot's initramfs as it stands, unverified.

        Raises:
            FormatError: the slot has none.
        """
        for entry in self._entries(slot):
            if entry.name == INITRAMFS:
                return self._file(entry)
        raise FormatError(f"slot {slot} is empty: it has no {INITRAMFS}")

    def write(self, slot: str, kernel: bytes, initramfs: bytes, tick: Tick = no_tick) -> None:
        """Fill ``slot``, which must not be the proven one; see the order above (1 to 4).

        Raises:
            SequenceError: it is the proven one; nothing was written.
            LayoutError: it has no room; nothing was written.
            ReadBackError, DeviceError: the disk failed; the slot is not startable.
        """
        if slot == self.marks().proven:
            raise SequenceError(
                f"slot {slot} is the one that proved itself: it is never written",
                hint=f"write the other one: {updater_slots.other(slot)}",
            )
        plan = self._plan(slot, len(kernel), len(initramfs))
        if slot in (self.marks().to_try, self.marks().tried):
            self._mark(TRY, NO_TRY)
        self._put_sums(plan, b"", b"")
        self._write_structure(slot, plan)
        for run, data in ((plan.kernel, kernel), (plan.initramfs, initramfs)):
            self._write_file(run, data, tick)
        self._esp.flush()
        self._verify_structure(slot, plan)
        for run, data in ((plan.kernel, kernel), (plan.initramfs, initramfs)):
            self._verify_file(run, data, tick)
        self._put_sums(plan, *Sums.of(kernel, initramfs).files())

    def try_once(self, slot: str) -> None:
        """Have the next start try ``slot``, once (5). Raises DeviceError, ReadBackError."""
        self._mark(TRY, {**NO_TRY, "try": slot})

    def prove(self, slot: str) -> bool:
        """``slot``, which must be whole, proved itself: it is started from now on.

        A power cut between the two marks is made good by the next call. Returns True where the
        proven slot changed.

        Raises:
            DeviceError, ReadBackError: both slots are whole by now, so GRUB starts a good one.
        """
        marks = self.marks()
        if marks.proven != slot:
            self._mark(PROVEN, {"slot": slot})
        if marks.tried == slot:
            self._mark(TRY, NO_TRY)
        return marks.proven != slot

    # --- places ---------------------------------------------------------------------------------

    def _cluster(self, number: int) -> int:
        return self._geometry.offset_of(number)

    def _plan(self, slot: str, kernel_size: int, initramfs_size: int) -> SlotPlan:
        return updater_slots.slot_plan(
            self._geometry, self._regions, slot, kernel_size, initramfs_size
        )

    def _check_places(self, expected: tuple[Entry, ...]) -> None:
        """Names, places and sizes are compared: other programs may note when they read a file."""
        geometry, control = self._geometry, self._regions.control.first
        if self._cluster(geometry.clusters + FIRST_CLUSTER) > self._esp.size:
            raise LayoutError(f"{self._esp.name}: its file system is larger than it is")
        top = fat32.parse_folder(self._read(geometry.root_cluster, geometry.cluster_size))
        found = fat32.parse_folder(self._read(control, geometry.cluster_size))
        if Entry(FOLDER, control, is_folder=True) not in top or not set(expected) <= set(found):
            raise LayoutError(
                f"{self._esp.name}: the updater's slots are not where they were made",
                hint="such an ESP is not written; make the disk again: bootsvc disk create",
            )

    def _entries(self, slot: str) -> tuple[Entry, ...]:
        first = self._regions.slots[slot].first
        return fat32.parse_folder(self._read(first, self._geometry.cluster_size))

    # --- reading --------------------------------------------------------------------------------

    def _read(self, cluster: int, length: int) -> bytes:
        return self._esp.read_at(self._cluster(cluster), length)

    def _file(self, entry: Entry) -> bytes:
        self._check_inside(entry)
        return self._read(entry.cluster, entry.size)

    def _sums_of(self, entry: Entry, tick: Tick) -> tuple[bytes, int]:
        """SHA-256 and CRC-32 of a file."""
        self._check_inside(entry)
        digest, crc, start = hashlib.sha256(), 0, self._cluster(entry.cluster)
        for at in range(0, entry.size, PIECE):
            data = self._esp.read_at(start + at, min(PIECE, entry.size - at))
            digest.update(data)
            crc = crc32(data, crc)
            tick(len(data))
        return digest.digest(), crc

    def _check_inside(self, entry: Entry) -> None:
        """A damaged folder must not lead out of the slots."""
        inside = any(
            run.first <= entry.cluster
            and self._cluster(entry.cluster) + entry.size <= self._cluster(run.end)
            for run in self._regions.slots.values()
        )
        if not inside:
            raise FormatError(f"{entry.name} lies outside its slot: the folder is damaged")

    def _values(self, name: str) -> dict[str, str]:
        try:
            return grub_env.parse(self._read(self._marks[name].first, grub_env.SIZE))
        except BootsvcError:
            return {}

    # --- writing --------------------------------------------------------------------------------

    def _mark(self, name: str, values: dict[str, str]) -> None:
        block = grub_env.build(values)
        room = round_up(grub_env.SIZE, self._esp.sector_size)
        self._put(self._cluster(self._marks[name].first), block.ljust(room, b"\0"))

    def _put_sums(self, plan: SlotPlan, sums: bytes, crcs: bytes) -> None:
        """Write both files of sums, which are neighbours, at once; zeros where they are empty."""
        size = self._geometry.cluster_size
        data = sums.ljust(plan.sums.count * size, b"\0") + crcs
        room = round_up(plan.sums.count * size + CRCS_SIZE, self._esp.sector_size)
        self._put(self._cluster(plan.sums.first), data.ljust(room, b"\0"))

    def _put(self, offset: int, data: bytes) -> None:
        self._esp.write_at(offset, data)
        self._esp.flush()
        self._expect(offset, data)

    def _expect(self, offset: int, data: bytes) -> None:
        if self._esp.read_at(offset, len(data)) != data:
            raise ReadBackError(
                f"{self._esp.name}: byte {offset} and following read back differently",
                hint="the disk is failing; replace it",
            )

    def _structure(self, run: Run, chains: bytes, folder: bytes) -> list[tuple[int, bytes]]:
        places = [(table + run.first * FAT_ENTRY_SIZE, chains) for table in self._geometry.tables]
        return [*places, (self._cluster(run.first), folder)]

    def _write_structure(self, slot: str, plan: SlotPlan) -> None:
        for place in self._structure(self._regions.slots[slot], plan.chains, plan.folder):
            self._esp.write_at(*place)

    def _verify_structure(self, slot: str, plan: SlotPlan) -> None:
        for place in self._structure(self._regions.slots[slot], plan.chains, plan.folder):
            self._expect(*place)

    def _write_file(self, run: Run, data: bytes, tick: Tick) -> None:
        for offset, piece in self._pieces(run, data):
            self._esp.write_at(offset, piece)
            tick(len(piece))

    def _verify_file(self, run: Run, data: bytes, tick: Tick) -> None:
        for offset, piece in self._pieces(run, data):
            self._expect(offset, piece)
            tick(len(piece))

    def _pieces(self, run: Run, data: bytes) -> list[tuple[int, bytes]]:
        """``data`` in whole sectors, in pieces of at most ``PIECE``."""
        start, unit = self._cluster(run.first), self._esp.sector_size
        pieces = []
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            pieces.append((start + at, piece.ljust(round_up(len(piece), unit), b"\0")))
        return pieces


def format_slots(esp: Device) -> SlotStore:
    """Lay out two empty slots, neither of them proven, on a volume that mkfs.vfat made just now.

    Raises:
        FormatError: it is no FAT32 volume.
        LayoutError: it is too small, or its clusters there are taken.
    """
    geometry = fat32.parse_geometry(esp.read_at(0, 512))
    regions = updater_slots.regions_of(geometry)
    chains, folder, marks = updater_slots.control_plan(geometry, regions)
    parts = [(regions.control, chains, folder)]
    for slot in SLOTS:
        plan = updater_slots.slot_plan(geometry, regions, slot, 0, 0)
        parts.append((regions.slots[slot], plan.chains, plan.folder))
    for run, chains, folder in parts:
        for table in geometry.tables:
            if any(esp.read_at(table + run.first * FAT_ENTRY_SIZE, len(chains))):
                raise LayoutError(f"{esp.name}: clusters from {run.first} on are taken already")
            esp.write_at(table + run.first * FAT_ENTRY_SIZE, chains)
        esp.write_at(geometry.offset_of(run.first), folder)
    for name, values in ((TRY, NO_TRY), (PROVEN, {"slot": ""})):
        block = grub_env.build(values).ljust(round_up(grub_env.SIZE, esp.sector_size), b"\0")
        esp.write_at(geometry.offset_of(marks[name].first), block)
    _add_to_top(esp, geometry, regions.control.first)
    _take_from_free_count(esp, geometry, sum(run.count for run, _, _ in parts))
    esp.flush()
    return SlotStore(esp)


def _add_to_top(esp: Device, geometry: fat32.Geometry, cluster: int) -> None:
    place = geometry.offset_of(geometry.root_cluster)
    top = esp.read_at(place, geometry.cluster_size)
    esp.write_at(place, fat32.with_entry(top, Entry(FOLDER, cluster, is_folder=True)))


def _take_from_free_count(esp: Device, geometry: fat32.Geometry, clusters: int) -> None:
    sector = bytearray(esp.read_at(geometry.free_count, geometry.sector_size))
    (free,) = struct.unpack_from("<I", sector, fat32.FREE_COUNT_OFFSET)
    if free != _UNKNOWN_COUNT:
        struct.pack_into("<I", sector, fat32.FREE_COUNT_OFFSET, free - clusters)
        esp.write_at(geometry.free_count, bytes(sector))


def is_kernel(head: bytes) -> bool:
    """Whether a file that begins so is an x86 Linux kernel (its boot protocol, 2.00 or later)."""
    return head[0x202:0x206] == b"HdrS"


def kernel_release(head: bytes) -> str:
    """The version in the first 64 KiB of an x86 kernel; empty where there is none."""
    if not is_kernel(head):
        return ""
    (pointer,) = struct.unpack_from("<H", head, 0x20E)
    text = head[pointer + 0x200 : pointer + 0x200 + 256].split(b"\0", 1)[0]
    return text.decode("ascii", "replace").split(" ", 1)[0]


def _slot_or_nothing(text: str) -> str:
    return text if text in SLOTS else ""
