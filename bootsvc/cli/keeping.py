"""Images of this machine are kept as restore points, by whichever command (N17)."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.output import progress, show, show_note
from bootsvc.cli.parsing import RUN_DIR, is_own_disk
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.formats.boot_status import Area
    from bootsvc.os_side.keep_restore_point import Kept
    from bootsvc.os_side.machine import Machine
    from bootsvc.settings import Settings

ROLLBACK, BEFORE_UPDATE, BY_HAND = "rollback", "before update", "by hand"
"""Why a restore point was kept."""


def own_data(args: argparse.Namespace) -> Path:
    """The data file system of the disk that is meant.

    Raises:
        StorageError: it is not this system's disk, or has no data that takes writes.
    """
    from bootsvc.errors import StorageError
    from bootsvc.os_side.restore_points import usable_data

    if not is_own_disk(args):
        raise StorageError(f"{args.disk}: not this system's disk, so its data is not at hand")
    data = usable_data(RUN_DIR)
    if data is None:
        raise StorageError(f"{RUN_DIR / 'data'}: no data partition takes writes in this start")
    return data


def keep_area(
    machine: Machine,
    area: Area,
    why: str,
    limit: int,
    args: argparse.Namespace,
    *,
    spared: frozenset[bytes] = frozenset(),
) -> Kept:
    """Keep the image in ``area`` as a restore point, and say what came of it.

    Args:
        limit: how many restore points there may be.
        spared: identities of restore points that must not go for it.

    Raises:
        BootsvcError: see ``keep_restore_point.keep``.
    """
    from bootsvc.os_side.keep_restore_point import Keeping, keep
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.settings import KEYS_DIR

    kept = keep(
        machine.disk.areas[area],
        machine.status.area(area).identity,
        load_public_keys(args.keys or KEYS_DIR),
        own_data(args),
        Keeping(why, limit, int(time.time()), spared),
        progress,
    )
    point = kept.point
    is_new = "kept as a restore point" if kept.is_new else "is a restore point already"
    show(
        f"number {point.number}, label {point.label}, {is_new}:"
        f" {describe_size(point.own_size)} of its own in data for {describe_size(point.size)};"
        f" to come back to it: bootsvc restore-point restore {point.number}"
    )
    for one in kept.removed:
        show(f"removed for it: {one.name}")
    if kept.trouble:
        show_note(f"bootsvc: the restore point is kept; afterwards: {kept.trouble}")
    return kept


def keep_before_update(
    machine: Machine,
    settings: Settings,
    goal: bytes,
    args: argparse.Namespace,
    *,
    spared: frozenset[bytes] = frozenset(),
) -> None:
    """Keep the image in backup, which the update to ``goal`` will overwrite with the one before.

    An update needs no restore point: trouble is only told, and where there is no data at hand not
    even that, for nothing was expected there.
    """
    from bootsvc.errors import BootsvcError
    from bootsvc.formats.boot_status import Area, AreaState, Phase
    from bootsvc.os_side.restore_points import usable_data

    status = machine.status
    backup = status.backup
    is_lost = (
        status.phase is Phase.IDLE
        and backup.state in (AreaState.VALID, AreaState.CONFIRMED)
        and backup.identity not in (status.primary.identity, goal)
    )
    is_at_hand = is_own_disk(args) and usable_data(RUN_DIR) is not None
    if not (settings.keep_before_update and is_lost and is_at_hand):
        return
    try:
        keep_area(machine, Area.BACKUP, BEFORE_UPDATE, settings.restore_points, args, spared=spared)
    except BootsvcError as exc:
        show_note(f"bootsvc: the image in backup is not kept, the update goes on: {exc}")
