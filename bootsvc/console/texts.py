"""All words of the console's pages, in one place. Pure.

What the record's fields mean stands in ``formats.describe``, which the command line shares; what an
action does stands beside it, in ``action_table``. Sentences are not folded yet; ``{...}`` is filled
in by the functions at the end, or by ``pages``.
"""

from __future__ import annotations

from enum import Enum

from bootsvc.console.facts import AreaFacts, Facts
from bootsvc.console.render import duration
from bootsvc.formats.boot_status import AreaState
from bootsvc.formats.describe import STATES


class Topic(Enum):
    """The pages that a person walks through; the value is the title."""

    OVERVIEW = "Overview"
    AREAS = "Areas: which version is where, and is it whole"
    LAST_TRY = "Last try: what it did, where it failed, when"
    UPDATE = "Update: what is under way, what can be installed"
    RECORD = "Record: what stands on the disk"
    MACHINE = "Machine: clock, network, disk, watchdog"
    LEAVE = "Leave: shell, restart, switch off"
    HELP = "Help: what the keys do, and each action"


ACTIONS_OF = {
    Topic.OVERVIEW: ("go-on",),
    Topic.AREAS: ("verify", "boot-once", "restore", "roll-back"),
    Topic.LAST_TRY: (),
    Topic.UPDATE: ("retry", "abandon", "install", "install-without-backup"),
    Topic.RECORD: ("export",),
    Topic.MACHINE: (
        "set-date",
        "set-address",
        "set-mirror",
        "test-watchdog",
        "scan-disk",
        "repair-gpt",
        "choose-disk",
        "create-disk",
    ),
    Topic.LEAVE: ("shell", "reboot", "power-off"),
    Topic.HELP: (),
}
"""Where each action of the table stands, by name; one that is in no table is not shown."""

BACK = "Back"
GO_ON = "Go on: {next}"

HELP = (
    "Type the number or the name of a line, then Enter. Enter alone takes the line in [brackets].",
    "The first line of every page loses nothing.",
    "b or Esc goes back, ? shows this page, r asks the machine afresh. Arrows move the mark.",
    "? NAME explains an action: ? restore",
    "An action may be typed from everywhere, with its answers: verify backup",
    "What can lose something says what, and wants a word typed out in full.",
    "While an action works, q breaks it off where that is safe.",
    "Nothing that is chosen here switches off the check of an image's signature.",
)

# --- labels of rows ------------------------------------------------------------------------------

ALARM = "ALARM"
STOPPED = "Stopped"
NEXT = "Next"
BECAUSE = "Because"
UNATTENDED = "Unattended"
LAST_TRY = "Last try"
WATCHDOG = "Watchdog"
WHAT = "What"
WHERE = "Where"
WHEN = "When"
IMAGE = "Image"
THEN = "Then"
FAILED = "Failed"
UPDATE_STATUS = "Status"
LAST_RESULT = "Result"
PHASE = "Phase"
REQUEST = "Request"
TRIES = "Tries"
STAGED = "Staging"
FLOOR = "Floor"
FALL_BACK = "Fall-back"
SIGNED = "Signed by"
IDENTITY = "{area} id"
CODE = "Code"
BOOTS = "Boots"
SEQUENCE = "Sequence"
CRASHES = "Crashes"
RETRIES = "Retries"
TRANSACTION = "Update id"
UPDATER = "Updater"
MACHINE = "Machine"
DISK = "Disk"
CLOCK = "Clock"
NETWORK = "Network"
MIRROR = "Mirror"
ACTIONS = "Actions"
LOSES = "Loses"

# --- sentences -----------------------------------------------------------------------------------

NO_RECORD = "Both copies of the boot-status record were lost, or no disk can be used."
NO_FAILURE = "Nothing is recorded as failed."
NO_IMAGE = "no image was found there"
NO_AREAS = "No disk can be used, so nothing is known of any area."
NO_FAILED_IMAGES = "no image is remembered as failed here"
NOT_NOW = "not now"
CLOCK_UNSET = "not set; times of failures are unknown until it is"
TIME_UNKNOWN = "unknown: the machine's clock was not set"
NO_NETWORK = "off; an action that needs it brings it up"
NO_MIRROR = "none is set"
NO_DISK = "none can be used"
NO_WATCHDOG = "nothing is known of one"
NO_REQUEST = "none"
TRIES_LEFT = "{left} of {allowed} trial starts are left"
NOT_ON_TRIAL = "no image is on trial; a new one gets {allowed} starts"
STAYS = "Nothing happens if nobody answers: the console stays open."
ALSO_HIDDEN = "This console is locked. Nothing is shown before the password."
NOTHING_CHANGED = "Nothing was changed."
DROPPED = "Not understood: {typed}"
TOO_MANY = "{name} has {count} arguments at most"
WRONG_WORD = "Not done: it wants {word} typed out in full; {typed} was typed"
WORKED = "{work}: took {took}"
DID_YOU_MEAN = "Did you mean {name}?"
BUSY = "another action is under way"
HOLD_FIRST = "the console is not open yet: hold it first"
NOTHING_TO_BREAK_OFF = "there is nothing to break off"
BROKEN_OFF_SOON = "Breaking off as soon as that is safe ..."
MAY_BREAK_OFF = "q breaks it off where that is safe"
SHELL_HERE = "exit leaves the shell and comes back here"
SHELL_ELSEWHERE = "{name} has the shell. Keys are not heard here until it is left."
OPENED = "Console: keys typed before this line were not heard."
CLOSED_IDLE = "Nobody answered for {idle}; the start goes on."
FORCED_TITLE = "An update is being installed. Please wait, and leave the machine switched on."
FORCED_NO_KEYS = "This screen is locked until the update is done; keys are not heard."
FORCED_RELEASE = (
    "Without any progress for {limit} the lock ends, or the machine's watchdog (if it has one) "
    "restarts it; if that does not help it goes back to the version it had."
)
FORCED_SAFE = "If the power fails nothing is lost: the next start goes on by itself."

PROMPT = "Choice [{default}]: "
PROMPT_ENTER = "Enter goes back: "
PROMPT_WORD = "Type {word}, or Enter to go back: "
PROMPT_TEXT = "Answer (Enter goes back): "
PROMPT_TEXT_DEFAULT = "Answer [{default}] (Esc or . goes back): "
PROMPT_UNLOCK = "Password: "

TRY_WRONG = "Wrong."
TRY_LATER = "The next try is looked at in {wait}."
TRY_NOBODY = "Nobody can be let in: {why}."

DONE = "Done: {title}"
NOT_DONE = "Not done: {title}"

CHECKS = {
    "unseen": "not looked at yet",
    "footed": "not read in full in this start",
    "verified": "every byte verified in this start",
    "refused": "refused",
}

FALL_BACKS = {
    "unseen": "not known yet: the backup was not looked at.",
    "footed": "not proven in this start; verify backup reads every byte of it.",
    "verified": "yes: the backup was verified in this start, the machine can fall back to it.",
    "refused": "no: the backup cannot be used ({problem}).",
}


def plain(text: str) -> str:
    """``text`` as a terminal may get it: labels and file names come from outside."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def area_in_words(area: AreaFacts) -> str:
    """Which version is there, and whether it verifies, as one sentence."""
    if not area.identity:
        if area.state == "empty":
            return f"{_state(area.state)}."
        return f"{_state(area.state)}; {plain(area.problem) or NO_IMAGE}."
    words = f"{image_in_words(area)}, {_state(area.state)}"
    return f"{words}; {plain(area.problem) or CHECKS[area.check]}."


def fall_back(facts: Facts) -> str:
    """Whether the backup is good, as a sentence."""
    for area in facts.areas:
        if area.name == "backup":
            check = "refused" if area.problem else area.check
            return FALL_BACKS[check].format(problem=plain(area.problem) or CHECKS["refused"])
    return NO_AREAS


def image_in_words(area: AreaFacts) -> str:
    """Number, label and the beginning of the identity."""
    label = f' "{plain(area.label)}"' if area.label else ""
    return f"number {area.number}{label} ({area.identity[:12]})"


def _state(word: str) -> str:
    """The record's word for an area's state, for people."""
    if word.upper() in AreaState.__members__:
        return STATES[AreaState[word.upper()]]
    return word


def forced(limit_s: int) -> tuple[str, ...]:
    """What a forced update tells whoever stands before it."""
    release = FORCED_RELEASE.format(limit=duration(limit_s))
    return FORCED_TITLE, FORCED_NO_KEYS, FORCED_SAFE, release


def unattended(facts: Facts, closes_in_s: float | None) -> str:
    """What happens if nobody presses a key, and when."""
    if closes_in_s is None:
        return STAYS
    at = f" ({clock(facts.clock_s + round(closes_in_s))})" if facts.clock_s else ""
    return f"If nobody answers, in {duration(closes_in_s)}{at}: {facts.next}."


def clock(seconds: int) -> str:
    """``2026-11-22 03:15:02 UTC``; ``seconds`` since 1970. Days by H. Hinnant's civil_from_days."""
    days, rest = divmod(seconds, 86400)
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = era * 400 + year_of_era + (month <= 2)
    return (
        f"{year:04}-{month:02}-{day:02} {rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02} UTC"
    )
