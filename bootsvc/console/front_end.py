"""What the loop and its front ends tell each other: commands one way, events the other. Pure types.

A front end turns bytes into commands and events into bytes: a person's screen (``person``), a line
of JSON for programs (``protocol``). All of them hang on the same loop (``loop``), which performs
one action at a time and lets every front end see its progress and its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bootsvc.console.actions import Outcome
from bootsvc.console.facts import Facts
from bootsvc.console.reports import Report

# --- from a front end to the loop ----------------------------------------------------------------


@dataclass(frozen=True)
class Perform:
    """Do an action of the table.

    Attributes:
        name, arguments: as ``Session.perform`` takes them.
        word: what was typed where the action wants a word.
        tag: the front end's own mark; comes back in the events that answer this command.
    """

    name: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    word: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Ask:
    """Send the facts as they are now."""

    tag: str = ""


@dataclass(frozen=True)
class Cancel:
    """Abandon the action under way, where that is safe; otherwise it goes on to its end."""

    tag: str = ""


@dataclass(frozen=True)
class Hold:
    """Stop the countdown: the console opens. A person's key does it; a program says so, and what
    else it asks meanwhile (``Ask``) stops nothing. Answered as ``Ask`` is."""

    tag: str = ""


@dataclass(frozen=True)
class Present:
    """Somebody is there, and answered something that the loop need not know: it stays open."""


Command = Perform | Ask | Cancel | Hold | Present

# --- from the loop to the front ends -------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """The facts, as they are now; ``tag`` is that of the ``Ask`` that is answered, "" where
    something changed by itself."""

    facts: Facts
    tag: str = ""


@dataclass(frozen=True)
class StaysUntil:
    """When the console closes by itself, and the start goes on, unless somebody answers before:
    seconds on the loop's clock; None: never (HALT)."""

    at_s: float | None


@dataclass(frozen=True)
class Began:
    """An action began; ``by`` names the front end that asked for it."""

    command: Perform
    by: str = ""


@dataclass(frozen=True)
class Ended:
    """It ended, done or not; the facts that follow from it come in a ``Told`` of their own."""

    command: Perform
    outcome: Outcome


@dataclass(frozen=True)
class Refused:
    """A command was not even begun: another one is under way, the console is locked, ..."""

    command: Command
    why: str


@dataclass(frozen=True)
class Closed:
    """The console closes; ``why`` is a sentence. The last event that a front end is shown."""

    why: str


Event = Told | StaysUntil | Began | Ended | Refused | Closed | Report


class FrontEnd(Protocol):
    """One way to reach the console. Must not raise, and must not block for long.

    Attributes:
        name: for people and logs: ttyS0, tty0, virtio-serial.
    """

    name: str

    def fileno(self) -> int:
        """What the loop waits on; readable means that ``feed`` is due. Negative while there is
        nothing to wait on (a peer that hung up would be readable for ever): only ``tick`` is due.
        """

    def read(self) -> bytes:
        """What has arrived, without waiting; empty where the peer has hung up."""

    def feed(self, data: bytes, now_s: float) -> list[Command]:
        """Bytes that arrived, at ``now_s`` seconds on a clock that never goes back."""

    def tick(self, now_s: float) -> list[Command]:
        """Called about every fifth of a second, for what depends on time alone."""

    def show(self, event: Event) -> None:
        """Something happened."""

    def close(self) -> None:
        """Leave the line as it was found."""
