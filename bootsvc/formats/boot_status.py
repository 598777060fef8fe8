"""The boot-status record: the image-update status code and what goes with it (S4.1-S4.5, DESIGN 3).

One 512-byte sector, little-endian. Field names are those of ``LAYOUT.md``.

    offset size field
         0    8 magic             "BOOTSVC" NUL
         8    2 format_version    1
        10    2 length            512
        12    1 status_code       1 working image, 2 backup image, 3 first start of a new image
        13    1 phase             why the code is what it is
        14    1 boot_area         the area that may be booted: 0 none, 1 primary, 2 backup
        15    1 request           what the next start is asked to do
        16    8 sequence          one higher with every write
        24    1 tries_left        trial starts that remain
        25    1 tries_allowed     trial starts that a new image gets
        26    1 restore_retries   restores that may still fail by I/O or digest
        27    1 crash_count       crashes of a confirmed image, or hangs of a phase's work
        28    4 reserved_a        zero; kept as it is
        32   16 transaction       id of the update under way or last done
        48   16 crash_event       id of the last crash counted
        64    8 version_floor     no image with a lower number may be installed
        72    8 progress          blocks done in this phase; a hint for people, never for decisions
        80   32 layout_hash       digest of the partition table that this record belongs to
       112   56 area primary  \\   state u8, 7 zero bytes, size u64, number u64,
       168   56 area backup    >  identity 32 bytes (SHA-256 of the manifest)
       224   56 area staging  /
       280   56 last_failure      phase u8, reason u8, area u8, 1 zero byte, errno u32,
                                  time_s u64, number u64, identity 32 bytes
       336  128 failed            identities of the last four images that failed here
       464   44 reserved_b        zero; kept as it is
       508    4 crc               CRC-32 of bytes 0..507
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from construct import (
    Array,
    Bytes,
    Const,
    ConstructError,
    Int8ul,
    Int16ul,
    Int32ul,
    Int64ul,
    Struct,
)

from bootsvc.errors import ChecksumError, FieldError, MagicError, TruncatedError
from bootsvc.formats._codec import crc32, parse_struct

RECORD_SIZE = 512
FORMAT_VERSION = 1
MAGIC = b"BOOTSVC\0"
NO_IDENTITY = bytes(32)
NO_ID = bytes(16)
FAILED_KEPT = 4
MAX_SEQUENCE = 1 << 63
"""Higher ones are refused, so that there is always a next one."""


class StatusCode(IntEnum):
    """The method's image-update status code (S4.2-S4.4)."""

    WORKING = 1
    BACKUP = 2
    FIRST_START = 3


class Phase(IntEnum):
    """Where in the sequence the machine is (DESIGN 4); CHECK, VERIFY and CONFIRM name failures."""

    UNKNOWN = 0
    INSTALL = 1
    IDLE = 2
    CHECK = 3
    BACKUP = 4
    COPY = 5
    VERIFY = 6
    TRIAL = 7
    CONFIRM = 8
    RESTORE = 9
    DEGRADED = 10
    ROLLBACK = 11
    ROT = 12
    HALT = 13


class Area(IntEnum):
    """A place for one image."""

    NONE = 0
    PRIMARY = 1
    BACKUP = 2
    STAGING = 3


class AreaState(IntEnum):
    """What the record says of an area; only a read proves it."""

    EMPTY = 0
    WRITING = 1
    VALID = 2
    CONFIRMED = 3
    BAD = 4


class Request(IntEnum):
    """What the running OS or a technician asks of the next start."""

    NONE = 0
    UPDATE = 1
    ROLLBACK = 2
    BOOT_BACKUP_ONCE = 3
    BOOT_STAGING_ONCE = 4


class Reason(IntEnum):
    """Why something failed; the words are in ``describe.py``."""

    NONE = 0
    NO_IMAGE = 1
    INCOMPLETE = 2
    ALTERED = 3
    SIZE_MISMATCH = 4
    TOO_LARGE = 5
    SIGNATURE = 6
    RETIRED_KEY = 7
    WRONG_MACHINE = 8
    BELOW_FLOOR = 9
    FAILED_BEFORE = 10
    IO_ERROR = 11
    READ_BACK = 12
    NOTHING_TO_FALL_BACK_TO = 13
    PRIMARY_CHANGED = 14
    KERNEL_REFUSED = 15
    NOT_CONFIRMED = 16
    RESTARTED = 17
    PANIC = 18
    WATCHDOG = 19
    CRASHES = 20
    BACKUP_BAD = 21
    RESTORE_OFF = 22
    STATUS_LOST = 23
    HEALTH_CHECK = 24
    SAME_IMAGE = 25
    BOOT_SECTION = 26
    ASKED_AT_CONSOLE = 27
    ROTTEN_BLOCK = 28


CODES_OF_PHASE: dict[Phase, tuple[StatusCode, ...]] = {
    Phase.INSTALL: (StatusCode.WORKING,),
    Phase.IDLE: (StatusCode.WORKING,),
    Phase.BACKUP: (StatusCode.WORKING,),
    Phase.COPY: (StatusCode.BACKUP,),
    Phase.TRIAL: (StatusCode.FIRST_START, StatusCode.BACKUP),
    Phase.RESTORE: (StatusCode.BACKUP,),
    Phase.DEGRADED: (StatusCode.BACKUP,),
    Phase.ROLLBACK: (StatusCode.BACKUP,),
    Phase.ROT: (StatusCode.BACKUP,),
    Phase.HALT: (StatusCode.WORKING, StatusCode.BACKUP),
}
"""The codes that may stand with each phase that is ever written to disk."""

AREAS_OF_CODE: dict[StatusCode, tuple[Area, ...]] = {
    StatusCode.WORKING: (Area.PRIMARY, Area.NONE),
    StatusCode.BACKUP: (Area.BACKUP, Area.NONE),
    StatusCode.FIRST_START: (Area.PRIMARY,),
}
"""The area that each code boots (S4.2-S4.4); none only in a phase of ``WITHOUT_AREA``."""

WHOLE = (AreaState.VALID, AreaState.CONFIRMED)
"""The states that the area to boot may have: written completely and read back (DESIGN 4)."""

WITHOUT_AREA = (Phase.INSTALL, Phase.HALT)
"""The phases in which there is nothing to boot."""

_AREA = Struct(
    "state" / Int8ul,
    "reserved" / Bytes(7),
    "size" / Int64ul,
    "number" / Int64ul,
    "identity" / Bytes(32),
)

_FAILURE = Struct(
    "phase" / Int8ul,
    "reason" / Int8ul,
    "area" / Int8ul,
    "reserved" / Bytes(1),
    "errno" / Int32ul,
    "time_s" / Int64ul,
    "number" / Int64ul,
    "identity" / Bytes(32),
)

LAYOUT = Struct(
    "magic" / Const(MAGIC),
    "format_version" / Int16ul,
    "length" / Int16ul,
    "status_code" / Int8ul,
    "phase" / Int8ul,
    "boot_area" / Int8ul,
    "request" / Int8ul,
    "sequence" / Int64ul,
    "tries_left" / Int8ul,
    "tries_allowed" / Int8ul,
    "restore_retries" / Int8ul,
    "crash_count" / Int8ul,
    "reserved_a" / Bytes(4),
    "transaction" / Bytes(16),
    "crash_event" / Bytes(16),
    "version_floor" / Int64ul,
    "progress" / Int64ul,
    "layout_hash" / Bytes(32),
    "primary" / _AREA,
    "backup" / _AREA,
    "staging" / _AREA,
    "last_failure" / _FAILURE,
    "failed" / Array(FAILED_KEPT, Bytes(32)),
    "reserved_b" / Bytes(44),
)
"""Bytes 0..507; the CRC-32 over them follows."""

_CRC = Struct("crc" / Int32ul)


@dataclass(frozen=True)
class AreaRecord:
    """What the record remembers of one area: its state, and the image's size (bytes), version
    number and identity."""

    state: AreaState = AreaState.EMPTY
    size: int = 0
    number: int = 0
    identity: bytes = NO_IDENTITY
    reserved: bytes = bytes(7)


@dataclass(frozen=True)
class Failure:
    """The last failure: in which phase, why, in which area, the kernel's error number or 0, when
    (seconds since 1970, 0 = unknown), and on which image."""

    phase: Phase = Phase.UNKNOWN
    reason: int = Reason.NONE
    area: Area = Area.NONE
    errno: int = 0
    time_s: int = 0
    number: int = 0
    identity: bytes = NO_IDENTITY
    reserved: bytes = bytes(1)


@dataclass(frozen=True)
class BootStatus:
    """The record of DESIGN 3; see the drawing above for every field."""

    status_code: StatusCode
    phase: Phase
    boot_area: Area
    request: Request = Request.NONE
    sequence: int = 0
    tries_left: int = 0
    tries_allowed: int = 3
    restore_retries: int = 3
    crash_count: int = 0
    transaction: bytes = NO_ID
    crash_event: bytes = NO_ID
    version_floor: int = 0
    progress: int = 0
    layout_hash: bytes = NO_IDENTITY
    primary: AreaRecord = AreaRecord()
    backup: AreaRecord = AreaRecord()
    staging: AreaRecord = AreaRecord()
    last_failure: Failure = Failure()
    failed: tuple[bytes, ...] = ()
    format_version: int = FORMAT_VERSION
    reserved_a: bytes = bytes(4)
    reserved_b: bytes = bytes(44)

    def area(self, area: Area) -> AreaRecord:
        """The record of ``area``, which is not NONE."""
        return {Area.PRIMARY: self.primary, Area.BACKUP: self.backup, Area.STAGING: self.staging}[
            area
        ]

    def with_failed(self, identity: bytes) -> BootStatus:
        """The same record with ``identity`` remembered as the newest that failed."""
        if identity == NO_IDENTITY:
            return self
        others = tuple(known for known in self.failed if known != identity)
        return replace(self, failed=(identity, *others)[:FAILED_KEPT])


def build(status: BootStatus) -> bytes:
    """The 512 bytes of ``status``, CRC included.

    Raises:
        FieldError: the record contradicts itself; nothing inconsistent is ever written.
    """
    _check(status)
    failed = (*status.failed, *(NO_IDENTITY,) * FAILED_KEPT)[:FAILED_KEPT]
    fields = vars(status) | {
        "length": RECORD_SIZE,
        "failed": list(failed),
        "primary": vars(status.primary),
        "backup": vars(status.backup),
        "staging": vars(status.staging),
        "last_failure": vars(status.last_failure),
    }
    try:
        body = bytes(LAYOUT.build(fields))
    except ConstructError as exc:
        raise FieldError(f"boot-status record: {exc}") from exc
    return body + bytes(_CRC.build({"crc": crc32(body)}))


def parse(sector: bytes) -> BootStatus:
    """The record in ``sector``, 512 bytes or more.

    Raises:
        TruncatedError: fewer than 512 bytes.
        MagicError: not a boot-status record.
        ChecksumError: the CRC does not fit.
        FieldError: a field out of range, an unknown format version, a code that does not fit.
    """
    if len(sector) < RECORD_SIZE:
        raise TruncatedError(f"boot-status record: {len(sector)} bytes instead of {RECORD_SIZE}")
    body, crc_bytes = sector[: RECORD_SIZE - 4], sector[RECORD_SIZE - 4 : RECORD_SIZE]
    if not body.startswith(MAGIC):
        raise MagicError("boot-status record: magic not found")
    if parse_struct(_CRC, crc_bytes, "boot-status record").crc != crc32(body):
        raise ChecksumError("boot-status record: CRC-32 does not fit bytes 0..507")
    fields = parse_struct(LAYOUT, body, "boot-status record")
    if fields.length != RECORD_SIZE:
        raise FieldError(f"boot-status record: length is {fields.length}, not {RECORD_SIZE}")
    try:
        status = BootStatus(
            status_code=StatusCode(fields.status_code),
            phase=Phase(fields.phase),
            boot_area=Area(fields.boot_area),
            request=Request(fields.request),
            sequence=fields.sequence,
            tries_left=fields.tries_left,
            tries_allowed=fields.tries_allowed,
            restore_retries=fields.restore_retries,
            crash_count=fields.crash_count,
            transaction=fields.transaction,
            crash_event=fields.crash_event,
            version_floor=fields.version_floor,
            progress=fields.progress,
            layout_hash=fields.layout_hash,
            primary=_area_record(fields.primary),
            backup=_area_record(fields.backup),
            staging=_area_record(fields.staging),
            last_failure=_failure(fields.last_failure),
            failed=tuple(one for one in fields.failed if one != NO_IDENTITY),
            format_version=fields.format_version,
            reserved_a=fields.reserved_a,
            reserved_b=fields.reserved_b,
        )
    except ValueError as exc:
        raise FieldError(f"boot-status record: {exc}") from exc
    _check(status)
    return status


def _area_record(fields: Struct) -> AreaRecord:
    return AreaRecord(
        AreaState(fields.state), fields.size, fields.number, fields.identity, fields.reserved
    )


def _failure(fields: Struct) -> Failure:
    return Failure(
        Phase(fields.phase),
        fields.reason,
        Area(fields.area),
        fields.errno,
        fields.time_s,
        fields.number,
        fields.identity,
        fields.reserved,
    )


def _check(status: BootStatus) -> None:
    """Raise FieldError unless the fields fit each other."""
    if status.format_version != FORMAT_VERSION:
        raise FieldError(f"boot-status record: format version {status.format_version} is unknown")
    if status.status_code not in CODES_OF_PHASE.get(status.phase, ()):
        raise FieldError(
            f"boot-status record: code {status.status_code:d} does not fit phase "
            f"{status.phase.name}"
        )
    if status.boot_area not in AREAS_OF_CODE[status.status_code]:
        raise FieldError(
            f"boot-status record: code {status.status_code:d} does not boot "
            f"{status.boot_area.name.lower()}"
        )
    if (status.boot_area is Area.NONE) != (status.phase in WITHOUT_AREA):
        raise FieldError(
            f"boot-status record: boot area {status.boot_area.name.lower()} does not fit phase "
            f"{status.phase.name}"
        )
    if status.boot_area is not Area.NONE and status.area(status.boot_area).state not in WHOLE:
        raise FieldError(
            f"boot-status record: boot area {status.boot_area.name.lower()} is "
            f"{status.area(status.boot_area).state.name}"
        )
    if not 0 <= status.sequence <= MAX_SEQUENCE:
        raise FieldError(f"boot-status record: sequence {status.sequence} is out of range")
    if status.tries_left > status.tries_allowed:
        raise FieldError("boot-status record: more tries left than allowed")
    last_try = status.phase is Phase.TRIAL and status.status_code is StatusCode.BACKUP
    if last_try and status.tries_left != 0:
        raise FieldError("boot-status record: code 2 in TRIAL with tries left")
    if len(status.failed) > FAILED_KEPT:
        raise FieldError(f"boot-status record: more than {FAILED_KEPT} failed identities")
