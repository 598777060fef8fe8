"""Observe, decide, perform, until there is something to boot or to halt for.

The only module of the sequence that touches a disk. It remembers nothing over a start: after a
power cut the next start observes anew. It never boots anything: it returns ``Boot`` or ``Halt``,
and is told by ``could_not_boot`` when a hand-over failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from bootsvc.errors import (
    AlteredImageError,
    BootsvcError,
    DeviceError,
    SequenceError,
    StatusLostError,
    StorageError,
)
from bootsvc.formats.boot_status import Area, BootStatus, Phase, Reason
from bootsvc.sequence.actions import Action, Boot, Copy, Halt, Look, Verify, Write
from bootsvc.sequence.checks import Site, check_installable, verify_whole
from bootsvc.sequence.decide import decide
from bootsvc.sequence.reasons import errno_of, reason_of
from bootsvc.sequence.states import Check, CopyFailure, Crash, Finding, Observation, Policy
from bootsvc.storage.device import CHUNK_SIZE
from bootsvc.storage.disk import Disk
from bootsvc.storage.image_area import (
    CopyCounts,
    Footer,
    copy_image,
    read_footer,
    verify_copy,
)

MAX_ACTIONS = 1000
"""Above the longest chain of the table (255 retries of 3 actions each, plus a few); a start that
needs more has met a bug."""


class Reporter(Protocol):
    """Hears what happens; must not raise, but for breaking off a ``Runner.check``."""

    def stage(self, name: str, **facts: object) -> None:
        """A phase of work begins."""

    def begin(self, work: str, total: int) -> None:
        """Work on ``total`` bytes begins."""

    def tick(self, count: int) -> None:
        """``count`` bytes of it are done."""

    def end(self, counts: CopyCounts | None = None) -> None:
        """It ended; ``counts`` are in bytes."""

    def say(self, text: str) -> None:
        """One plain sentence."""

    def decided(self, action: Action) -> None:
        """The table chose ``action``."""


@dataclass(frozen=True)
class Start:
    """What is known at the beginning of a start, apart from the record and the areas.

    Attributes:
        now_s: seconds since 1970, 0 where the clock is not to be believed.
        fresh_id: 16 random bytes for a new transaction.
        failed_in_data: the list of failed images in data; asked only where the record was lost.
        chunk_size: bytes that a copy compares at once, see ``copy_image``.
    """

    site: Site
    policy: Policy = field(default_factory=Policy)
    crash: Crash | None = None
    now_s: int = 0
    fresh_id: bytes = bytes(16)
    failed_in_data: Callable[[], tuple[bytes, ...]] = tuple
    chunk_size: int = CHUNK_SIZE


@dataclass
class Runner:
    """One start of the machine."""

    disk: Disk
    start: Start
    reporter: Reporter
    seen: Observation = field(init=False)
    _whole: dict[Area, tuple[Footer, bytes]] = field(init=False, default_factory=dict)
    _stage: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.seen = Observation(
            status=None,
            layout_hash=self.disk.gpt.layout_hash(),
            crash=self.start.crash,
            policy=self.start.policy,
            now_s=self.start.now_s,
            fresh_id=self.start.fresh_id,
        )
        self._read_status()

    @property
    def status(self) -> BootStatus | None:
        """The record as it stands now."""
        return self.seen.status

    def run(self) -> Boot | Halt:
        """Work until the table says to boot or to halt."""
        for _ in range(MAX_ACTIONS):
            action = decide(self.seen)
            self.reporter.decided(action)
            match action:
                case Boot() | Halt():
                    return action
                case Look(area):
                    self._look(area)
                case Verify(area, installing):
                    self._verify(area, installing=installing)
                case Write():
                    self._write(action)
                case Copy(source, target):
                    self._copy(source, target)
        raise AssertionError(f"no end after {MAX_ACTIONS} actions; the last was {action}")

    def could_not_boot(self, area: Area, error: BootsvcError) -> None:
        """The hand-over to ``area`` failed; the table decides what now."""
        self.reporter.say(f"cannot start {area.name.lower()}: {error}")
        finding = replace(
            self.seen.finding(area), unbootable=reason_of(error), errno=errno_of(error)
        )
        self.seen = replace(
            self.seen.with_finding(area, finding), has_try=False, boot_once=Area.NONE
        )

    # --- what a person at the console asks for ----------------------------------------------

    def check(self, area: Area, *, again: bool = False) -> Finding:
        """Read ``area`` in full now, whatever is known of it; the table decides by what is found.

        Staging is held against all that an installation asks for, so that nobody can install by
        way of the console what the table would refuse.

        Args:
            again: an image in staging that failed here before is no reason to refuse it.
        """
        self._read_whole(area, installing=area is Area.STAGING, again=again)
        return self.seen.finding(area)

    def ask(self, change: Callable[[Observation], BootStatus]) -> None:
        """Write the record that ``change`` makes of what is known; the table goes on from there.

        Raises:
            SequenceError: it does not fit, or there is no record to change; nothing was written.
            StorageError: the record cannot be written.
        """
        self.check_askable()
        self._write(Write(change(self.seen)))
        if self.seen.cannot_write:
            raise StorageError("the record could not be written", hint="replace the disk")

    def check_askable(self) -> None:
        """Raise as ``ask`` does where there is no record that could be written."""
        status = self.status
        if status is None:
            raise SequenceError("the record is lost", hint="go on: the sequence makes a new one")
        if status.layout_hash != self.seen.layout_hash:
            raise SequenceError(
                "the record belongs to another disk or partition table; it is never written to",
                hint="install the machine anew",
            )
        if self.seen.cannot_write:
            raise StorageError("the record cannot be written", hint="replace the disk")

    def look_afresh(self, *areas: Area) -> None:
        """Read the record again, and forget what is known of ``areas``: somebody else wrote there,
        or the disk may have come back."""
        for area in areas:
            self._whole.pop(area, None)
            self.seen = self.seen.with_finding(area, Finding())
        self.seen = replace(self.seen, status=None, cannot_write=False)
        self._read_status()

    # --- the record -------------------------------------------------------------------------

    def _read_status(self) -> None:
        """Read both copies and repair the worse one; no work begins before (DESIGN 3)."""
        store = self.disk.status
        try:
            status = store.read()
        except StatusLostError as exc:
            self.reporter.say(f"status lost: {exc}")
            self.seen = replace(self.seen, failed_in_data=self.start.failed_in_data())
            return
        self.seen = replace(self.seen, status=status)
        if status.layout_hash != self.seen.layout_hash:
            self.reporter.say("the record belongs to another disk or partition table")
            return
        try:
            if store.repair(status):
                self.reporter.say("one copy of the record was bad and has been repaired")
        except StorageError as exc:
            self._cannot_write(exc)

    def _write(self, action: Write) -> None:
        store = self.disk.status
        try:
            if action.reconstructs:
                written = store.reconstruct(action.status)
            else:
                written = store.replace(action.status)
        except StorageError as exc:
            if self.seen.status is None:
                self.seen = replace(self.seen, status=action.status)
            self._cannot_write(exc)
            return
        before = self.seen.status.phase if self.seen.status else Phase.UNKNOWN
        self.seen = replace(
            self.seen,
            status=written,
            has_try=action.takes_try,
            boot_once=action.boot_once,
        )
        if not action.keeps_copy_failure:
            self.seen = replace(self.seen, copy_failure=None, copies_failed=0)
        if action.takes_try:  # and one that failed before says nothing of this one
            primary = replace(self.seen.primary, unbootable=Reason.NONE)
            self.seen = self.seen.with_finding(Area.PRIMARY, primary)
        if written.phase is not before or action.takes_try:
            self._mark(written.phase.name.lower())

    def _cannot_write(self, error: StorageError) -> None:
        self.reporter.say(f"ALARM the record cannot be written: {error}")
        self.seen = replace(self.seen, cannot_write=True, has_try=False)

    # --- the areas --------------------------------------------------------------------------

    def _look(self, area: Area) -> None:
        try:
            footer = read_footer(self.disk.areas[area])
        except BootsvcError as exc:
            # One read that failed is no evidence against an image yet.
            self.reporter.say(f"{area.name.lower()} is read once more: {exc}")
            self._verify(area, installing=False)
        else:
            self._found(area, footer, Check.FOOTED)

    def _verify(self, area: Area, *, installing: bool) -> None:
        if installing:
            self._mark("check")
        self._read_whole(area, installing=installing)
        if installing and self.seen.finding(area).is_refused:
            self._mark("refused")

    def _read_whole(self, area: Area, *, installing: bool, again: bool = False) -> None:
        window = self.disk.areas[area]
        footer: Footer | None = None
        try:
            footer = read_footer(window)
            if installing:
                targets = (self.disk.areas[Area.PRIMARY], self.disk.areas[Area.BACKUP])
                check_installable(footer, self.start.site, self.status, targets, again=again)
            self.reporter.begin(f"verify {area.name.lower()}", footer.manifest.size)
            self._whole[area] = verify_whole(window, self.start.site, self.reporter.tick, footer)
            self.reporter.end()
        except BootsvcError as exc:
            self.reporter.end()
            self._refuse(area, exc, footer)
        else:
            self._found(area, footer, Check.VERIFIED)

    def _copy(self, source: Area, target: Area) -> None:
        """Copy by differing blocks, then read all of the target back."""
        footer, leaves = self._whole[source]
        windows = self.disk.areas
        work = {
            (Area.PRIMARY, Area.BACKUP): "backup",
            (Area.BACKUP, Area.PRIMARY): "restore",
        }.get((source, target), "copy")
        counts = CopyCounts()
        self._whole.pop(target, None)
        try:
            self._mark(work)
            self.reporter.begin(work, footer.manifest.size)
            copy_image(
                windows[source], windows[target], footer, leaves, counts, self.reporter.tick,
                chunk_size=self.start.chunk_size,
            )  # fmt: skip
            self.reporter.end(counts)
            self._mark("verify")
            self.reporter.begin("verify", footer.manifest.size)
            verify_copy(windows[target], footer, leaves, self.reporter.tick)
            self.reporter.end()
        except BootsvcError as exc:
            self.reporter.end()
            self.reporter.say(f"{work} failed: {exc}")
            self.seen = replace(
                self.seen.with_finding(target, Finding()),
                copy_failure=CopyFailure(
                    reason_of(exc),
                    source if _is_of(exc, windows[source].name) else target,
                    errno_of(exc),
                ),
                copies_failed=self.seen.copies_failed + 1,
            )
        else:
            self._whole[target] = footer, leaves
            self.seen = self.seen.with_finding(target, _finding(footer, Check.VERIFIED))

    def _found(self, area: Area, footer: Footer, check: Check) -> None:
        known = self.seen.finding(area)
        finding = _finding(footer, check)
        if known.unbootable:
            finding = replace(finding, unbootable=known.unbootable, errno=known.errno)
        self.seen = self.seen.with_finding(area, finding)

    def _mark(self, name: str) -> None:
        """Tell once that a stage began, with what the record says meanwhile."""
        status = self.seen.status
        if name == self._stage or status is None:
            return
        self._stage = name
        facts = {"code": int(status.status_code), "boot": status.boot_area.name.lower()}
        if name == "trial":
            facts["tries_left"] = status.tries_left
        self.reporter.stage(name, **facts)

    def _refuse(self, area: Area, error: BootsvcError, footer: Footer | None) -> None:
        self.reporter.say(f"{area.name.lower()} refused: {error}")
        known = _finding(footer, Check.REFUSED) if footer else Finding(Check.REFUSED)
        finding = replace(
            known,
            reason=reason_of(error),
            errno=errno_of(error),
            unbootable=self.seen.finding(area).unbootable,
        )
        self.seen = self.seen.with_finding(area, finding)


def _finding(footer: Footer, check: Check) -> Finding:
    manifest = footer.manifest
    return Finding(
        check,
        identity=footer.identity,
        number=manifest.number,
        size=manifest.size,
        floor=manifest.floor,
        reason=Reason.NONE,
    )


def _is_of(error: BootsvcError, source: str) -> bool:
    """Whether a failed copy is the fault of what it was copied from."""
    if isinstance(error, DeviceError):
        return error.device == source
    return isinstance(error, AlteredImageError)
