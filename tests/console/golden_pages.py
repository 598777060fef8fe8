"""The pages whose text is kept under tests/golden/console.

``python -m tests.console.golden_pages`` writes the files anew; the difference is to be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bootsvc.console.actions import Action, Argument, Outcome
from bootsvc.console.facts import Facts
from bootsvc.console.pages import (
    AskPage,
    ConfirmPage,
    ForcedPage,
    Item,
    Page,
    ResultPage,
    TopicPage,
    UnlockPage,
    WorkPage,
    prompt,
    render,
)
from bootsvc.console.reports import Progress, Wait
from bootsvc.console.texts import Topic
from bootsvc.units import MIB
from tests.console.machines import HALTED, HEALTHY, LOST, NO_DISK, ON_TRIAL

FOLDER = Path(__file__).parents[1] / "golden" / "console"

VERIFY = Action(
    "verify",
    "Verify an area",
    "Reads an area in full and compares every byte with its signed digests. Nothing is written.",
    arguments=(Argument("area", "Which area?", ("all", "primary", "backup"), "all"),),
)
SET_MIRROR = Action(
    "set-mirror",
    "Set the mirror",
    "Where images are fetched from, in this start.",
    arguments=(Argument("url", "Base URL of the images?"),),
)
RESTORE = Action(
    "restore",
    "Restore the backup",
    "Copies the backup over primary, and reads it back.",
    loses="The image in primary is lost.",
    word="RESTORE",
)
ITEMS = (
    Item("Go on with the start", "go-on"),
    Item("Verify an area", "verify"),
    Item("Restore the backup", "restore", "primary holds the same image"),
)
AT = Progress("verify backup", 12 * MIB, 64 * MIB, 1.2, 2, 4)

PAGES: dict[str, tuple[Page, Facts]] = {
    "overview": (TopicPage(Topic.OVERVIEW, ITEMS, closes_in_s=298.0), HEALTHY),
    "overview-on-trial": (TopicPage(Topic.OVERVIEW, ITEMS, 1, "Not understood: 9", 60.0), ON_TRIAL),
    "overview-halted": (TopicPage(Topic.OVERVIEW, ITEMS), HALTED),
    "overview-no-disk": (TopicPage(Topic.OVERVIEW, ITEMS), NO_DISK),
    "overview-record-lost": (TopicPage(Topic.OVERVIEW, ITEMS, closes_in_s=5.0), LOST),
    "areas": (TopicPage(Topic.AREAS, ITEMS), HEALTHY),
    "areas-halted": (TopicPage(Topic.AREAS, ITEMS), HALTED),
    "last-try": (TopicPage(Topic.LAST_TRY, ITEMS[:1]), ON_TRIAL),
    "last-try-halted": (TopicPage(Topic.LAST_TRY, ITEMS[:1]), HALTED),
    "last-try-none": (TopicPage(Topic.LAST_TRY, ITEMS[:1]), HEALTHY),
    "update": (TopicPage(Topic.UPDATE, ITEMS), ON_TRIAL),
    "update-record-lost": (TopicPage(Topic.UPDATE, ITEMS), LOST),
    "record": (TopicPage(Topic.RECORD, ITEMS[:1]), HALTED),
    "machine": (TopicPage(Topic.MACHINE, ITEMS[:1]), HEALTHY),
    "machine-no-disk": (TopicPage(Topic.MACHINE, ITEMS[:1]), NO_DISK),
    "leave": (TopicPage(Topic.LEAVE, ITEMS[:1]), HEALTHY),
    "help": (TopicPage(Topic.HELP, ITEMS[:1], detail=(VERIFY, RESTORE)), HEALTHY),
    "help-restore": (TopicPage(Topic.HELP, ITEMS[:1], detail=(RESTORE,)), HEALTHY),
    "ask-choice": (AskPage(VERIFY, VERIFY.arguments[0]), HEALTHY),
    "ask-text": (AskPage(SET_MIRROR, SET_MIRROR.arguments[0], "Not understood: x"), HEALTHY),
    "confirm": (ConfirmPage(RESTORE), HEALTHY),
    "progress": (WorkPage("Verify an area", ("one disk block was read twice",), AT), HEALTHY),
    "progress-breaking": (WorkPage("Verify an area", (), AT, is_breaking=True), HEALTHY),
    "wait": (
        WorkPage(
            "Install an image",
            (),
            Wait("an address by DHCP from eth0", 3.0, 27.0, "the install is given up"),
        ),
        HEALTHY,
    ),
    "result": (
        ResultPage(VERIFY, Outcome(is_done=True, lines=("backup: number 6, every byte fits.",))),
        HEALTHY,
    ),
    "result-refused": (
        ResultPage(RESTORE, Outcome(is_done=False, lines=("Not done: the backup is bad.",))),
        HEALTHY,
    ),
    "unlock": (UnlockPage("Wrong. The next try is looked at in 4 s."), HEALTHY),
    "forced": (ForcedPage(600, ("copying the staged image to primary",), AT), HEALTHY),
}
WIDTHS = (80, 40)


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every page at every width."""
    for name, (page, facts) in PAGES.items():
        for width in WIDTHS:
            lines = [*render(page, facts, width), prompt(page)]
            yield f"{name}-{width}.txt", "\n".join(lines) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts():
        (FOLDER / name).write_text(text, "ascii")
