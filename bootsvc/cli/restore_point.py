"""``bootsvc restore-point``: earlier versions in data are listed, kept, restored, removed (N17)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.keeping import BY_HAND, keep_area, own_data
from bootsvc.cli.output import progress, show, show_json, show_note
from bootsvc.cli.parsing import (
    Groups,
    add_keys,
    add_settings,
    disk_path,
    new_disk_command,
    new_group,
)
from bootsvc.cli.stage import load_accepted, put_into_staging, show_next
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.os_side.machine import Machine
    from bootsvc.os_side.restore_points import RestorePoint
    from bootsvc.storage.device import Device
    from bootsvc.storage.image_area import Footer

EXAMPLES = """\
A restore point is an earlier version in the data partition, kept as what it does not share with
the others. They are kept by rollbacks, before updates, and by hand; the oldest go (settings
restore_points and keep_before_update). A version is meant by its number, its label or the beginning
of its identity.
"""

LIST_TEXT = """\
examples:
  bootsvc restore-point list
  bootsvc restore-point list --verify
  bootsvc restore-point list --json | jq '.restore_points[].number'
"""

KEEP_TEXT = """\
The image in primary, if it proved itself. What is there already, and whole, is not written again.

examples:
  bootsvc restore-point keep
"""

RESTORE_TEXT = """\
Needs no network. All checks of bootsvc stage come first, the version floor among them: restoring is
installing. Then the ordinary sequence: backup, copy, trial. A version that is not confirmed is
thrown back. To look at one without installing it: bootsvc restore-point boot-once.

examples:
  bootsvc restore-point restore 1 && reboot
"""

BOOT_ONCE_TEXT = """\
Needs no network. It is written to staging and read back, under all checks of bootsvc stage; the
next start verifies it there and starts it. Primary and backup stay as they are, and the start after
it is primary's again. While it runs, nothing else can be staged.

examples:
  bootsvc restore-point boot-once 1 && reboot
"""

REMOVE_TEXT = """\
Without --yes nothing is removed: it is only shown what would go, and how much room that makes.

examples:
  bootsvc restore-point remove 1
  bootsvc restore-point remove 1 2 --yes
"""


def add_commands(groups: Groups) -> None:
    """Add the group ``restore-point``."""
    commands = new_group(
        groups, "restore-point", "earlier versions that this machine keeps", EXAMPLES
    )
    listed = new_disk_command(commands, "list", "list the restore points", LIST_TEXT)
    listed.add_argument(
        "--verify", action="store_true", help="read all of them, and check every byte"
    )
    listed.add_argument("--json", action="store_true", help="for programs")
    add_keys(listed)
    listed.set_defaults(run=run_list)

    keep = new_disk_command(
        commands, "keep", "keep the image in primary as a restore point", KEEP_TEXT
    )
    add_keys(keep)
    add_settings(keep)
    keep.set_defaults(run=run_keep)

    restore = new_disk_command(
        commands, "restore", "put a restore point into staging and ask for the update", RESTORE_TEXT
    )
    restore.add_argument(
        "version", metavar="VERSION", help="number, label, or identity's beginning"
    )
    restore.add_argument(
        "--again", action="store_true", help="take it although it failed on this machine before"
    )
    restore.add_argument(
        "--no-request", action="store_true", help="only put it there; do not ask for the update"
    )
    add_keys(restore)
    add_settings(restore)
    restore.set_defaults(run=run_restore)

    once = new_disk_command(
        commands, "boot-once", "start a restore point once, without installing it", BOOT_ONCE_TEXT
    )
    once.add_argument("version", metavar="VERSION", help="number, label, or identity's beginning")
    add_keys(once)
    add_settings(once)
    once.set_defaults(run=run_boot_once, no_request=True, again=False)

    remove = new_disk_command(commands, "remove", "remove restore points", REMOVE_TEXT)
    remove.add_argument(
        "versions", metavar="VERSION", nargs="+", help="number, label, or identity's beginning"
    )
    remove.add_argument("--yes", action="store_true", help="do it; otherwise it is only shown")
    remove.set_defaults(run=run_remove)


def run_list(args: argparse.Namespace) -> ExitCode:
    """List them, the newest first; with ``--verify`` read them in full."""
    from bootsvc.cli.status_report import restore_point_document, restore_point_text
    from bootsvc.os_side.restore_points import restore_points_in

    data = own_data(args)
    points = restore_points_in(data)
    problems = _problems(data, points, args) if args.verify else None
    if args.json:
        documents = [
            {
                **restore_point_document(one),
                "verifies": None if problems is None else not problems[number],
            }
            for number, one in enumerate(points)
        ]
        show_json({"schema": 1, "restore_points": documents})
    else:
        for number, one in enumerate(points):
            verdict = "" if problems is None else f"; {_verdict(problems[number])}"
            show(restore_point_text(one) + verdict)
        if not points:
            show("there is no restore point")
    return ExitCode.FAILED if problems and any(problems) else ExitCode.OK


def _problems(
    data: Path, points: tuple[RestorePoint, ...], args: argparse.Namespace
) -> tuple[str, ...]:
    from bootsvc.os_side.restore_points import problem_of
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.settings import KEYS_DIR

    keys = load_public_keys(args.keys or KEYS_DIR)
    problems = []
    for one in points:
        with progress(f"verify {one.name}", one.size) as bar:
            problems.append(problem_of(data, one, keys, bar.tick))
    return tuple(problems)


def _verdict(problem: str) -> str:
    return f"BAD: {problem}" if problem else "every byte is right"


def run_keep(args: argparse.Namespace) -> ExitCode:
    """Keep the image in primary."""
    from bootsvc.errors import SequenceError
    from bootsvc.formats.boot_status import Area, AreaState
    from bootsvc.os_side.machine import open_machine
    from bootsvc.settings import DEFAULT_PATH, load

    limit = load(args.settings or DEFAULT_PATH).restore_points
    with open_machine(disk_path(args), writable=True, on_wait=show_note) as machine:
        if machine.status.primary.state is not AreaState.CONFIRMED:
            raise SequenceError(
                "the image in primary has not proved itself", hint="confirm it: bootsvc confirm"
            )
        keep_area(machine, Area.PRIMARY, BY_HAND, limit, args)
    return ExitCode.OK


def run_restore(args: argparse.Namespace) -> ExitCode:
    """Put a restore point into staging and ask for the update."""
    accepted = load_accepted(args)
    with _opened_point(args) as (machine, name, source, footer):
        spared = frozenset({footer.identity})
        put_into_staging(machine, source, footer, name, accepted, args, spared=spared)
    show_next(args)
    return ExitCode.OK


def run_boot_once(args: argparse.Namespace) -> ExitCode:
    """Put a restore point into staging and ask the next start to start it from there."""
    from bootsvc.sequence.requests import check_staging_startable, staging_requested_once

    accepted = load_accepted(args)
    with _opened_point(args) as (machine, name, source, footer):
        check_staging_startable(machine.status, footer.identity)
        put_into_staging(machine, source, footer, name, accepted, args)
        machine.disk.status.replace(staging_requested_once(machine.disk.status.read()))
    show("the next start starts it once, the one after it primary again; to start now: reboot")
    return ExitCode.OK


@contextmanager
def _opened_point(args: argparse.Namespace) -> Iterator[tuple[Machine, str, Device, Footer]]:
    """This machine, and the restore point that is meant: its name, its image and its footer."""
    from bootsvc.os_side.machine import open_machine
    from bootsvc.os_side.restore_points import find_point, open_point, restore_points_in

    with open_machine(disk_path(args), writable=True, on_wait=show_note) as machine:
        data = own_data(args)
        point = find_point(restore_points_in(data), args.version)
        with open_point(data, point) as (source, footer):
            yield machine, point.name, source, footer


def run_remove(args: argparse.Namespace) -> ExitCode:
    """Show what would go, and remove it where that is asked for."""
    from bootsvc.cli.status_report import restore_point_text
    from bootsvc.os_side.machine import open_machine
    from bootsvc.os_side.restore_points import (
        find_point,
        freed_by,
        remove_points,
        restore_points_in,
    )

    with open_machine(disk_path(args), writable=args.yes, on_wait=show_note):
        data = own_data(args)
        points = restore_points_in(data)
        going = list(dict.fromkeys(find_point(points, one) for one in args.versions))
        freed = freed_by(data, going)
        if args.yes:
            remove_points(data, going)
    for one in going:
        show(restore_point_text(one))
    if args.yes:
        show(f"removed: {len(going)}, which makes room of {describe_size(freed)}")
    else:
        show(
            f"would be removed, which makes room of {describe_size(freed)}; nothing was: say --yes"
        )
    return ExitCode.OK
