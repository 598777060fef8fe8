"""``bootsvc updater``: the updater's own two slots, and its update."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import progress, show, show_json, show_note
from bootsvc.cli.parsing import Groups, disk_path, is_own_disk, new_disk_command, new_group
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.os_side.updater_slots import SlotReport, UpdaterReport
    from bootsvc.storage.updater_slots import SlotStore

SCHEMA = 1

EXAMPLES = """\
examples:
  bootsvc updater status
  bootsvc updater stage vmlinuz updater.img && reboot
"""

STAGE_TEXT = """\
The slot that proved itself is never written. The other one is written, flushed and read back; the
next start tries it, once. The system that comes up from it makes it the proven one as soon as it is
confirmed (bootsvc confirm, which the package runs at every start); else the old one is back at the
start after that, with nobody there. Where the console of the updater in use is locked, one that is
open to everybody is refused.

example:
  bootsvc updater stage vmlinuz updater.img && reboot
"""

CONFIRM_TEXT = """\
Part of bootsvc confirm, which the package runs at every start; only a slot that was tried and that
started this very system becomes the proven one.
"""


def add_commands(groups: Groups) -> None:
    """Add ``updater`` and its commands."""
    commands = new_group(groups, "updater", "update the updater itself, in two slots", EXAMPLES)
    status = new_disk_command(
        commands, "status", "show both slots, and which one the next start takes", ""
    )
    status.add_argument("--json", action="store_true", help="for programs (see README.md)")
    status.set_defaults(run=run_status)
    stage = new_disk_command(
        commands, "stage", "put a new kernel and initramfs into the other slot", STAGE_TEXT
    )
    stage.add_argument("kernel", metavar="KERNEL", type=Path, help="the updater's kernel")
    stage.add_argument("initramfs", metavar="INITRAMFS", type=Path, help="the updater's initramfs")
    stage.add_argument(
        "--allow-unlocked",
        action="store_true",
        help="also an updater with an open console in the place of one that is locked",
    )
    stage.add_argument("--json", action="store_true", help="for programs (see README.md)")
    stage.set_defaults(run=run_stage)
    confirm = new_disk_command(
        commands, "confirm", "declare the slot that started this system to be good", CONFIRM_TEXT
    )
    confirm.set_defaults(run=run_confirm)


def run_status(args: argparse.Namespace) -> ExitCode:
    """Show both slots."""
    from bootsvc.os_side.updater_slots import report, slots_on
    from bootsvc.storage.disk import open_disk

    with open_disk(disk_path(args), writable=False) as disk:
        found = report(slots_on(disk), _running(args))
    if args.json:
        show_json(document(found))
    else:
        show(text(found))
    return ExitCode.OK


def run_stage(args: argparse.Namespace) -> ExitCode:
    """Fill the other slot and have it tried once."""
    from bootsvc.os_side.updater_slots import report, slots_on, stage, unmounted
    from bootsvc.storage.disk import open_disk

    with (
        open_disk(disk_path(args), writable=True, on_wait=show_note) as disk,
        unmounted(disk),
    ):
        store = slots_on(disk)
        most = disk.partition("esp").size
        kernel, initramfs = _content(args.kernel, most), _content(args.initramfs, most)
        if not args.allow_unlocked:
            _check_lock(store, args, initramfs)
        # Written, then read back.
        with progress("updater", 2 * (len(kernel) + len(initramfs))) as bar:
            slot = stage(store, kernel, initramfs, _running(args), bar.tick)
        if args.json:
            show_json(document(report(store, _running(args))))
            return ExitCode.OK
    show(f"slot {slot} holds the new updater: the next start tries it, once")
    return ExitCode.OK


def _check_lock(store: SlotStore, args: argparse.Namespace, initramfs: bytes) -> None:
    """Refuse an updater with an open console where that of the proven slot is locked.

    Raises: as ``check_keeps_lock``.
    """
    from bootsvc.disk.grub_lock import check_keeps_lock
    from bootsvc.errors import FormatError, ToolError

    slot = store.marks().proven or _running(args)
    try:
        now = store.initramfs(slot) if slot else b""
    except FormatError:
        now = b""  # no updater, no lock; what that means is said when it is staged
    try:
        check_keeps_lock(now, initramfs, str(args.initramfs))
    except ToolError as exc:
        raise ToolError(
            f"whether the updater in use is locked cannot be told: {exc}",
            hint=f"{exc.hint}; --allow-unlocked stages without looking" if exc.hint else "",
        ) from exc


def _content(path: Path, most: int) -> bytes:
    """All of a file, which has at most ``most`` bytes.

    Raises:
        StorageError: it cannot be read.
        LayoutError: it is larger.
    """
    from bootsvc.errors import LayoutError, StorageError

    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(content) > most:
        raise LayoutError(
            f"{path}: larger than the whole ESP ({describe_size(most)})",
            hint="name the updater's kernel and initramfs",
        )
    return content


def run_confirm(args: argparse.Namespace) -> ExitCode:
    """Declare the slot that started this system to be good."""
    from bootsvc.errors import ConfirmRefusedError
    from bootsvc.os_side.updater_slots import prove, slots_on
    from bootsvc.storage.disk import open_disk

    running = _running(args)
    if not running:
        raise ConfirmRefusedError(
            "this system was not started by the updater from a slot of this disk",
            hint="see: bootsvc updater status",
        )
    with open_disk(disk_path(args), writable=True, on_wait=show_note) as disk:
        is_news = prove(slots_on(disk), running)
    if is_news:
        show(f"the updater's slot {running} proved itself: it is started from now on")
    else:
        show(f"nothing to confirm: slot {running} is not being tried")
    return ExitCode.OK


def _running(args: argparse.Namespace) -> str:
    """The slot that started this system, where it is this disk's."""
    from bootsvc.os_side.started import read_this_start

    this_start = read_this_start()
    return this_start.slot if this_start is not None and is_own_disk(args) else ""


# --- for programs -------------------------------------------------------------------------------


def document(report: UpdaterReport) -> dict[str, object]:
    """The report as JSON; its fields are listed in README.md."""
    return {
        "schema": SCHEMA,
        "running": report.running or None,
        "next_start": report.next_start or None,
        "proven": report.marks.proven or None,
        "to_try": report.marks.to_try or None,
        "tried": report.marks.tried or None,
        "slots": {slot: _slot_document(one) for slot, one in report.slots.items()},
    }


def _slot_document(one: SlotReport) -> dict[str, object]:
    content = one.content
    return {
        "is_whole": content is not None,
        "is_empty": one.is_empty,
        "problem": one.problem or None,
        "kernel_release": one.release or None,
        "kernel_size": content.kernel_size if content else None,
        "kernel_sha256": content.kernel_sha256.hex() if content else None,
        "initramfs_size": content.initramfs_size if content else None,
        "initramfs_sha256": content.initramfs_sha256.hex() if content else None,
    }


# --- for people ---------------------------------------------------------------------------------


def text(report: UpdaterReport) -> str:
    """The same for people."""
    marks = report.marks
    lines = [
        ("running now", f"slot {report.running}" if report.running else "not known"),
        ("proven", f"slot {marks.proven}" if marks.proven else "not known: the mark is damaged"),
        ("next start", _next_text(report)),
        *((f"slot {slot}", _slot_text(one)) for slot, one in report.slots.items()),
    ]
    if marks.tried and marks.tried not in (marks.proven, report.running):
        lines.append(("last try", f"slot {marks.tried} was tried and did not prove itself"))
    return "\n".join(f"{name:<13} {words}" for name, words in lines)


def _next_text(report: UpdaterReport) -> str:
    slot = report.next_start
    if not slot:
        return "NONE: neither slot can be started; stage the updater again"
    if slot == report.marks.to_try:
        return f"slot {slot}, once, to be tried"
    return f"slot {slot}"


def _slot_text(one: SlotReport) -> str:
    if one.content is None:
        return one.problem
    release = f" {one.release}" if one.release else ""
    return (
        f"whole: kernel{release}, {describe_size(one.content.kernel_size)}, sha256"
        f" {one.content.kernel_sha256.hex()[:12]}; initramfs"
        f" {describe_size(one.content.initramfs_size)}, sha256"
        f" {one.content.initramfs_sha256.hex()[:12]}"
    )
