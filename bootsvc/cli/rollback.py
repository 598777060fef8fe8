"""``bootsvc rollback``: keeps the image that is left as a restore point, then asks (DESIGN 4)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import progress, show, show_note
from bootsvc.cli.parsing import RUN_DIR, disk_path, is_own_disk
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.os_side.machine import Machine
    from bootsvc.os_side.restore_points import RestorePoint


def run_rollback(args: argparse.Namespace) -> ExitCode:
    """Keep the image in primary where there is room; ask the next start for the one in backup."""
    from bootsvc.formats.boot_status import Request
    from bootsvc.os_side.machine import open_machine
    from bootsvc.sequence.requests import rollback_requested

    with open_machine(disk_path(args), writable=True, on_wait=show_note) as machine:
        status = machine.status
        wanted = rollback_requested(status)
        if not args.no_restore_point:
            _keep_or_say_why_not(machine, args)
        if status.request is not Request.ROLLBACK:
            machine.disk.status.replace(wanted)
        backup = status.backup
    show(
        f"the next start goes back to number {backup.number} ({backup.identity.hex()[:12]}); "
        "to start now: reboot"
    )
    return ExitCode.OK


def _keep_or_say_why_not(machine: Machine, args: argparse.Namespace) -> None:
    """Whoever must go back needs that more than a copy of what is left: trouble is only told."""
    from bootsvc.errors import BootsvcError

    try:
        point = _keep(machine, args)
    except BootsvcError as exc:
        show_note(f"bootsvc: no restore point is kept, going back all the same: {exc}")
        return
    show(
        f"restore point: number {point.number}, label {point.label}, "
        f"{describe_size(point.size)}; to come back to it: bootsvc stage {point.path}"
    )


def _keep(machine: Machine, args: argparse.Namespace) -> RestorePoint:
    from bootsvc.errors import StorageError
    from bootsvc.formats.boot_status import Area
    from bootsvc.os_side.restore_points import keep, usable_data
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.settings import KEYS_DIR

    if not is_own_disk(args):
        raise StorageError(f"{args.disk}: not this system's disk, so its data is not at hand")
    data = usable_data(RUN_DIR)
    if data is None:
        raise StorageError(f"{RUN_DIR / 'data'}: no data partition takes writes in this start")
    return keep(
        machine.disk.areas[Area.PRIMARY],
        machine.status.primary.identity,
        load_public_keys(args.keys or KEYS_DIR),
        data,
        progress,
    )
