"""The scenarios that are cut: a disk, what the OS asks for, and where it must all end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
    StatusCode,
    build,
    parse,
)
from bootsvc.sequence.records import enter
from bootsvc.sequence.states import Crash, Policy
from bootsvc.storage.disk import disk_on
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE, KIB
from tests.formats.tables import write_gpt
from tests.images import Image, like, make_image, padded, random_blocks
from tests.power_cut.disk import Base, SimulatedDisk, Snapshot
from tests.power_cut.truth import CARRIES, ApprovedImage, End, Truth

BLOCKS = 64
CHUNK_SIZE = 8 * BLOCK_SIZE
"""Copies compare 8 blocks at once, so each makes at least 8 writes."""

KERNEL_BLOCK = 3
"""The block of an image that the hand-over loads, and holds against its digest before."""

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


IMAGES = _versions() | {"foreign": make_image(random_blocks(BLOCKS, 3), number=9, compatible="x")}
STORED = ("v1", "v2", "v3")
"""The images that the store has from which machines update by blocks."""

APPROVED = tuple(
    ApprovedImage(
        name,
        padded(image.content),
        image.footer,
        hashlib.sha256(image.manifest_bytes).digest(),
    )
    for name, image in _versions().items()
)
"""All images but the one for another machine type."""


@dataclass(frozen=True)
class StageImage:
    """The OS puts an image into staging and asks for the update.

    Attributes:
        repeats: an agent that goes on asking until the image is installed or failed; else the OS
            asks once, and forgets that after a power cut.
        by_blocks: the image comes block by block from a store whose first server sends wrong blocks
            (``block_store``); else from an image file.
    """

    image: str
    repeats: bool = False
    by_blocks: bool = False


@dataclass(frozen=True)
class RollBack:
    """The operator asks once to go back to the image in backup."""

    repeats: bool = False


@dataclass(frozen=True)
class StartOnce:
    """The operator has an earlier image put into staging, and started from there once."""

    image: str
    repeats: bool = False


@dataclass(frozen=True)
class AtConsole:
    """A technician asks at the console, before the sequence begins; see ``sequence.by_hand``.

    Attributes:
        wish: restore, abandon, retry, install-without-backup or install-over-nothing.
        repeats: asks again at every start in which the record still lets him; else only until the
            wish has begun to be recorded.
    """

    wish: str
    repeats: bool = False


Ask = StageImage | RollBack | StartOnce | AtConsole


@dataclass(frozen=True)
class Scenario:
    """One story, as data.

    Attributes:
        about: what happens, in one line.
        first_disk: bytes of the disk before the first start, for a sector size in bytes.
        ask: what the OS that runs first asks for, or a technician at the first start.
        rejects: images whose own health check rejects them; images neither good nor rejecting
            hang until the power is switched off.
        copies: the copying phases that the run without cuts goes through.
        crash: evidence that the machine keeps of how the start before the first one ended.
        proven, good, end, fallbacks, leaves, is_first, rotten_until, carries: see ``Truth``.
    """

    name: str
    about: str
    first_disk: Callable[[int], bytearray]
    copies: tuple[str, ...]
    end: End
    fallbacks: tuple[End, ...] = ()
    ask: Ask | None = None
    proven: frozenset[str] = frozenset({"v1", "v2"})
    good: frozenset[str] = frozenset({"v1", "v2", "v3"})
    rejects: frozenset[str] = frozenset()
    leaves: str = ""
    is_first: bool = False
    rotten_until: int = 0
    carries: frozenset[str] = CARRIES
    policy: Policy = field(default_factory=Policy)
    sector_size: int = 512
    crash: Crash | None = None

    @cached_property
    def truth(self) -> Truth:
        """What the judge knows."""
        return Truth(
            APPROVED, PARTS, COPIES, self.proven, self.good, self.end, self.fallbacks,
            self.leaves, self.is_first, self.rotten_until, self.carries,
        )  # fmt: skip

    @cached_property
    def base(self) -> Base:
        """The disk before the first start."""
        return Base(bytes(self.first_disk(self.sector_size)))


# --- disks --------------------------------------------------------------------------------------


def disk_with(sector_size: int, status: BootStatus | None, **held: str) -> bytearray:
    """A partitioned disk: area name -> name of the image in it, and the record in both copies."""
    content = bytearray(DISK_SIZE)
    write_gpt(content, PARTS, sector_size)
    for area, name in held.items():
        where = PARTS[area]
        content[where.start : where.stop] = IMAGES[name].in_area(AREA_SIZE)
    if status is None:
        return content
    device = SimulatedDisk(Snapshot(Base(bytes(content))), sector_size)
    disk = disk_on(device)
    disk.status.replace(replace(status, layout_hash=disk.gpt.layout_hash()))
    return bytearray(device.content.read(0, device.size))


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


V2_ON_V1 = settled_record("v2", "v1")
HELD = {"primary": "v2", "backup": "v1"}


def settled(sector_size: int) -> bytearray:
    """v2 runs, v1 is behind it, staging still has the bytes of v2."""
    return disk_with(sector_size, V2_ON_V1, **HELD, staging="v2")


def settled_with_blank_staging(sector_size: int) -> bytearray:
    """v2 runs, v1 is behind it, and nothing was ever staged."""
    return disk_with(sector_size, V2_ON_V1, **HELD)


def half_fetched(sector_size: int) -> bytearray:
    """v2 runs, v1 is behind it; v3 was being fetched into staging, where its first half stands."""
    status = replace(V2_ON_V1, staging=AreaRecord(AreaState.WRITING))
    content = disk_with(sector_size, status, **HELD)
    half, start = BLOCKS // 2 * BLOCK_SIZE, PARTS["staging"].start
    content[start : start + half] = IMAGES["v3"].content[:half]
    return content


def delivered(sector_size: int) -> bytearray:
    """A new disk: v1 in staging, nothing else."""
    staged = area_record("v1", AreaState.VALID)
    status = BootStatus(StatusCode.WORKING, Phase.INSTALL, Area.NONE, staging=staged)
    return disk_with(sector_size, status, staging="v1")


def degraded(sector_size: int) -> bytearray:
    """v1 runs from backup, because v2 in primary is no good."""
    bad = area_record("v2", AreaState.BAD)
    status = enter(V2_ON_V1, Phase.DEGRADED, primary=bad)
    content = disk_with(sector_size, status, **HELD, staging="v2")
    content[PARTS["primary"].start] ^= 1
    return content


def with_one_copy(sector_size: int) -> bytearray:
    """v2 runs, v1 is behind it, the first copy of the record is garbage."""
    content = settled(sector_size)
    content[COPIES[0] : COPIES[0] + 512] = random_blocks(1, seed=9)[:512]
    return content


def with_stale_copy(sector_size: int) -> bytearray:
    """v2 runs, v1 is behind it, the second copy of the record is older: v1 ran, with nothing
    behind it."""
    content = settled(sector_size)
    older = replace(
        settled_record("v1", "v1"),
        backup=AreaRecord(),
        layout_hash=parse(bytes(content[COPIES[0] : COPIES[0] + 512])).layout_hash,
    )
    content[COPIES[1] : COPIES[1] + 512] = build(older)
    return content


def without_record(sector_size: int) -> bytearray:
    """v2 in primary, v1 in backup, both copies of the record are garbage."""
    content = disk_with(sector_size, None, **HELD)
    for number, at in enumerate(COPIES):
        content[at : at + 512] = random_blocks(1, seed=10 + number)[:512]
    return content


def rotten(sector_size: int) -> bytearray:
    """v2 should run, but a block of every chunk of it rotted, the kernel's too; v1 is behind it."""
    return _rot_primary(settled_with_blank_staging(sector_size))


def rotten_in_one_block(sector_size: int) -> bytearray:
    """v2 runs, but one block of it rotted, and not the kernel's; v1 is behind it."""
    content = settled_with_blank_staging(sector_size)
    content[PARTS["primary"].start] ^= 1
    return content


def rotten_and_staged(sector_size: int) -> bytearray:
    """As ``rotten``, and the footer rotted as well; v2 is kept in staging."""
    status = replace(V2_ON_V1, staging=area_record("v2", AreaState.VALID))
    content = _rot_primary(disk_with(sector_size, status, **HELD, staging="v2"))
    for at in (len(IMAGES["v2"].footer), BLOCK_SIZE):
        content[PARTS["primary"].stop - at] ^= 1
    return content


def changed_and_asked(sector_size: int) -> bytearray:
    """v2 in primary was changed, though not its kernel; v3 is staged and asked for."""
    staged = area_record("v3", AreaState.VALID)
    status = replace(V2_ON_V1, request=Request.UPDATE, transaction=b"t" * 16, staging=staged)
    content = disk_with(sector_size, status, **HELD, staging="v3")
    content[PARTS["primary"].start] ^= 1
    return content


def failed_before(sector_size: int) -> bytearray:
    """v3 failed here, then v2 was installed over v1; staging has the bytes of v3."""
    status = replace(V2_ON_V1, failed=(IMAGES["v3"].identity,))
    return disk_with(sector_size, status, **HELD, staging="v3")


def on_trial(sector_size: int) -> bytearray:
    """v3 is on trial in primary, with two tries left; v2 is behind it."""
    status = enter(
        settled_record("v2", "v2"),
        Phase.TRIAL,
        tries_left=2,
        transaction=b"t" * 16,
        primary=area_record("v3", AreaState.VALID),
        staging=area_record("v3", AreaState.VALID),
    )
    return disk_with(sector_size, status, primary="v3", backup="v2", staging="v3")


def without_way_back(sector_size: int) -> bytearray:
    """v2 in primary and v1 in backup are altered; v3 is staged, and was refused for that."""
    failure = Failure(Phase.CHECK, Reason.NOTHING_TO_FALL_BACK_TO, Area.PRIMARY)
    staged = area_record("v3", AreaState.VALID)
    status = replace(V2_ON_V1, staging=staged, last_failure=failure)
    content = disk_with(sector_size, status, **HELD, staging="v3")
    for role in ("primary", "backup"):
        content[PARTS[role].start] ^= 1
    return content


def stuck(sector_size: int) -> bytearray:
    """v2 rotted in primary, its kernel too, and v1 in backup: nothing can be started. A technician
    has put v3 into staging, which failed here before."""
    status = replace(V2_ON_V1, failed=(IMAGES["v3"].identity,))
    content = _rot_primary(disk_with(sector_size, status, **HELD, staging="v3"))
    content[PARTS["backup"].start] ^= 1
    return content


def _rot_primary(content: bytearray) -> bytearray:
    for block in range(KERNEL_BLOCK, BLOCKS, 8):
        content[PARTS["primary"].start + block * BLOCK_SIZE] ^= 1
    return content


# --- ends ---------------------------------------------------------------------------------------

AS_BEFORE = End("as before", 1, "IDLE", "primary", "v2 CONFIRMED", "v1 VALID", floor=1)
ONLY_BEGUN = replace(AS_BEFORE, name="staging begun, and not asked again", staging="WRITING")
UPDATED = End("updated", 1, "IDLE", "primary", "v3 CONFIRMED", "v2 VALID", floor=2)
THROWN_BACK = End(
    "thrown back", 1, "IDLE", "primary", "v2 CONFIRMED", "v2 VALID", floor=1, failed=("v3",)
)
TRIES_CUT_OFF = replace(THROWN_BACK, name="every try cut off")
DEGRADED = End("degraded", 2, "DEGRADED", "backup", "v2 BAD, holds ?", "v1 VALID", floor=1)
ON_V1 = End("v1 alone", 1, "IDLE", "primary", "v1 CONFIRMED", "v1 VALID", floor=1)
HALTED = End("halted", 1, "HALT", "none", "v1 BAD", "EMPTY", failed=("v1",), starts=False)

UPDATE = Scenario(
    "update",
    "v2 runs; v3 is staged, installed, tried and confirmed",
    settled,
    ask=StageImage("v3"),
    copies=("staging", "backup", "copy"),
    end=UPDATED,
    fallbacks=(AS_BEFORE, ONLY_BEGUN, TRIES_CUT_OFF),
    leaves="v2",
)
BAD_IMAGE = Scenario(
    "bad-image",
    "v3 is installed and rejects itself at every try; v2 is restored",
    settled,
    ask=StageImage("v3"),
    good=frozenset({"v1", "v2"}),
    rejects=frozenset({"v3"}),
    copies=("staging", "backup", "copy", "restore"),
    end=THROWN_BACK,
    fallbacks=(AS_BEFORE, ONLY_BEGUN),
    leaves="v3",
    carries=CARRIES | {"RESTORE"},
)
SCENARIOS = (
    UPDATE,
    replace(UPDATE, name="update-4k", about="the same, sectors of 4096 bytes", sector_size=4096),
    BAD_IMAGE,
    replace(
        BAD_IMAGE,
        name="hanging-image",
        about="v3 is installed and hangs until its tries are used up; v2 is restored",
        rejects=frozenset(),
    ),
    replace(
        BAD_IMAGE,
        name="hanging-image-no-restore",
        about="the same with restoring switched off: v2 runs from backup from then on",
        rejects=frozenset(),
        policy=Policy(restore=False),
        copies=("staging", "backup", "copy"),
        end=End("degraded", 2, "DEGRADED", "backup", "v3 BAD", "v2 VALID", floor=1, failed=("v3",)),
    ),
    Scenario(
        "refused-image",
        "an image for another machine type is staged, checked and refused",
        settled,
        ask=StageImage("foreign"),
        copies=("staging",),
        end=replace(AS_BEFORE, name="refused", staging="? BAD"),
        fallbacks=(AS_BEFORE, ONLY_BEGUN),
    ),
    Scenario(
        "rollback",
        "v2 runs; the operator asks to go back to v1",
        settled,
        ask=RollBack(),
        copies=("restore",),
        end=replace(ON_V1, name="rolled back"),
        fallbacks=(AS_BEFORE,),
        leaves="v2",
    ),
    Scenario(
        "restore-point-once",
        "v2 runs; the operator has v1 started once from staging, and v2 runs again",
        settled,
        ask=StartOnce("v1"),
        copies=("staging",),
        end=replace(AS_BEFORE, name="started once", staging="v1 VALID"),
        fallbacks=(AS_BEFORE, ONLY_BEGUN),
    ),
    Scenario(
        "first-installation",
        "a delivered disk installs v1, tries it, and fills the backup",
        delivered,
        copies=("copy", "backup"),
        end=replace(ON_V1, name="installed", floor=0),
        fallbacks=(HALTED,),
        proven=frozenset(),
        is_first=True,
    ),
    Scenario(
        "update-degraded",
        "v1 runs from backup, primary is no good; v3 is staged and installed",
        degraded,
        ask=StageImage("v3"),
        copies=("staging", "copy"),
        end=replace(UPDATED, backup="v1 VALID"),
        fallbacks=(
            DEGRADED,
            replace(DEGRADED, name="staging begun, and not asked again", staging="WRITING"),
            replace(ON_V1, name="every try cut off", failed=("v3",)),
        ),
        leaves="v1",
    ),
    Scenario(
        "update-past-changed-primary",
        "primary was changed, so it is not backed up: v3 replaces it, v1 stays behind it",
        changed_and_asked,
        copies=("copy",),
        end=replace(UPDATED, backup="v1 VALID"),
        fallbacks=(replace(ON_V1, name="every try cut off", failed=("v3",)),),
        rotten_until=1,
    ),
    Scenario(
        "staging-resumed",
        "v2 runs; an agent stages v3, again after every cut, until it is installed",
        settled_with_blank_staging,
        ask=StageImage("v3", repeats=True),
        copies=("staging", "backup", "copy"),
        end=UPDATED,
        fallbacks=(TRIES_CUT_OFF,),
        leaves="v2",
    ),
    Scenario(
        "block-update",
        "v2 runs; an agent goes on to fetch v3 from a store by blocks, again after every cut",
        half_fetched,
        ask=StageImage("v3", repeats=True, by_blocks=True),
        copies=("staging", "backup", "copy"),
        end=UPDATED,
        fallbacks=(TRIES_CUT_OFF,),
        leaves="v2",
    ),
    Scenario(
        "repair-first-copy",
        "one copy of the record is garbage and is repaired",
        with_one_copy,
        copies=(),
        end=AS_BEFORE,
    ),
    Scenario(
        "repair-stale-copy",
        "the second copy of the record is an older one and is repaired",
        with_stale_copy,
        copies=(),
        end=AS_BEFORE,
    ),
    Scenario(
        "record-lost",
        "both copies of the record are garbage; v2 starts on trial, v1 is behind it",
        without_record,
        copies=(),
        end=AS_BEFORE,
        fallbacks=(replace(ON_V1, name="every try cut off", failed=("v2",)),),
        proven=frozenset({"v1"}),
    ),
    Scenario(
        "rot-from-backup",
        "v2 rotted in primary; v1 is restored from backup",
        rotten,
        copies=("restore",),
        end=ON_V1,
        rotten_until=1,
    ),
    Scenario(
        "rot-met-while-running",
        "v2 met a rotten block of its own and panicked; v1 is restored from backup",
        rotten_in_one_block,
        copies=("restore",),
        end=ON_V1,
        rotten_until=1,
        crash=Crash(b"met a rotten one", Reason.ROTTEN_BLOCK),
    ),
    Scenario(
        "rot-from-staging",
        "v2 rotted in primary; it is repaired from staging",
        rotten_and_staged,
        copies=("copy",),
        end=AS_BEFORE,
        rotten_until=1,
    ),
    Scenario(
        "restore-by-hand",
        "v2 runs; a technician wants v1 back, and v2 not to come again",
        settled,
        ask=AtConsole("restore"),
        copies=("restore",),
        end=replace(ON_V1, name="restored", failed=("v2",)),
        fallbacks=(AS_BEFORE,),
        leaves="v2",
        carries=CARRIES | {"RESTORE"},
    ),
    Scenario(
        "restore-by-hand-degraded",
        "v1 runs from backup; a technician has primary restored from it",
        degraded,
        ask=AtConsole("restore"),
        copies=("restore",),
        end=replace(ON_V1, name="restored"),
        fallbacks=(DEGRADED,),
        carries=CARRIES | {"RESTORE"},
    ),
    Scenario(
        "abandon-trial",
        "v3 is on trial; a technician gives it up and v2 is restored",
        on_trial,
        ask=AtConsole("abandon"),
        copies=("restore",),
        end=THROWN_BACK,
        fallbacks=(UPDATED,),
        leaves="v3",
        carries=CARRIES - {"TRIAL"} | {"RESTORE"},
    ),
    Scenario(
        "retry-failed-image",
        "v3 failed here; a technician has it installed from staging once more",
        failed_before,
        ask=AtConsole("retry"),
        copies=("backup", "copy"),
        end=UPDATED,
        fallbacks=(replace(AS_BEFORE, failed=("v3",)), TRIES_CUT_OFF),
        leaves="v2",
    ),
    Scenario(
        "install-without-backup",
        "primary and backup are altered; a technician has v3 installed with nothing behind it",
        without_way_back,
        ask=AtConsole("install-without-backup", repeats=True),
        copies=("copy", "backup"),
        end=replace(UPDATED, backup="v3 VALID"),
        fallbacks=(replace(HALTED, primary="v3 BAD", failed=("v3",)),),
        proven=frozenset(),
        is_first=True,
        rotten_until=1,
    ),
    Scenario(
        "install-over-nothing",
        "neither primary nor backup can be started; a technician has v3 installed from elsewhere",
        stuck,
        ask=AtConsole("install-over-nothing", repeats=True),
        copies=("copy", "backup"),
        end=replace(UPDATED, backup="v3 VALID"),
        fallbacks=(replace(HALTED, primary="v3 BAD", failed=("v3",)),),
        proven=frozenset(),
        is_first=True,
        rotten_until=1,
    ),
)
BY_NAME = {one.name: one for one in SCENARIOS}
