"""The scenarios that are cut: a disk, what the OS asks for, and where it must all end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from bootsvc.formats.boot_status import Area, AreaRecord, AreaState, BootStatus, Phase, StatusCode
from bootsvc.sequence.records import enter
from bootsvc.sequence.states import Policy
from bootsvc.storage.disk import disk_on
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE, KIB
from tests.formats.tables import write_gpt
from tests.images import Image, like, make_image, padded, random_blocks
from tests.power_cut.disk import Base, SimulatedDisk, Snapshot
from tests.power_cut.oracle import CARRIES, ApprovedImage, End, Truth

BLOCKS = 64
CHUNK_SIZE = 8 * BLOCK_SIZE
"""Copies compare 8 blocks at once, so each makes at least 8 writes."""

AREA_SIZE = 72 * BLOCK_SIZE
STATUS_SIZE = COPY_OFFSETS[-1] + BLOCK_SIZE
FIRST_PART = 128 * KIB


def _parts() -> dict[str, range]:
    parts, at = {}, FIRST_PART
    for role, size in (("status", STATUS_SIZE), *((area, AREA_SIZE) for area in AREA_NAMES)):
        parts[role] = range(at, at + size)
        at += size
    return parts


AREA_NAMES = ("primary", "backup", "staging")
PARTS = _parts()
DISK_SIZE = PARTS["staging"].stop + 128 * KIB
COPIES = (PARTS["status"].start + COPY_OFFSETS[0], PARTS["status"].start + COPY_OFFSETS[1])


def _next_version(content: bytes, first: int, seed: int) -> bytes:
    """Two blocks of every chunk changed, so that a copy writes once in each chunk."""
    changed = {
        chunk * 8 + first + index: seed + 2 * chunk + index
        for chunk in range(8)
        for index in (0, 1)
    }
    return like(content, changed)


def _versions() -> dict[str, Image]:
    first = random_blocks(BLOCKS, seed=1)
    second = _next_version(first, 1, 100)
    third = _next_version(second, 4, 200)
    contents = (("v1", first), ("v2", second), ("v3", third))
    return {
        name: make_image(content, number=number, floor=number - 1)
        for number, (name, content) in enumerate(contents, 1)
    }


IMAGES = _versions()
APPROVED = tuple(
    ApprovedImage(
        name,
        padded(image.content),
        image.footer,
        hashlib.sha256(image.manifest_bytes).digest(),
    )
    for name, image in IMAGES.items()
)


@dataclass(frozen=True)
class StageImage:
    """The OS puts an image into staging and asks for the update.

    Attributes:
        repeats: an agent that goes on asking until the image is installed or failed; else the OS
            asks once, and forgets that after a power cut.
    """

    image: str
    repeats: bool = False


@dataclass(frozen=True)
class RollBack:
    """The operator asks once to go back to the image in backup."""

    repeats: bool = False


Ask = StageImage | RollBack


@dataclass(frozen=True)
class Scenario:
    """One story, as data.

    Attributes:
        about: what happens, in one line.
        first_disk: bytes of the disk before the first start, for a sector size in bytes.
        ask: what the OS that runs first asks for.
        rejects: images whose own health check rejects them; images neither good nor rejecting
            hang until the power is switched off.
        copies: the copying phases that the run without cuts goes through.
        proven, good, end, fallbacks, leaves, is_first, is_rotten, carries: see ``oracle.Truth``.
    """

    name: str
    about: str
    first_disk: Callable[[int], bytes]
    copies: tuple[str, ...]
    end: End
    fallbacks: tuple[End, ...] = ()
    ask: Ask | None = None
    proven: frozenset[str] = frozenset({"v1", "v2"})
    good: frozenset[str] = frozenset({"v1", "v2", "v3"})
    rejects: frozenset[str] = frozenset()
    leaves: str = ""
    is_first: bool = False
    is_rotten: bool = False
    carries: frozenset[str] = CARRIES
    policy: Policy = field(default_factory=Policy)
    sector_size: int = 512

    @cached_property
    def truth(self) -> Truth:
        """What the judge knows."""
        return Truth(
            APPROVED, PARTS, COPIES, self.proven, self.good, self.end, self.fallbacks,
            self.leaves, self.is_first, self.is_rotten, self.carries,
        )  # fmt: skip

    @cached_property
    def base(self) -> Base:
        """The disk before the first start."""
        return Base(self.first_disk(self.sector_size))


# --- disks --------------------------------------------------------------------------------------


def disk_with(sector_size: int, status: BootStatus | None, **held: str) -> bytes:
    """A partitioned disk: area name -> name of the image in it, and the record in both copies."""
    content = bytearray(DISK_SIZE)
    write_gpt(content, PARTS, sector_size)
    for area, name in held.items():
        where = PARTS[area]
        content[where.start : where.stop] = IMAGES[name].in_area(AREA_SIZE)
    if status is None:
        return bytes(content)
    device = SimulatedDisk(Snapshot(Base(bytes(content))), sector_size)
    disk = disk_on(device)
    disk.status.replace(replace(status, layout_hash=disk.gpt.layout_hash()))
    return device.content.read(0, device.size)


def area_record(name: str, state: AreaState) -> AreaRecord:
    """What the record says of an area with this image."""
    image = IMAGES[name]
    return AreaRecord(state, image.manifest.size, image.number, image.identity)


def settled_record(primary: str, backup: str) -> BootStatus:
    """IDLE, with a confirmed image and another one behind it."""
    return BootStatus(
        StatusCode.WORKING,
        Phase.IDLE,
        Area.PRIMARY,
        version_floor=IMAGES[primary].manifest.floor,
        primary=area_record(primary, AreaState.CONFIRMED),
        backup=area_record(backup, AreaState.VALID),
    )


def settled(sector_size: int) -> bytes:
    """v2 runs, v1 is behind it, staging still has the bytes of v2."""
    status = settled_record("v2", "v1")
    return disk_with(sector_size, status, primary="v2", backup="v1", staging="v2")


def delivered(sector_size: int) -> bytes:
    """A new disk: v1 in staging, nothing else."""
    status = BootStatus(
        StatusCode.WORKING,
        Phase.INSTALL,
        Area.NONE,
        staging=area_record("v1", AreaState.VALID),
    )
    return disk_with(sector_size, status, staging="v1")


def degraded(sector_size: int) -> bytes:
    """v1 runs from backup, because v2 in primary is no good."""
    status = enter(
        settled_record("v2", "v1"), Phase.DEGRADED, primary=area_record("v2", AreaState.BAD)
    )
    content = bytearray(disk_with(sector_size, status, primary="v2", backup="v1", staging="v2"))
    content[PARTS["primary"].start + BLOCK_SIZE] ^= 1
    return bytes(content)


# --- ends ---------------------------------------------------------------------------------------


def idle(name: str, primary: str, backup: str, **more: object) -> End:
    """IDLE with a confirmed image in primary; the floor is that of the image."""
    facts: dict[str, object] = {"floor": IMAGES[primary].manifest.floor} | more
    return End(
        name, 1, "IDLE", "primary", f"{primary} CONFIRMED", f"{backup} VALID", **facts  # type: ignore[arg-type]
    )  # fmt: skip


AS_BEFORE = idle("never asked", "v2", "v1")
ONLY_BEGUN = idle("staging begun, not finished, not asked again", "v2", "v1", staging="WRITING")
UPDATED = idle("updated", "v3", "v2")
THROWN_BACK = idle("thrown back", "v2", "v2", failed=("v3",))
TRIES_CUT_OFF = replace(THROWN_BACK, name="every try cut off: thrown back")

SCENARIOS = (
    Scenario(
        "update",
        "v2 runs; v3 is staged, installed, tried and confirmed",
        settled,
        ask=StageImage("v3"),
        copies=("staging", "backup", "copy"),
        end=UPDATED,
        fallbacks=(AS_BEFORE, ONLY_BEGUN, TRIES_CUT_OFF),
        leaves="v2",
    ),
    Scenario(
        "bad-image",
        "v3 is installed, rejects itself at every try, and v2 is restored",
        settled,
        ask=StageImage("v3"),
        good=frozenset({"v1", "v2"}),
        rejects=frozenset({"v3"}),
        copies=("staging", "backup", "copy", "restore"),
        end=THROWN_BACK,
        fallbacks=(AS_BEFORE, ONLY_BEGUN),
        leaves="v3",
        carries=CARRIES | {"RESTORE"},
    ),
)
BY_NAME = {one.name: one for one in SCENARIOS}
