"""All actions of the console, in the order of the menu: safe ones first. Pure."""

from __future__ import annotations

from bootsvc.console.actions import Action, Argument
from bootsvc.console.facts import Facts


def _no_disk(facts: Facts) -> str:
    return "" if facts.disk else f"There is no disk to do that with. {facts.problem}".strip()


ACTIONS = (
    Action(
        "go-on",
        "Go on with the start",
        "Leaves the console: the machine starts what stands above as next. Nothing is changed.",
    ),
    Action(
        "verify",
        "Verify an area",
        "Reads an area, or all, in full and compares every byte with its signed digests. Nothing "
        "is written.",
        arguments=(
            Argument(
                "area",
                "Which area?",
                choices=("all", "primary", "backup", "staging"),
                default="all",
            ),
        ),
        refusal=_no_disk,
    ),
    Action(
        "boot-once",
        "Start an area this once",
        "Verifies an area and starts it, in this start only. Nothing is written: the next start "
        "does what it would have done.",
        arguments=(
            Argument(
                "area", "Which area?", choices=("backup", "primary", "staging"), default="backup"
            ),
        ),
        refusal=_no_disk,
    ),
    Action("reboot", "Restart the machine", "Everything reaches the disks first."),
    Action("power-off", "Switch the machine off", "Everything reaches the disks first."),
)
