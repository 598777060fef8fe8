"""The table of what can be done at the console: for the menu, for programs, for the manual. Pure.

An action that can lose something says what, and is done only with its word typed out (or sent).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from bootsvc.console.facts import Facts
from bootsvc.formats.boot_status import Area, Reason

LOOK = "look"
"""The answer that lists what there is to choose from, and does nothing else."""


class Then(Enum):
    """What follows when an action has ended."""

    STAY = "the console stays"
    GO_ON = "the sequence decides afresh what to start"
    BOOT = "the area that the outcome names is started, this once"
    SHELL = "a shell, then the console again"
    REBOOT = "the machine restarts"
    POWER_OFF = "the machine is switched off"


@dataclass(frozen=True)
class Outcome:
    """How an action ended.

    Attributes:
        is_done: it did what it says; otherwise ``lines`` say why not, and what to do next.
        lines: for the screen; plain ASCII, each a sentence or a row, not yet folded.
        facts: the same for programs, beside ``lines``.
        area, alarm: for ``Then.BOOT``: what is started, and what is wrong with that.
    """

    is_done: bool
    lines: tuple[str, ...] = ()
    then: Then = Then.STAY
    area: Area = Area.NONE
    alarm: Reason = Reason.NONE
    facts: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Argument:
    """What an action must be told.

    Attributes:
        name: as programs name it.
        question: as a person is asked.
        choices: the only answers, the safe one first; empty for free text.
        default: taken for an empty answer; None where there must be one.
    """

    name: str
    question: str
    choices: tuple[str, ...] = ()
    default: str | None = None


@dataclass(frozen=True)
class Action:
    """One line of the menu.

    Attributes:
        name: as programs name it, and the manual: verify, boot-once, restore ...
        title: as the menu shows it, at most 40 characters.
        help: one or two sentences: what it does and what it leaves alone.
        arguments: asked for one after another.
        loses: what can be lost, as a sentence; "" where nothing can.
        word: to be typed where something can be lost; "" elsewhere. The name of an argument in
            braces stands for its answer.
        refusal: why it cannot be done now, as a sentence; "" where it can.
    """

    name: str
    title: str
    help: str
    arguments: tuple[Argument, ...] = ()
    loses: str = ""
    word: str = ""
    refusal: Callable[[Facts], str] = lambda _: ""

    def word_for(self, answers: Mapping[str, str]) -> str:
        """The word to be typed with these answers; "" where nothing can be lost by them."""
        return "" if LOOK in answers.values() else self.word.format(**answers)
