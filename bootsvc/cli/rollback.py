"""``bootsvc rollback``: keeps the image that is left as a restore point, then asks (DESIGN 4)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.keeping import ROLLBACK, keep_area
from bootsvc.cli.output import show, show_note
from bootsvc.cli.parsing import disk_path

if TYPE_CHECKING:
    from bootsvc.os_side.machine import Machine


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
    from bootsvc.formats.boot_status import Area
    from bootsvc.settings import DEFAULT_PATH, load

    try:
        limit = load(args.settings or DEFAULT_PATH).restore_points
        # The image that this goes back to is the last that may be given up for a copy.
        spared = frozenset({machine.status.backup.identity})
        keep_area(machine, Area.PRIMARY, ROLLBACK, limit, args, spared=spared)
    except BootsvcError as exc:
        show_note(f"bootsvc: no restore point is kept, going back all the same: {exc}")
