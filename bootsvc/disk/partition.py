"""Where everything lies on a bootsvc disk (DESIGN 2), and the partition table that says so.

`plan` is pure: sizes in, offsets out. `write_table` has sfdisk put the result on a disk file.
All sizes and offsets are bytes; every partition starts and ends on a whole MiB.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

from bootsvc.disk.tools import run_tool
from bootsvc.errors import LayoutError
from bootsvc.formats.gpt import NAMES, TYPE_GUIDS
from bootsvc.units import MIB, describe_size, round_up

ALIGNMENT = MIB
BIOS_GRUB_SIZE = 1 * MIB
STATUS_SIZE = 4 * MIB
DEFAULT_ESP_SIZE = 96 * MIB
DEFAULT_AREA_SIZE = 64 * MIB
DEFAULT_DATA_SIZE = 64 * MIB
MIN_AREA_SIZE = 1 * MIB
MIN_DATA_SIZE = 8 * MIB
"""Below this mkfs.ext4 leaves no room for a journal."""
MAX_DISK_SIZE = 8 << 40
"""8 TiB: a slip of a suffix is caught before it is tried."""

SECTOR_SIZES = (512, 4096)

FAT32_CLUSTERS = 65525
"""The fewest clusters that make a FAT file system FAT32 (Microsoft's FAT specification)."""


@dataclass(frozen=True)
class PlannedPartition:
    """One partition: what it is for (`role`), its GPT name and GUIDs, and its place in bytes."""

    role: str
    name: str
    type_guid: str
    guid: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind the partition."""
        return self.offset + self.size


@dataclass(frozen=True)
class DiskLayout:
    """A whole disk: its size and sector size in bytes, its GUID, its partitions in order."""

    size: int
    sector_size: int
    disk_guid: str
    partitions: tuple[PlannedPartition, ...]

    def __getitem__(self, role: str) -> PlannedPartition:
        """Return the partition with this role."""
        for partition in self.partitions:
            if partition.role == role:
                return partition
        raise KeyError(role)

    def number(self, role: str) -> int:
        """Return the partition's number, counted from 1 as GRUB and sfdisk do."""
        return self.partitions.index(self[role]) + 1

    @property
    def boots_from_bios(self) -> bool:
        """Whether a BIOS can start it: GRUB's first sector counts in 512-byte sectors only."""
        return self.sector_size == 512


def guid_for(role: str, seed: str | None) -> str:
    """Return a random GUID, or with `seed` the one that this seed always gives for `role`."""
    if seed is None:
        return str(uuid.uuid4())
    digest = hashlib.sha256(f"bootsvc disk {seed} {role}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def smallest_esp(sector_size: int) -> int:
    """Return the least size of an ESP that is still FAT32, in bytes."""
    # One cluster is at least one sector; two FATs of four bytes a cluster and 32 reserved sectors.
    return round_up(FAT32_CLUSTERS * (sector_size + 8) + 32 * sector_size, ALIGNMENT)


def plan(
    *,
    area_size: int = DEFAULT_AREA_SIZE,
    esp_size: int | None = None,
    data_size: int | None = None,
    size: int | None = None,
    sector_size: int = 512,
    seed: str | None = None,
) -> DiskLayout:
    """Lay out a disk; sizes are rounded up to whole MiB.

    Args:
        area_size: bytes of each of the three image areas; all are equal, or an image that fits one
            would not fit another.
        esp_size: bytes; default 96 MiB, or the least that FAT32 allows with this sector size.
        data_size: bytes; default 64 MiB, or what `size` leaves.
        size: bytes of the whole disk; default: as much as the partitions need.
        sector_size: logical sector size, 512 or 4096.
        seed: makes all GUIDs the same each time (for tests); None draws random ones.

    Raises:
        LayoutError: a size is out of range, or the partitions do not fit into `size`.
    """
    if sector_size not in SECTOR_SIZES:
        raise LayoutError(f"sector size {sector_size}: only 512 and 4096 exist")
    least_esp = smallest_esp(sector_size)
    if esp_size is None:
        esp_size = max(DEFAULT_ESP_SIZE, least_esp)
    _at_least("ESP", esp_size, least_esp, "--esp-size")
    _at_least("image area", area_size, MIN_AREA_SIZE, "--area-size")
    sizes = {
        "bios-grub": BIOS_GRUB_SIZE,
        "esp": round_up(esp_size, ALIGNMENT),
        "status": STATUS_SIZE,
        "primary": round_up(area_size, ALIGNMENT),
        "backup": round_up(area_size, ALIGNMENT),
        "staging": round_up(area_size, ALIGNMENT),
    }
    # One MiB in front holds MBR and GPT, one behind holds the spare GPT.
    around = 2 * ALIGNMENT
    if data_size is None:
        rest = 0 if size is None else size // ALIGNMENT * ALIGNMENT - around - sum(sizes.values())
        data_size = DEFAULT_DATA_SIZE if size is None else rest
        if data_size < MIN_DATA_SIZE:
            least = around + sum(sizes.values()) + MIN_DATA_SIZE
            raise LayoutError(
                f"a disk of {describe_size(size or 0)} is too small: these partitions need"
                f" {describe_size(least)}",
                hint="give a larger --size or smaller --area-size",
            )
    _at_least("data", data_size, MIN_DATA_SIZE, "--data-size")
    sizes["data"] = round_up(data_size, ALIGNMENT)
    needed = around + sum(sizes.values())
    if size is None:
        size = needed
    if needed > size:
        raise LayoutError(
            f"the partitions need {describe_size(needed)}, the disk has {describe_size(size)}",
            hint="give a larger --size, or leave it out",
        )
    if size > MAX_DISK_SIZE:
        raise LayoutError(f"a disk of {describe_size(size)} is larger than bootsvc ever makes")
    partitions = []
    offset = ALIGNMENT
    for role, length in sizes.items():
        partitions.append(
            PlannedPartition(
                role, NAMES[role], TYPE_GUIDS[role], guid_for(role, seed), offset, length
            )
        )
        offset += length
    return DiskLayout(
        size // ALIGNMENT * ALIGNMENT, sector_size, guid_for("disk", seed), tuple(partitions)
    )


def _at_least(what: str, size: int, least: int, option: str) -> None:
    if size < least:
        raise LayoutError(
            f"{what}: {describe_size(size)} is too small, it needs {describe_size(least)}",
            hint=f"give a larger {option}",
        )


def sfdisk_script(layout: DiskLayout) -> str:
    """Return the layout as sfdisk's script; it counts in sectors."""
    sector = layout.sector_size
    lines = [
        "label: gpt",
        f"label-id: {layout.disk_guid}",
        "unit: sectors",
        "",
    ]
    lines += [
        f"start={part.offset // sector}, size={part.size // sector}, type={part.type_guid},"
        f' uuid={part.guid}, name="{part.name}"'
        for part in layout.partitions
    ]
    return "\n".join(lines) + "\n"


def write_table(path: Path, layout: DiskLayout) -> None:
    """Put the partition table on the disk file `path`, which has the layout's size.

    Raises:
        ToolError: sfdisk (or fdisk, for 4096-byte sectors) is missing or failed.
    """
    script = sfdisk_script(layout)
    if layout.sector_size == 512:
        run_tool(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path], stdin=script)
        return
    # sfdisk takes the sector size of a file to be 512; only fdisk can be told another (util-linux
    # 2.38 to 2.41). It reads the same script.
    script_path = path.with_name(path.name + ".sfdisk")
    script_path.write_text(script)
    try:
        run_tool(
            ["fdisk", "-b", str(layout.sector_size), "--wipe", "never", path],
            stdin=f"I\n{script_path}\nw\n",
        )
    finally:
        script_path.unlink()
