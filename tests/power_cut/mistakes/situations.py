"""Scenarios and disks in which mistakes show that no plain update brings to light.

The right code keeps every promise in them as well; ``mutants`` holds it to that.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from bootsvc.errors import DeviceError
from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    Failure,
    Phase,
    Reason,
    Request,
    build,
    parse,
)
from bootsvc.sequence.records import enter
from bootsvc.units import BLOCK_SIZE
from tests.images import random_blocks
from tests.power_cut.disk import SimulatedDisk
from tests.power_cut.scenarios import (
    AS_BEFORE,
    BY_NAME,
    COPIES,
    DEGRADED,
    HELD,
    IMAGES,
    KERNEL_BLOCK,
    ON_V1,
    ONLY_BEGUN,
    PARTS,
    THROWN_BACK,
    TRIES_CUT_OFF,
    UPDATED,
    V2_ON_V1,
    AtConsole,
    RollBack,
    Scenario,
    StageImage,
    area_record,
    disk_with,
    rotten,
    settled,
    with_stale_copy,
)
from tests.power_cut.truth import End

V1_V2_BLOCK = 9
"""A block in which v1 and v2 differ, and v2 and v3 agree."""

V2_V3_BLOCK = 12
"""A block in which v2 and v3 differ."""

V3_STAGED = area_record("v3", AreaState.VALID)
V2_STAGED = area_record("v2", AreaState.VALID)
UPDATE_ASKED = replace(
    V2_ON_V1, request=Request.UPDATE, transaction=bytes(range(16)), staging=V3_STAGED
)


def _rot(content: bytearray, area: str, *blocks: int) -> bytearray:
    for block in blocks:
        content[PARTS[area].start + block * BLOCK_SIZE] ^= 1
    return content


def _with_second_copy_lost(sector_size: int) -> bytearray:
    content = settled(sector_size)
    content[COPIES[1] : COPIES[1] + 512] = random_blocks(1, seed=12)[:512]
    return content


def _with_backup_rotten(sector_size: int) -> bytearray:
    return _rot(settled(sector_size), "backup", V1_V2_BLOCK)


def _degraded_and_refused(sector_size: int) -> bytearray:
    """The update to v3 was refused when backup could not be read, which has passed."""
    failure = Failure(Phase.CHECK, Reason.NOTHING_TO_FALL_BACK_TO, Area.BACKUP)
    status = enter(
        V2_ON_V1,
        Phase.DEGRADED,
        primary=area_record("v2", AreaState.BAD),
        staging=V3_STAGED,
        last_failure=failure,
    )
    return _rot(disk_with(sector_size, status, **HELD, staging="v3"), "primary", V1_V2_BLOCK)


def _with_primary_rotten_and_update(sector_size: int) -> bytearray:
    content = disk_with(sector_size, UPDATE_ASKED, **HELD, staging="v3")
    return _rot(content, "primary", V1_V2_BLOCK)


def _with_failed_image_asked(sector_size: int) -> bytearray:
    status = UPDATE_ASKED.with_failed(IMAGES["v3"].identity)
    return disk_with(sector_size, status, **HELD, staging="v3")


def _with_restore_begun(sector_size: int) -> bytearray:
    status = enter(
        V2_ON_V1.with_failed(IMAGES["v3"].identity),
        Phase.RESTORE,
        restore_retries=1,
        primary=area_record("v3", AreaState.BAD),
        backup=area_record("v2", AreaState.VALID),
    )
    return disk_with(sector_size, status, primary="v3", backup="v2")


def _kernel_rotten_and_same_staged(sector_size: int) -> bytearray:
    status = replace(V2_ON_V1, staging=V2_STAGED)
    return _rot(disk_with(sector_size, status, **HELD, staging="v2"), "primary", KERNEL_BLOCK)


def _kernel_rotten_and_other_staged(sector_size: int) -> bytearray:
    status = replace(V2_ON_V1, staging=V3_STAGED)
    return _rot(disk_with(sector_size, status, **HELD, staging="v3"), "primary", KERNEL_BLOCK)


def _with_v2_kept_in_staging(sector_size: int) -> bytearray:
    return disk_with(sector_size, replace(V2_ON_V1, staging=V2_STAGED), **HELD, staging="v2")


def _with_record_of_v1(sector_size: int) -> bytearray:
    """The record is of an earlier life of the disk: v1 in primary, at a high sequence."""
    status = replace(
        V2_ON_V1,
        sequence=STALE_SEQUENCE - 1,
        version_floor=STALE_FLOOR,
        primary=area_record("v1", AreaState.CONFIRMED),
    )
    return disk_with(sector_size, status, **HELD)


def _of_another_layout(sector_size: int) -> bytearray:
    """The record stands for another partition table, and has no backup."""
    content = disk_with(sector_size, replace(V2_ON_V1, backup=AreaRecord()), **HELD)
    status = parse(bytes(content[COPIES[0] : COPIES[0] + 512]))
    for at in COPIES:
        content[at : at + 512] = build(replace(status, layout_hash=b"\x5a" * 32))
    return content


STALE_SEQUENCE = 7
STALE_FLOOR = 5
NO_FAILED_ONE = replace(TRIES_CUT_OFF, name="thrown back, the disk is at fault", failed=())

SECOND_COPY_LOST = replace(
    BY_NAME["update"],
    name="update-second-copy-lost",
    about="the second copy of the record is garbage; v3 is staged",
    first_disk=_with_second_copy_lost,
)
SECOND_COPY_STALE = replace(
    BY_NAME["update"],
    name="update-second-copy-stale",
    about="the second copy of the record is an older one; v3 is staged",
    first_disk=with_stale_copy,
)
ROTTEN_BACKUP = Scenario(
    "rollback-to-rotten-backup",
    "the operator asks to go back to v1, which rotted in backup",
    _with_backup_rotten,
    ask=RollBack(),
    copies=(),
    end=replace(AS_BEFORE, name="refused", backup="v1 VALID, holds ?"),
)
RESTORE_OF_ROTTEN_BACKUP = replace(
    ROTTEN_BACKUP,
    name="restore-of-rotten-backup",
    about="a technician wants v1 restored, which rotted in backup",
    ask=AtConsole("restore", repeats=True),
)
ENOUGH_TO_FALL_BACK_TO = Scenario(
    "install-without-backup-for-nothing",
    "v1 runs from backup, which is whole; a technician wants v3, which hangs, with no backup",
    _degraded_and_refused,
    ask=AtConsole("install-without-backup"),
    good=frozenset({"v1", "v2"}),
    copies=(),
    end=replace(DEGRADED, staging="v3 VALID"),
)
ROTTEN_PRIMARY = Scenario(
    "update-of-rotten-primary",
    "v3 is to be installed, and v2 rotted in primary",
    _with_primary_rotten_and_update,
    copies=("copy",),
    end=replace(UPDATED, backup="v1 VALID"),
    fallbacks=(replace(ON_V1, name="every try cut off", failed=("v3",)),),
    rotten_until=1,
)
RESTORE_BEGUN = Scenario(
    "restore-one-retry",
    "v3 failed and v2 is restored from backup; the disk may fail once meanwhile",
    _with_restore_begun,
    copies=("restore",),
    end=THROWN_BACK,
    leaves="v3",
    carries=frozenset({"RESTORE"}),
)
AGENT_OF_BAD_IMAGE = replace(
    BY_NAME["bad-image"],
    name="bad-image-agent",
    about="v3 rejects itself; an agent stages it until it is installed or has failed",
    ask=StageImage("v3", repeats=True),
    fallbacks=(),
)
FAILED_IMAGE = Scenario(
    "failed-image-asked",
    "v3 failed here before; its installation is asked for all the same",
    _with_failed_image_asked,
    copies=(),
    end=replace(AS_BEFORE, name="refused", staging="v3 BAD", failed=("v3",)),
)
ROT_SAME_STAGED = replace(
    BY_NAME["rot-from-staging"],
    name="rot-of-one-block",
    about="one block of v2 rotted in primary, not its footer; v2 is kept in staging",
    first_disk=_kernel_rotten_and_same_staged,
)
ROT_OTHER_STAGED = Scenario(
    "rot-other-image-staged",
    "v2 rotted in primary; v3 is kept in staging and never ran",
    _kernel_rotten_and_other_staged,
    copies=("restore",),
    end=replace(ON_V1, staging="v3 VALID"),
    rotten_until=1,
)
STAGED_TWICE = replace(
    BY_NAME["update"],
    name="staged-twice",
    about="v2 is kept in staging; v3 is staged over it",
    first_disk=_with_v2_kept_in_staging,
    fallbacks=(
        replace(AS_BEFORE, staging="v2 VALID"),
        ONLY_BEGUN,
        TRIES_CUT_OFF,
    ),
)
ROLLBACK_WITH_STAGED = replace(
    BY_NAME["rollback"],
    name="rollback-from-staged",
    about="v2 runs and is kept in staging; the operator asks to go back to v1",
    first_disk=_with_v2_kept_in_staging,
    end=replace(ON_V1, name="rolled back", staging="v2 VALID"),
    fallbacks=(replace(AS_BEFORE, staging="v2 VALID"),),
)
STALE_RECORD = Scenario(
    "stale-record",
    "the record is of v1, primary holds v2; v2 starts on trial",
    _with_record_of_v1,
    copies=(),
    end=replace(AS_BEFORE, floor=STALE_FLOOR),
    fallbacks=(replace(ON_V1, name="every try cut off", floor=STALE_FLOOR, failed=("v2",)),),
    proven=frozenset({"v1"}),
    rotten_until=STALE_SEQUENCE,
)
OTHER_LAYOUT = Scenario(
    "other-layout",
    "the record belongs to another partition table, and has no backup",
    _of_another_layout,
    copies=(),
    end=replace(AS_BEFORE, name="left alone", backup="EMPTY"),
)

# --- disks that wear out -----------------------------------------------------------------------


class WornDisk(SimulatedDisk):
    """One sector keeps its old bytes; a write to it is reported as done, or refused."""

    worn = 0
    """The byte at which the worn sector begins."""

    refuses = False

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write all sectors but the worn one."""
        inside = self.worn - offset
        if 0 <= inside < len(data):
            if self.refuses:
                raise DeviceError(self.name, "write", offset, errno.EIO, os.strerror(errno.EIO))
            kept = self.content.read(self.worn, self.sector_size)
            data = bytes(data[:inside]) + kept + bytes(data[inside + self.sector_size :])
        super().write_at(offset, data)


class WornPrimary(WornDisk):
    """Writes to a sector of primary do not stick."""

    worn = PARTS["primary"].start + V2_V3_BLOCK * BLOCK_SIZE


class WornRecord(WornDisk):
    """Writes to the second copy of the record do not stick."""

    worn = COPIES[1]


class RefusingRecord(WornRecord):
    """Writes to the second copy of the record are refused."""

    refuses = True


UPDATE_ON_WORN_DISK = Scenario(
    "update-worn-primary",
    "v3 is staged; a sector of primary takes no writes; v2 is restored",
    settled,
    ask=StageImage("v3"),
    copies=("staging", "backup", "copy", "restore"),
    end=NO_FAILED_ONE,
    fallbacks=(AS_BEFORE, ONLY_BEGUN),
)
ROT_ON_WORN_RECORD = Scenario(
    "rot-worn-record",
    "v2 rotted in primary; the second copy of the record takes no writes; v1 runs from backup",
    rotten,
    copies=(),
    end=End("from backup", 2, "ROT", "backup", "v2 BAD, holds ?", "v1 VALID", floor=1),
    fallbacks=(ON_V1,),
    rotten_until=1,
    carries=frozenset(),
)
