"""What a console may find: machines in a named state, as facts."""

from __future__ import annotations

from dataclasses import replace

from bootsvc.console.facts import AreaFacts, Facts
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
)
from bootsvc.formats.describe import describe_failure, next_start, why_next_start

OLD, NEW = bytes.fromhex("0f" * 32), bytes.fromhex("2b" * 32)
CLOCK_S = 1_795_317_000  # 2026-11-22 03:10:00 UTC


def record(**changes: object) -> BootStatus:
    healthy = BootStatus(
        StatusCode.WORKING,
        Phase.IDLE,
        Area.PRIMARY,
        sequence=41,
        transaction=bytes(range(16)),
        version_floor=5,
        primary=AreaRecord(AreaState.CONFIRMED, 64 << 20, 7, NEW),
        backup=AreaRecord(AreaState.VALID, 64 << 20, 6, OLD),
    )
    return replace(healthy, **changes)  # type: ignore[arg-type]


def facts_with(status: BootStatus, **changes: object) -> Facts:
    failed = status.last_failure
    facts = Facts(
        bootsvc="0.1.0",
        slot="a",
        compatible="kiosk-2",
        disk="/dev/vda",
        problem="",
        status=status,
        next=next_start(status),
        why=why_next_start(status),
        last_failure=describe_failure(failed) if failed.reason else "",
        last_failure_at_s=failed.time_s,
        areas=(
            AreaFacts("primary", "confirmed", 7, "2.4.1", NEW.hex(), "site", "footed"),
            AreaFacts("backup", "valid", 6, "2.4.0", OLD.hex(), "site", "verified"),
            AreaFacts("staging", "empty", problem="no image was found there", check="refused"),
        ),
        failed=tuple(one.hex() for one in status.failed),
        watchdog="guards the updater's work, resets this machine after 300 s without progress",
        clock_s=CLOCK_S,
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


HEALTHY = facts_with(record())

ON_TRIAL = facts_with(
    record(
        status_code=StatusCode.FIRST_START,
        phase=Phase.TRIAL,
        request=Request.NONE,
        tries_left=1,
        primary=AreaRecord(AreaState.VALID, 64 << 20, 8, b"8" * 32),
        last_failure=Failure(
            Phase.TRIAL, Reason.WATCHDOG, Area.PRIMARY, 0, CLOCK_S - 600, 8, b"8" * 32
        ),
    ),
    areas=(
        AreaFacts("primary", "valid", 8, "2.5.0", (b"8" * 32).hex(), "site", "footed"),
        *HEALTHY.areas[1:],
    ),
    mirror="https://images.example/kiosk",
)

HALTED = facts_with(
    record(
        status_code=StatusCode.BACKUP,
        phase=Phase.HALT,
        boot_area=Area.NONE,
        primary=AreaRecord(AreaState.BAD, 64 << 20, 7, NEW),
        backup=AreaRecord(AreaState.BAD, 64 << 20, 6, OLD),
        last_failure=Failure(Phase.RESTORE, Reason.BACKUP_BAD, Area.BACKUP, 5, 0, 6, OLD),
        failed=(NEW,),
    ),
    problem="the backup does not verify",
    next="stay in this console",
    why="the backup does not verify",
    areas=(
        AreaFacts(
            *("primary", "bad", 7, "2.4.1", NEW.hex(), "site", "refused"),
            "the image's bytes differ from its signed digests",
        ),
        AreaFacts("backup", "bad", check="refused", problem="the disk reported an I/O error"),
        AreaFacts("staging", "empty", check="refused", problem="no image was found there"),
    ),
    alarms=("one copy of the record cannot be written",),
    clock_s=0,
)

NO_DISK = Facts(
    bootsvc="0.1.0",
    slot="",
    compatible="kiosk-2",
    disk="",
    problem="no disk with bootsvc's partitions",
    status=None,
    next="stay in this console",
    why="no disk with bootsvc's partitions",
)

LOST = replace(
    HEALTHY,
    status=None,
    next="look at both areas and start what verifies",
    why="the boot-status record was lost",
    areas=tuple(replace(one, state="unknown") for one in HEALTHY.areas),
)

MACHINES = {
    "healthy": HEALTHY,
    "on-trial": ON_TRIAL,
    "halted": HALTED,
    "no-disk": NO_DISK,
    "record-lost": LOST,
}
