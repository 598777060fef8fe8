"""All actions of the console, in the order of the menu: safe ones first. Pure.

What cannot be done now is refused by ``sequence.requests`` and ``sequence.wishes``, which know the
record's rules; what they say is shown before anything is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from bootsvc.console.actions import Action, Argument
from bootsvc.console.facts import Facts
from bootsvc.errors import BootsvcError, SequenceError
from bootsvc.formats.boot_status import BootStatus, Request
from bootsvc.sequence import requests, wishes

Refusal = Callable[[Facts], str]

FROM_WHERE = (
    "From where? A number of the list, /dev/NODE, /dev/NODE:/FILE, or an address http(s)://...; "
    "Enter lists the images on other disks."
)


# --- what stands against an action ---------------------------------------------------------------


def _without_disk(facts: Facts) -> str:
    return "" if facts.disk else f"No disk can be used. {facts.problem}".strip()


def _unless(check: Callable[[BootStatus], object]) -> Refusal:
    """Refused with what ``check`` raises for the record as it is, or where there is none."""

    def refusal(facts: Facts) -> str:
        if not facts.disk:
            return _without_disk(facts)
        if facts.status is None:
            return "The record is lost. Go on: the sequence makes a new one of what it finds."
        try:
            check(facts.status)
        except SequenceError as exc:
            return _sentence(exc)
        return ""

    return refusal


def next_step(error: BootsvcError) -> str:
    """What a person at the console can do about it, "" where nothing is known: what is meant for
    the command line of a running system is no help here."""
    return "" if not error.hint or "bootsvc " in error.hint else f"Next: {error.hint}."


def _sentence(error: SequenceError) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}. {next_step(error)}".strip()


def _cannot_install(facts: Facts) -> str:
    """A machine that has halted takes an image in whichever phase it is."""
    if facts.problem:
        return _without_disk(facts)
    return _unless(requests.check_stageable)(facts)


def _nothing_against(_: BootStatus) -> None:
    """Any record will do: unfinished work is resumed, whatever stands in staging."""


def _cannot_test_watchdog(status: BootStatus) -> None:
    """The restart counts as a hang of whatever is under way."""
    if status.phase not in requests.SETTLED or status.request is not Request.NONE:
        raise SequenceError(
            "something is under way, and the restart would count as its failure",
            hint="finish or abandon it first",
        )


def _watchdog_refusal(facts: Facts) -> str:
    return _unless(_cannot_test_watchdog)(facts) if facts.status else ""


def _no_shell(facts: Facts) -> str:
    return "" if facts.has_shell else "The shell is locked by a setting (console_shell)."


def _no_installer(facts: Facts) -> str:
    if facts.has_installer:
        return ""
    return "This updater carries nothing to make a disk from: start an installer."


def _area_argument(*areas: str) -> Argument:
    return Argument("area", "Which area?", choices=areas, default=areas[0])


# --- the table ----------------------------------------------------------------------------------

ACTIONS = (
    Action(
        "go-on",
        "Go on with the start",
        "Leaves the console: the machine does what stands as next. Nothing is changed by that.",
    ),
    Action(
        "verify",
        "Verify an area, or all",
        "Reads it in full and compares every byte with its signed digests. Nothing is written.",
        arguments=(_area_argument("all", "primary", "backup", "staging"),),
        refusal=_without_disk,
    ),
    Action(
        "boot-once",
        "Start an area this once",
        "Verifies it and starts it, in this start only. Nothing is written: the next start does "
        "what this one would have done.",
        arguments=(_area_argument("backup", "primary", "staging"),),
        refusal=_without_disk,
    ),
    Action(
        "restore",
        "Restore the backup over primary",
        "Reads the backup in full, then copies it over primary and starts that.",
        loses="The image in primary is lost, and it counts as failed: it is not installed again by "
        "itself. An update that was asked for is dropped.",
        word="RESTORE",
        refusal=_unless(wishes.check_restore),
    ),
    Action(
        "roll-back",
        "Roll back to the image in backup",
        "As restore, but the image in primary does not count as failed.",
        loses="The image in primary is lost. It is not kept as a restore point, which only the "
        "running system can do (bootsvc rollback). An update that was asked for is dropped.",
        word="ROLLBACK",
        refusal=_unless(requests.rollback_requested),
    ),
    Action(
        "retry",
        "Resume or retry the update",
        "Resumes what is under way. Otherwise staging is read in full, and what it holds is "
        "installed once more, even if it was refused or has failed here before.",
        refusal=_unless(_nothing_against),
    ),
    Action(
        "abandon",
        "Abandon the update",
        "Drops what was asked for. An image on trial, or half copied, is thrown back: backup is "
        "read in full and copied over primary. A backup under way is finished.",
        loses="An image on trial is lost, and it counts as failed.",
        word="ABANDON",
        refusal=_unless(wishes.check_abandon),
    ),
    Action(
        "install",
        "Install an image from elsewhere",
        "From a USB disk, a second disk or a server. Signature, machine type and version are "
        "checked, every block is verified before it is written; then the ordinary update follows.",
        arguments=(Argument("source", FROM_WHERE, default="look"),),
        refusal=_cannot_install,
    ),
    Action(
        "install-without-backup",
        "Install with nothing to fall back to",
        "For an update that was refused because neither primary nor backup verifies. All areas are "
        "read in full first.",
        loses="What primary and backup hold is given up before the new image has proved itself: if "
        "that fails, the machine stops here.",
        word="INSTALL",
        refusal=_unless(wishes.check_without_backup),
    ),
    Action(
        "export",
        "Export record, logs, hardware facts",
        "One JSON document, on the screen or as a file on a USB disk (vfat, ext4). The machine's "
        "own disks are never written to.",
        arguments=(
            Argument(
                "to",
                "Where to? screen, a number of the list, or /dev/NODE; Enter lists the disks.",
                default="look",
            ),
        ),
    ),
    Action(
        "set-date",
        "Set date and time",
        "For this start only; the machine's own clock is left alone.",
        arguments=(Argument("date", "Date and time in UTC, as 2026-11-22T06:30?"),),
    ),
    Action(
        "set-address",
        "Set the network address",
        "Brings the wired network up, for this start only.",
        arguments=(
            Argument(
                "address",
                "Which address? dhcp, or as 192.168.1.20/24,gateway=192.168.1.1,dns=192.168.1.1",
                default="dhcp",
            ),
        ),
    ),
    Action(
        "set-mirror",
        "Set where images come from",
        "For this start only: install NAME then takes NAME from there.",
        arguments=(Argument("url", "Which address? As http://192.168.1.10/images"),),
    ),
    Action(
        "test-watchdog",
        "Test the hardware watchdog",
        "Starts it with 10 s and feeds it no more: a watchdog that works restarts the machine.",
        loses="The machine is restarted hard. The next start counts that as one crash of the "
        "running image; its next confirmed start clears it.",
        word="WATCHDOG",
        refusal=_watchdog_refusal,
    ),
    Action(
        "scan-disk",
        "Read every sector of the disk",
        "Names what cannot be read. Nothing is written.",
        refusal=_without_disk,
    ),
    Action(
        "repair-gpt",
        "Repair the partition table",
        "Writes the table at the disk's beginning again, from the spare at its end.",
        loses="Whatever stands at the disk's beginning in place of the partition table.",
        word="REPAIR",
        refusal=_without_disk,
    ),
    Action(
        "choose-disk",
        "Choose one of several disks",
        "Uses it in this start; the next one asks again.",
        arguments=(
            Argument(
                "disk",
                "Which disk? A number of the list, or /dev/NODE; Enter lists them.",
                default="look",
            ),
        ),
    ),
    Action(
        "create-disk",
        "Make a new disk, erasing what it holds",
        "Lists all disks with what is on them, or makes one anew that this machine starts from. It "
        "has no image then: install brings one.",
        arguments=(
            Argument("disk", "Which disk? /dev/NODE; Enter lists them all.", default="look"),
        ),
        loses="Everything on that disk.",
        word="ERASE {disk}",
        refusal=_no_installer,
    ),
    Action(
        "shell",
        "Open a shell",
        "For somebody who knows what to do there; the console comes back when it is left.",
        refusal=_no_shell,
    ),
    Action("reboot", "Restart the machine", "Everything reaches the disks first."),
    Action("power-off", "Switch the machine off", "Everything reaches the disks first."),
)
