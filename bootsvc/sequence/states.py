"""What one start knows: the record, and what each area was found to hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from bootsvc.formats.boot_status import NO_ID, NO_IDENTITY, Area, BootStatus, Reason


class Check(Enum):
    """How far an area has been looked at in this start."""

    UNSEEN = "not looked at yet"
    FOOTED = "its footer was read; the content was not"
    VERIFIED = "every byte was read and fits the signed digests"
    REFUSED = "no image, or one that may not be used; the reason says why"


@dataclass(frozen=True)
class Finding:
    """What this start found in one area; believed only as far as ``check`` says.

    Attributes:
        identity, number, size, floor: of the image's manifest (size in bytes).
        reason: why it was refused.
        unbootable: why it could not be handed over to in this start, or NONE.
        errno: the error number behind either, 0 where there is none.
    """

    check: Check = Check.UNSEEN
    identity: bytes = NO_IDENTITY
    number: int = 0
    size: int = 0
    floor: int = 0
    reason: Reason = Reason.NONE
    errno: int = 0
    unbootable: Reason = Reason.NONE

    @property
    def is_verified(self) -> bool:
        """Read in full in this start, and whole."""
        return self.check is Check.VERIFIED

    @property
    def is_refused(self) -> bool:
        """Looked at, and not to be used."""
        return self.check is Check.REFUSED


@dataclass(frozen=True)
class CopyFailure:
    """The last copy of this start failed: why, with which errno, in which area."""

    reason: Reason
    area: Area
    errno: int = 0


@dataclass(frozen=True)
class Crash:
    """Evidence that the start before this one ended badly.

    Attributes:
        event: 16 bytes that name this very event, so that it is counted once.
        reason: PANIC, WATCHDOG, or ROTTEN_BLOCK: a panic because a block of the running image
            differed from its digest.
    """

    event: bytes
    reason: Reason


@dataclass(frozen=True)
class Policy:
    """The site's settings that decisions depend on (DESIGN 9)."""

    tries: int = 3
    restore: bool = True
    restore_retries: int = 3
    crash_limit: int = 5


@dataclass(frozen=True)
class Observation:
    """All that ``decide`` may look at.

    Attributes:
        status: the record, None where it was lost.
        layout_hash: of the disk as it is partitioned now.
        failed_in_data: images that failed here by the list in data, newest first; asked for only
            where the record was lost.
        crash: evidence of a crash, None where there is none.
        copy_failure, copies_failed: of the copies tried since the record was last written.
        has_try: a trial start was recorded and not used yet.
        boot_once: the area that a request asked for in this start only.
        cannot_write: the record could not be written in this start.
        now_s: seconds since 1970, 0 where the clock is not to be believed.
        fresh_id: 16 random bytes for a new transaction.
    """

    status: BootStatus | None
    layout_hash: bytes = NO_IDENTITY
    primary: Finding = Finding()
    backup: Finding = Finding()
    staging: Finding = Finding()
    failed_in_data: tuple[bytes, ...] = ()
    crash: Crash | None = None
    policy: Policy = Policy()
    copy_failure: CopyFailure | None = None
    copies_failed: int = 0
    has_try: bool = False
    boot_once: Area = Area.NONE
    cannot_write: bool = False
    now_s: int = 0
    fresh_id: bytes = NO_ID

    def finding(self, area: Area) -> Finding:
        """What was found in ``area``, which is not NONE."""
        return {Area.PRIMARY: self.primary, Area.BACKUP: self.backup, Area.STAGING: self.staging}[
            area
        ]

    def with_finding(self, area: Area, finding: Finding) -> Observation:
        """The same observation with ``finding`` for ``area``."""
        return replace(self, **{area.name.lower(): finding})  # type: ignore[arg-type]
