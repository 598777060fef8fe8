"""The boot loader and the judge of the updater's slots: raw bytes, ``struct`` and ``zlib``.

Nothing here is imported from bootsvc. ``Grub`` does what the menu's commands do (disk/boot_menu.py)
on a FAT32 volume that it reads by itself; ``clauses`` say what was promised and is not so.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tests.power_cut.disk import PAGE_SIZE, SimulatedDisk, Snapshot

MAGIC = b"# GRUB Environment Block\n"
BLOCK = 1024
SLOTS = ("a", "b")
NOTHING = "nothing"
UNKNOWN = "what nobody approved"


class Volume:
    """Files of a FAT32 volume, by path; the first table counts."""

    def __init__(self, content: Snapshot) -> None:
        self._content = content
        self._sectors: dict[int, bytes] = {}
        head = content.read(0, 512)
        self.sector, self._cluster_sectors, reserved, tables = struct.unpack_from("<HBHB", head, 11)
        (self._table_sectors,) = struct.unpack_from("<I", head, 36)
        (self._root,) = struct.unpack_from("<I", head, 44)
        self.tables = [
            (reserved + number * self._table_sectors) * self.sector for number in range(tables)
        ]
        self._data: int = (reserved + tables * self._table_sectors) * self.sector
        self.cluster: int = self._cluster_sectors * self.sector

    def offset(self, cluster: int) -> int:
        """Where a cluster begins."""
        return self._data + (cluster - 2) * self.cluster

    def chain(self, first: int) -> list[int]:
        """The clusters of a file; a chain that does not end is cut off."""
        found: list[int] = []
        while 2 <= first < 0x0FFFFFF8 and len(found) < 10_000:
            found.append(first)
            number, entry = divmod(first, self.sector // 4)
            sector = self._sectors.get(number)
            if sector is None:
                at = self.tables[0] + number * self.sector
                sector = self._sectors[number] = self._content.read(at, self.sector)
            first = struct.unpack_from("<I", sector, 4 * entry)[0] & 0x0FFFFFFF
        return found

    def _bytes(self, clusters: list[int]) -> bytes:
        """What stands in these clusters; neighbours are read at once."""
        if clusters and clusters == list(range(clusters[0], clusters[0] + len(clusters))):
            return self._content.read(self.offset(clusters[0]), len(clusters) * self.cluster)
        return b"".join(self._content.read(self.offset(one), self.cluster) for one in clusters)

    def entries(self, cluster: int) -> dict[str, tuple[int, int]]:
        """Names of a folder -> first cluster and bytes."""
        raw = self._bytes(self.chain(cluster))
        found = {}
        for at in range(0, len(raw), 32):
            if raw[at] == 0:
                break
            base, extension = (
                raw[at : at + 8].decode("latin1"),
                raw[at + 8 : at + 11].decode("latin1"),
            )
            name = f"{base.strip()}.{extension.strip()}".strip(".").lower()
            high, low, size = struct.unpack_from("<H4xHI", raw, at + 20)
            found[name] = (high << 16 | low, size)
        return found

    def find(self, path: str) -> tuple[list[int], int] | None:
        """Clusters and bytes of the file at ``path``; None where there is none."""
        cluster, size = self._root, 0
        for name in path.strip("/").split("/"):
            found = self.entries(cluster).get(name)
            if found is None:
                return None
            cluster, size = found
        return self.chain(cluster), size

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None where it is missing or its chain too short."""
        found = self.find(path)
        if found is None or len(found[0]) * self.cluster < found[1]:
            return None
        return self._bytes(found[0])[: found[1]]


@dataclass(frozen=True)
class Marks:
    """What GRUB's variables hold once both marks are read."""

    slot: str
    to_try: str
    tried: str


def marks_of(volume: Volume) -> Marks:
    """The marks; what is not a or b is empty."""
    found = {}
    for name in ("proven.env", "try.env"):
        block = volume.read(f"/bootsvc/{name}") or b""
        if block.startswith(MAGIC):
            for line in block[len(MAGIC) :].split(b"\n")[:-1]:
                key, equals, value = line.decode("latin1").partition("=")
                if equals and not key.startswith("#"):
                    found[key] = value if value in SLOTS else ""
    return Marks(found.get("slot", ""), found.get("try", ""), found.get("tried", ""))


def holds(volume: Volume, slot: str) -> tuple[bytes, bytes] | None:
    """Kernel and initramfs of a slot that GRUB would start; None where the sums do not fit."""
    files = [volume.read(f"/bootsvc/{slot}/{name}") for name in ("vmlinuz", "initrd.img")]
    sums = volume.read(f"/bootsvc/{slot}/crc32.sum")
    if sums is None or files[0] is None or files[1] is None:
        return None
    wanted = (
        f"{zlib.crc32(files[0]):08x}  vmlinuz\n{zlib.crc32(files[1]):08x}  initrd.img\n".encode()
    )
    return (files[0], files[1]) if sums == wanted else None


class Grub:
    """The default entry of the boot menu."""

    def __init__(self, disk: SimulatedDisk, *, forgets_the_mark: bool = False) -> None:
        self._disk = disk
        self._forgets = forgets_the_mark

    def start(self) -> str:
        """Take the mark away, where there is one; returns the slot that is started, or empty."""
        volume = Volume(self._disk.content)
        marks = marks_of(volume)
        first = marks.slot or ("b" if marks.tried == "a" else "a")
        if marks.to_try:
            first = marks.to_try
            if not self._forgets:
                self._take(volume, first)
        other = SLOTS[1 - SLOTS.index(first)]
        return next((slot for slot in (first, other) if holds(volume, slot)), "")

    def _take(self, volume: Volume, slot: str) -> None:
        """As save_env does it: in place, and nobody flushes."""
        found = volume.find("/bootsvc/try.env")
        assert found is not None
        block = (MAGIC + f"try=\ntried={slot}\n".encode()).ljust(BLOCK, b"#")
        at, unit = volume.offset(found[0][0]), volume.sector
        behind = self._disk.content.read(at + BLOCK, -BLOCK % unit)
        self._disk.write_at(at, block + behind)


Versions = Mapping[tuple[bytes, bytes], str]
"""Approved kernels with their initramfs -> name; bad ones begin with ``bad``."""


def version_in(volume: Volume, slot: str, versions: Versions) -> str:
    """The version that a slot holds; NOTHING where GRUB would not start it."""
    files = holds(volume, slot) if slot else None
    return NOTHING if files is None else versions.get(files, UNKNOWN)


def next_version(content: Snapshot, sector_size: int, versions: Versions) -> str:
    """What a start on this disk would run, without changing it."""
    slot = Grub(SimulatedDisk(content, sector_size)).start()
    return version_in(Volume(content), slot, versions)


def clause_startable(content: Snapshot, sector_size: int, versions: Versions) -> str:
    """Some whole slot is started, and only what was approved."""
    version = next_version(content, sector_size, versions)
    return f"{version} would be started" if version in (NOTHING, UNKNOWN) else ""


def clause_proven(before: Snapshot, after: Snapshot) -> str:
    """No byte of the slot that was the proven one changes, of its folder or its part of the
    tables."""
    for at in _changed(before, after):
        for offset, length in _proven_places(before):
            if offset <= at < offset + length:
                return f"byte {at} changed, which belongs to the proven slot"
    return ""


@lru_cache(maxsize=16)
def _proven_places(content: Snapshot) -> list[tuple[int, int]]:
    """Offset and length of all that belongs to the proven slot: its clusters are neighbours."""
    volume = Volume(content)
    slot = marks_of(volume).slot
    if not slot:
        return []
    clusters = [
        cluster
        for path in ("", "/sha256.sum", "/crc32.sum", "/vmlinuz", "/initrd.img", "/room")
        for cluster in (volume.find(f"/bootsvc/{slot}{path}") or ([], 0))[0]
    ]
    first, count = min(clusters), len(clusters)
    places = [(table + 4 * first, 4 * count) for table in volume.tables]
    return [*places, (volume.offset(first), count * volume.cluster)]


def _changed(before: Snapshot, after: Snapshot) -> list[int]:
    """The first changed byte of each changed 512 bytes."""
    found = []
    for number in before.pages.keys() | after.pages.keys():
        if before.pages.get(number) is after.pages.get(number):
            continue
        for at in range(number * PAGE_SIZE, (number + 1) * PAGE_SIZE, 512):
            old, new = before.read(at, 512), after.read(at, 512)
            if old != new:
                found.append(at + next(i for i in range(512) if old[i] != new[i]))
    return found
