"""The commands of the running OS: status, stage, confirm, reject, rollback, verify."""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import progress, show, show_json, show_note
from bootsvc.cli.parsing import (
    RUN_DIR,
    Groups,
    add_keys,
    add_settings,
    disk_path,
    is_own_disk,
    new_disk_command,
)
from bootsvc.cli.rollback import run_rollback
from bootsvc.cli.stage import run_stage

if TYPE_CHECKING:
    from bootsvc.formats.boot_status import Area, BootStatus
    from bootsvc.os_side.machine import Machine
    from bootsvc.sequence.checks import Site
    from bootsvc.sequence.requests import Started
    from bootsvc.storage.image_area import Footer

HELPERS_DIR = Path("/usr/lib/bootsvc")
SANE_CLOCK_S = 1_700_000_000
"""A clock that shows less was never set."""

AREA_NAMES = ("primary", "backup", "staging")
REASONS = ("not-confirmed", "health-check")

STAGE_TEXT = """\
Checks come first: signature, machine type, version floor, sizes, every digest; a refused image
leaves the disk as it is. Then it is written to the staging area (only blocks that differ), read
back, and the next start is asked to install it. Ctrl-C at any time loses nothing.

examples:
  bootsvc stage v2.bimg && reboot
  bootsvc stage v2.bimg --again          although it failed on this machine before
  bootsvc stage v1.bimg --no-request     keep it in staging, for repairs; install nothing
"""
STATUS_TEXT = """\
examples:
  bootsvc status
  bootsvc status --json | jq .next_start
  bootsvc status --disk disk.img         a disk file of a virtual machine that is off
"""
ROLLBACK_TEXT = """\
The image in primary is kept first, as a restore point in the data partition, where there is room.
Going back never fails for that: why there is none is told in one line.

examples:
  bootsvc rollback && reboot
  bootsvc restore-point list             what can be come back to
"""
VERIFY_TEXT = """\
Reads every byte of the images from the disk and compares it with the signed digests; writes
nothing. Exit code 1: an image is bad.

examples:
  bootsvc verify
  bootsvc verify backup
"""


def add_commands(groups: Groups) -> None:
    """Add the commands of the running OS."""
    status = new_disk_command(
        groups, "status", "show what runs, what the next start will do, and why", STATUS_TEXT
    )
    status.add_argument("--json", action="store_true", help="for programs (see README.md)")
    add_keys(status)
    status.set_defaults(run=run_status)

    stage = new_disk_command(
        groups, "stage", "put a new image into staging and ask for the update", STAGE_TEXT
    )
    stage.add_argument("image", metavar="IMAGE", type=Path, help="image file (.bimg)")
    stage.add_argument(
        "--again", action="store_true", help="take it although it failed on this machine before"
    )
    stage.add_argument(
        "--no-request", action="store_true", help="only put it there; do not ask for the update"
    )
    add_keys(stage)
    add_settings(stage)
    stage.set_defaults(run=run_stage)

    confirm = new_disk_command(
        groups, "confirm", "declare the new image that runs now on trial to be good", ""
    )
    confirm.set_defaults(run=run_confirm)

    reject = new_disk_command(
        groups,
        "reject",
        "record why the image on trial is no good (used by the package's units)",
        "",
    )
    reject.add_argument(
        "--reason", choices=REASONS, default=REASONS[0], help="why (default: not-confirmed)"
    )
    reject.set_defaults(run=run_reject)

    rollback = new_disk_command(
        groups, "rollback", "ask the next start to go back to the image in backup", ROLLBACK_TEXT
    )
    rollback.add_argument(
        "--no-restore-point", action="store_true", help="keep no copy of the image that is left"
    )
    add_keys(rollback)
    add_settings(rollback)
    rollback.set_defaults(run=run_rollback)

    verify = new_disk_command(
        groups, "verify", "read images in full and check every byte", VERIFY_TEXT
    )
    verify.add_argument(
        "area",
        metavar="AREA",
        nargs="?",
        choices=(*AREA_NAMES, "all"),
        default="all",
        help="primary, backup, staging or all (default: all)",
    )
    add_keys(verify)
    verify.set_defaults(run=run_verify)


# --- status -------------------------------------------------------------------------------------


def run_status(args: argparse.Namespace) -> ExitCode:
    """Show what runs, what the next start will do, and why."""
    from bootsvc.cli.status_report import (
        document,
        gather,
        read_alarms,
        read_restore_points,
        text,
    )
    from bootsvc.errors import BootsvcError
    from bootsvc.os_side.machine import open_machine
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.os_side.started import read_this_start
    from bootsvc.settings import KEYS_DIR

    path = disk_path(args)
    is_own = is_own_disk(args)
    try:
        keys = load_public_keys(args.keys or KEYS_DIR)
    except BootsvcError as exc:
        # Status must be shown on a machine whose keys are in disorder, too.
        keys = ()
        show_note(f"bootsvc: {exc}")
    with open_machine(path, writable=False) as machine:
        report = gather(
            machine,
            keys,
            read_this_start() if is_own else None,
            read_alarms(RUN_DIR / "alarms") if is_own else (),
            read_restore_points(RUN_DIR) if is_own else None,
        )
    if args.json:
        show_json(document(report))
    else:
        show(text(report))
    return ExitCode.OK


# --- confirm, reject ----------------------------------------------------------------------------


def run_confirm(args: argparse.Namespace) -> ExitCode:
    """Declare the image on trial to be good; writes nothing where nothing changes."""
    from bootsvc.formats.boot_status import Phase
    from bootsvc.os_side.machine import open_machine
    from bootsvc.sequence.requests import confirmed

    started = _started()
    with open_machine(disk_path(args), writable=True, on_wait=show_note) as machine:
        status = machine.status
        _remember_failed(args, status)
        wanted = confirmed(status, started, floor=0)
        if status.phase is not Phase.TRIAL:
            if wanted != status:
                machine.disk.status.replace(wanted)
            _prove_updater(args, machine)
            _end_trial(wanted)
            show("nothing to confirm: the running image is confirmed already")
            return ExitCode.OK
        footer = _primary_footer(machine, started)
        if (RUN_DIR / "trial").exists():
            _run_helper("identity-save")
        wanted = confirmed(status, started, footer.manifest.floor)
        machine.disk.status.replace(wanted)
        _prove_updater(args, machine)
    _end_trial(wanted)
    _remember_failed(args, wanted)
    show(
        f"confirmed: number {footer.manifest.number}, label {footer.manifest.label}; "
        "the version before stays in backup"
    )
    return ExitCode.OK


def _end_trial(status: BootStatus) -> None:
    """What follows once the record says CONFIRMED, also after a confirm that was cut short there.

    The trial's copy of the identity files becomes the current one, overlays of images that are
    gone go as well, and so does the mark of a trial.
    """
    from bootsvc.os_side.overlays import prune

    _run_helper("overlay.sh", "--adopt")
    prune(RUN_DIR / "data", (status.primary.identity, status.backup.identity))
    (RUN_DIR / "trial").unlink(missing_ok=True)


def _remember_failed(args: argparse.Namespace, status: BootStatus) -> None:
    """Tell data which images failed here; what cannot be written is an alarm, and no more.

    Not where data takes no writes, which is an alarm of this start already, nor for another disk.
    """
    from bootsvc.errors import BootsvcError
    from bootsvc.os_side.failed_images import remember
    from bootsvc.os_side.restore_points import usable_data

    data = usable_data(RUN_DIR)
    if data is None or not is_own_disk(args):
        return
    try:
        remember(data, status)
    except (BootsvcError, OSError) as exc:
        show_note(f"bootsvc: ALARM the list of failed images in data cannot be written: {exc}")


def _prove_updater(args: argparse.Namespace, machine: Machine) -> None:
    """The updater that started this system did its work: a slot being tried is the proven one now.

    What cannot be written is an alarm: the updater before is started again, no more.
    """
    from bootsvc.errors import BootsvcError
    from bootsvc.os_side.started import read_this_start
    from bootsvc.os_side.updater_slots import prove, slots_on

    this_start = read_this_start()
    if this_start is None or not this_start.slot or not is_own_disk(args):
        return
    try:
        if prove(slots_on(machine.disk), this_start.slot):
            show(f"the updater's slot {this_start.slot} proved itself: it is started from now on")
    except BootsvcError as exc:
        show_note(f"bootsvc: ALARM the updater's slot {this_start.slot} cannot be confirmed: {exc}")


def _primary_footer(machine: Machine, started: Started) -> Footer:
    """The footer of the image on trial, for its signed floor.

    Raises:
        ConfirmRefusedError: primary holds another image by now.
    """
    from bootsvc.errors import ConfirmRefusedError
    from bootsvc.formats.boot_status import Area
    from bootsvc.storage.image_area import read_footer

    footer = read_footer(machine.disk.areas[Area.PRIMARY])
    if footer.identity != started.identity:
        raise ConfirmRefusedError(
            f"primary holds image {footer.identity.hex()[:12]}, this system runs "
            f"{started.identity.hex()[:12]}",
            hint="see: bootsvc verify primary",
        )
    return footer


def _run_helper(name: str, *arguments: str) -> None:
    """Run a script of the package; its failing is an alarm, never a failure of the confirm."""
    script = HELPERS_DIR / name
    if not script.exists():
        return
    try:
        code = subprocess.run([script, *arguments], check=False).returncode
        problem = f"exit code {code}" if code else ""
    except OSError as exc:
        problem = str(exc.strerror)
    if problem:
        show_note(f"bootsvc: ALARM identity files: {script.name} failed: {problem}")


def run_reject(args: argparse.Namespace) -> ExitCode:
    """Record why the image on trial is no good; the updater decides what comes of it."""
    from bootsvc.formats.boot_status import Reason
    from bootsvc.formats.describe import describe_reason
    from bootsvc.os_side.machine import open_machine
    from bootsvc.sequence.requests import rejected

    reason = Reason[args.reason.replace("-", "_").upper()]
    now_s = int(time.time())
    with open_machine(disk_path(args), writable=True, on_wait=show_note) as machine:
        known_s = now_s if now_s > SANE_CLOCK_S else 0
        machine.disk.status.replace(rejected(machine.status, _started(), reason, known_s))
    show(f"recorded: {describe_reason(reason)}")
    return ExitCode.OK


# --- verify -------------------------------------------------------------------------------------


def run_verify(args: argparse.Namespace) -> ExitCode:
    """Read images in full and check every byte."""
    from bootsvc.formats.boot_status import Area
    from bootsvc.os_side.machine import open_machine
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.sequence.checks import Site
    from bootsvc.settings import KEYS_DIR

    # Machine type matters to what is installed, not to what is there.
    site = Site(load_public_keys(args.keys or KEYS_DIR), compatible="")
    names = AREA_NAMES if args.area == "all" else (args.area,)
    with open_machine(disk_path(args), writable=False) as machine:
        verdicts = [
            _verify_area(machine, Area[name.upper()], site, is_named=args.area != "all")
            for name in names
        ]
    return ExitCode.OK if all(verdicts) else ExitCode.FAILED


def _verify_area(machine: Machine, area: Area, site: Site, *, is_named: bool) -> bool:
    """Verify one area and say what came of it; True unless it is bad.

    Unless it was named, an area that holds no finished image by the record is left out.
    """
    from bootsvc.errors import BootsvcError
    from bootsvc.formats.boot_status import AreaState
    from bootsvc.formats.describe import STATES
    from bootsvc.sequence.checks import verify_whole
    from bootsvc.storage.image_area import read_footer

    name = area.name.lower()
    record = machine.status.area(area)
    if record.state in (AreaState.EMPTY, AreaState.WRITING) and not is_named:
        show(f"{name:<8} left out: {STATES[record.state]}")
        return True
    window = machine.disk.areas[area]
    try:
        footer = read_footer(window)
        with progress(f"verify {name}", footer.manifest.size) as bar:
            verify_whole(window, site, bar.tick, footer)
    except BootsvcError as exc:
        show(f"{name:<8} BAD: {exc}")
        return False
    version = f"number {footer.manifest.number}, label {footer.manifest.label}"
    if record.state is not AreaState.EMPTY and footer.identity != record.identity:
        show(f"{name:<8} BAD: whole, but not the image that the record names ({version})")
        return False
    show(f"{name:<8} good: {version}, identity {footer.identity.hex()[:12]}")
    return True


# --- shared -------------------------------------------------------------------------------------


def _started() -> Started:
    """What the updater handed over.

    Raises:
        ConfirmRefusedError: the updater did not start this system.
    """
    from bootsvc.errors import ConfirmRefusedError
    from bootsvc.os_side.started import read_this_start

    this_start = read_this_start()
    if this_start is None:
        raise ConfirmRefusedError(
            "this system was not started by the updater",
            hint="only the image on trial can confirm itself; see: bootsvc status",
        )
    return this_start.started
