"""A machine without hardware: a disk in memory, the real runner, and an OS that obeys the test."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bootsvc.errors import BootsvcError
from bootsvc.formats.boot_status import Area, AreaRecord, AreaState, BootStatus, Phase, StatusCode
from bootsvc.sequence import requests
from bootsvc.sequence.actions import Action, Boot, Halt
from bootsvc.sequence.checks import Site
from bootsvc.sequence.runner import Runner, Start
from bootsvc.sequence.states import Crash, Policy
from bootsvc.storage.disk import Disk, disk_on
from bootsvc.storage.image_area import CopyCounts
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE, KIB, MIB
from tests.formats.tables import write_gpt
from tests.images import COMPATIBLE, KEY, Image, like, make_image, random_blocks
from tests.storage.memory import MemoryDevice

AREA_SIZE = 128 * KIB
STAGING_SIZE = 192 * KIB
STATUS_SIZE = COPY_OFFSETS[-1] + BLOCK_SIZE


def _parts() -> dict[str, range]:
    sizes = (STATUS_SIZE, AREA_SIZE, AREA_SIZE, STAGING_SIZE)
    parts, at = {}, MIB // 8
    for role, size in zip(("status", "primary", "backup", "staging"), sizes, strict=True):
        parts[role] = range(at, at + size)
        at += size
    return parts


PARTS = _parts()
WHERE = {
    Area.PRIMARY: PARTS["primary"],
    Area.BACKUP: PARTS["backup"],
    Area.STAGING: PARTS["staging"],
}
DISK_SIZE = PARTS["staging"].stop + 64 * KIB

V1 = make_image(random_blocks(18, seed=1), number=1)
V2 = make_image(
    like(V1.content, {1: 21, 4: 22, 5: 23, 9: 24, 13: 25}) + random_blocks(1, 26), number=2, floor=1
)
V3 = make_image(like(V2.content, {0: 31, 3: 32, 9: 33, 16: 34}), number=3, floor=2)
"""Three versions that differ in some blocks, so that a copy makes several writes."""

SITE = Site((KEY.public(),), COMPATIBLE)


@dataclass
class QuietReporter:
    """Keeps what it hears."""

    actions: list[Action] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    counts: list[CopyCounts] = field(default_factory=list)

    def stage(self, name: str, **facts: object) -> None:
        """Ignored."""

    def begin(self, work: str, total: int) -> None:
        """Ignored."""

    def tick(self, count: int) -> None:
        """Ignored."""

    def end(self, counts: CopyCounts | None = None) -> None:
        if counts is not None:
            self.counts.append(counts)

    def say(self, text: str) -> None:
        self.sentences.append(text)

    def decided(self, action: Action) -> None:
        self.actions.append(action)


@dataclass(frozen=True)
class Started:
    """What a power-on came to: the last word of the table, and what ran on the way."""

    outcome: Boot | Halt
    actions: tuple[Action, ...]
    sentences: tuple[str, ...]
    counts: tuple[CopyCounts, ...]


def nobody_there(_: Runner) -> None:
    """No technician does anything."""


def cannot_start_nothing(_: Area) -> BootsvcError | None:
    return None


@dataclass
class Machine:
    """A machine that is switched off; ``power_on`` runs one start of it."""

    device: MemoryDevice
    site: Site = SITE
    policy: Policy = field(default_factory=Policy)
    crash: Crash | None = None
    failed_in_data: tuple[bytes, ...] = ()
    cannot_start: Callable[[Area], BootsvcError | None] = cannot_start_nothing
    starts: int = 0
    running: requests.Started | None = None

    @property
    def disk(self) -> Disk:
        return disk_on(self.device)

    @property
    def record(self) -> BootStatus:
        return self.disk.status.read()

    @property
    def shape(self) -> tuple[StatusCode, Phase, Area]:
        """Code, phase and boot area of the record."""
        return self.record.status_code, self.record.phase, self.record.boot_area

    def power_on(self, by_hand: Callable[[Runner], None] = nobody_there) -> Started:
        """One start of the updater, up to hand-over or halt.

        Args:
            by_hand: what a technician does at the console before the sequence begins.
        """
        self.starts += 1
        reporter = QuietReporter()
        fresh_id = hashlib.sha256(self.starts.to_bytes(2, "little")).digest()[:16]
        start = Start(
            self.site,
            self.policy,
            self.crash,
            now_s=1000,
            fresh_id=fresh_id,
            failed_in_data=lambda: self.failed_in_data,
        )
        runner = Runner(self.disk, start, reporter)
        by_hand(runner)
        outcome = runner.run()
        while isinstance(outcome, Boot) and (error := self.cannot_start(outcome.area)):
            runner.could_not_boot(outcome.area, error)
            outcome = runner.run()
        self.running = None
        if isinstance(outcome, Boot):
            self.running = requests.Started(
                outcome.area,
                runner.seen.finding(outcome.area).identity,
                runner.status.transaction if runner.status else bytes(16),
            )
        return Started(
            outcome, tuple(reporter.actions), tuple(reporter.sentences), tuple(reporter.counts)
        )

    # --- what the running OS does ---------------------------------------------------------------

    def os_confirms(self) -> None:
        store = self.disk.status
        status = store.read()
        assert self.running is not None
        floor = next((one.manifest.floor for one in (V1, V2, V3) if self.runs(one)), 0)
        changed = requests.confirmed(status, self.running, floor)
        if changed != status:
            store.replace(changed)

    def os_stages(self, image: Image, *, again: bool = False) -> None:
        """Put ``image`` into staging and ask for it; the OS side looks at nothing else here."""
        store = self.disk.status
        store.replace(requests.staging_begun(store.read()))
        staging = self.disk.areas[Area.STAGING]
        data = image.in_area(staging.size)
        for at in range(0, staging.size, staging.size // 4):
            staging.write_at(at, data[at : at + staging.size // 4])
        staging.flush()
        staged = AreaRecord(AreaState.VALID, image.manifest.size, image.number, image.identity)
        transaction = uuid.uuid5(uuid.NAMESPACE_DNS, image.identity.hex()).bytes
        store.replace(requests.update_requested(store.read(), staged, transaction, again=again))

    def os_rolls_back(self) -> None:
        store = self.disk.status
        store.replace(requests.rollback_requested(store.read()))

    def change_record(self, **changes: object) -> None:
        """Write a record of the test's own making."""
        store = self.disk.status
        store.replace(replace(store.read(), **changes))  # type: ignore[arg-type]

    # --- the disk from outside ------------------------------------------------------------------

    def put(self, area: Area, image: Image) -> None:
        self.overwrite(area, 0, image.in_area(len(WHERE[area])))

    def overwrite(self, area: Area, at: int, data: bytes) -> None:
        """Change bytes of an area behind everybody's back."""
        start = WHERE[area].start + at
        self.device.bytes[start : start + len(data)] = data

    def flip(self, area: Area, at: int) -> None:
        """Flip one bit of an area."""
        self.device.bytes[WHERE[area].start + at] ^= 1

    def area_bytes(self, area: Area) -> bytes:
        return bytes(self.device.bytes[WHERE[area].start : WHERE[area].stop])

    def status_bytes(self) -> bytes:
        return bytes(self.device.bytes[PARTS["status"].start : PARTS["status"].stop])

    def holds(self, area: Area, image: Image) -> bool:
        """Whether ``area`` holds every byte of ``image`` and of its footer."""
        return is_whole(self.area_bytes(area), image)

    def runs(self, image: Image) -> bool:
        return self.running is not None and self.running.identity == image.identity


def is_whole(area: bytes, image: Image) -> bool:
    """The oracle: plain comparison of bytes, no digest involved."""
    return area.startswith(image.content) and area.endswith(image.footer)


def blank_disk() -> bytearray:
    disk = bytearray(DISK_SIZE)
    write_gpt(disk, PARTS)
    return disk


BLANK = bytes(blank_disk())


def new_machine(image: Image = V1) -> Machine:
    """A machine as delivered: nothing in the areas, ``image`` staged for the first start."""
    machine = Machine(MemoryDevice(BLANK))
    machine.put(Area.STAGING, image)
    staged = AreaRecord(AreaState.VALID, image.manifest.size, image.number, image.identity)
    disk = machine.disk
    disk.status.reconstruct(
        BootStatus(
            StatusCode.WORKING,
            Phase.INSTALL,
            Area.NONE,
            staging=staged,
            layout_hash=disk.gpt.layout_hash(),
        )
    )
    machine.device.log.clear()
    return machine


def settled_machine(image: Image = V1, backup: Image | None = None) -> Machine:
    """A machine that runs ``image``, confirmed, with ``backup`` (default the same) behind it."""
    backup = backup or image
    machine = Machine(MemoryDevice(BLANK))
    machine.put(Area.PRIMARY, image)
    machine.put(Area.BACKUP, backup)
    disk = machine.disk
    disk.status.reconstruct(
        BootStatus(
            StatusCode.WORKING,
            Phase.IDLE,
            Area.PRIMARY,
            version_floor=image.manifest.floor,
            layout_hash=disk.gpt.layout_hash(),
            primary=area_record(image, AreaState.CONFIRMED),
            backup=area_record(backup, AreaState.VALID),
        )
    )
    machine.device.log.clear()
    return machine


def area_record(image: Image, state: AreaState) -> AreaRecord:
    return AreaRecord(state, image.manifest.size, image.number, image.identity)
