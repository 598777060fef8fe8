"""A program at the console: the front end that speaks JSON (``protocol``, ``messages``).

It never waits for its peer: what the line does not take stays in a bounded ``Outbox``. A console
with a password answers nothing before ``unlock``; what it shows until then are the reports of the
work under way, as every serial line does.
"""

from __future__ import annotations

import os
import select
import time
from typing import Protocol

from bootsvc import __version__
from bootsvc.console import messages
from bootsvc.console.actions import Action
from bootsvc.console.facts import Facts
from bootsvc.console.front_end import (
    Ask,
    Began,
    Cancel,
    Closed,
    Command,
    Ended,
    Event,
    Hold,
    Perform,
    Present,
    Refused,
    StaysUntil,
    Told,
)
from bootsvc.console.lock import Gate, Verdict
from bootsvc.console.messages import Message, answer_to
from bootsvc.console.outbox import Outbox
from bootsvc.console.protocol import (
    AskActions,
    AskCancel,
    AskFacts,
    AskHold,
    AskPerform,
    AskUnlock,
    Bad,
    Lines,
    Request,
)
from bootsvc.console.reports import Progress, Wait

CLOSING_S = 0.2
"""How long the last messages are pushed at a peer that does not read."""

READ_SIZE = 4096

NEEDS_TERMINAL = ("shell",)
"""Actions for people only."""

_FACTS, _ACTIONS, _HOLD = "facts", "actions", "hold"
"""Kinds of answer, which go with a command to the loop and come back in its tag."""


class Line(Protocol):
    """Where the bytes go. Reading and writing never block.

    Attributes:
        name: for people and logs: virtio-serial, ttyS1, console.
    """

    name: str

    def fileno(self) -> int:
        """The open file."""

    def has_peer(self) -> bool:
        """Whether somebody may be there; a serial line cannot tell and says yes."""

    def close(self) -> None:
        """Leave the line as it was found."""


class ProgramPort:
    """One program's line to the console; a front end (``front_end.FrontEnd``).

    Attributes:
        name: the line's.
    """

    def __init__(self, line: Line, gate: Gate, table: tuple[Action, ...]) -> None:
        """``gate`` is the one of this start, which all front ends share."""
        self.name = line.name
        self._line = line
        self._gate = gate
        self._table = tuple(one for one in table if one.name not in NEEDS_TERMINAL)
        self._lines = Lines()
        self._outbox = Outbox(lambda count: messages.line(messages.lost(count)))
        self._known: Facts | None = None
        self._goes_on_at_s: float | None = None
        self._held_by = ""  # the tag of a hold that is not answered yet
        self._is_let_in = False
        self._has_peer = False
        self.tick(0.0)

    @property
    def has_peer(self) -> bool:
        """Whether somebody may be there."""
        return self._has_peer

    def fileno(self) -> int:
        """See ``FrontEnd``."""
        return self._line.fileno() if self._has_peer else -1

    def read(self) -> bytes:
        """See ``FrontEnd``."""
        try:
            data = os.read(self._line.fileno(), READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._lose_peer()
        return data

    def feed(self, data: bytes, now_s: float) -> list[Command]:
        """See ``FrontEnd``."""
        commands = []
        for request in self._lines.feed(data):
            command = self._command_of(request, now_s)
            if command is not None:
                commands.append(command)
        self._send()
        return commands

    def tick(self, now_s: float) -> list[Command]:  # noqa: ARG002  # nothing depends on time alone
        """See ``FrontEnd``."""
        self._look_for_peer()
        self._send()
        return []

    def show(self, event: Event) -> None:
        """See ``FrontEnd``; also a listener of the reporter, console or none."""
        if isinstance(event, Told):
            self._known = event.facts
        elif isinstance(event, StaysUntil):
            self._goes_on_at_s = event.at_s
        if not self._has_peer:
            return
        message = self._message_of(event)
        if message is not None:
            self._put(message, is_passing=isinstance(event, Progress | Wait))
        self._send()

    def close(self) -> None:
        """See ``FrontEnd``. The last messages are pushed for ``CLOSING_S`` at most."""
        deadline = time.monotonic() + CLOSING_S
        while self._has_peer and self._outbox.next_bytes():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [self], [], left)[1]:
                break
            self._send()
        self._line.close()

    # --- the peer --------------------------------------------------------------------------------

    @property
    def _is_open(self) -> bool:
        return self._is_let_in or not self._gate.is_locked

    def _look_for_peer(self) -> None:
        is_there = self._line.has_peer()
        if is_there and not self._has_peer:
            self._has_peer = True
            self._put(self._hello())
        elif not is_there and self._has_peer:
            self._lose_peer()

    def _lose_peer(self) -> None:
        """Whoever comes next gets nothing of what this one left, its open door least of all."""
        self._has_peer = self._is_let_in = False
        self._held_by = ""
        self._lines.forget()
        self._outbox.forget()

    def _hello(self) -> Message:
        return messages.hello(
            __version__,
            self.name,
            known=self._known if self._is_open else None,
            goes_on_in_s=self._goes_on_in_s,
            is_locked=not self._is_open,
        )

    @property
    def _goes_on_in_s(self) -> float | None:
        at_s = self._goes_on_at_s
        return None if at_s is None else at_s - time.monotonic()

    def _put(self, message: Message, *, is_passing: bool = False) -> None:
        self._outbox.put(messages.line(message), is_passing=is_passing)

    def _send(self) -> None:
        """What the line takes now."""
        try:
            while self._has_peer and (data := self._outbox.next_bytes()):
                self._outbox.sent(os.write(self._line.fileno(), data))
        except BlockingIOError:
            return
        except OSError:
            self._lose_peer()

    # --- requests --------------------------------------------------------------------------------

    def _command_of(self, request: Request | Bad, now_s: float) -> Command | None:
        """What the loop is to do; what can be answered here is."""
        match request:
            case Bad(why, request_id):
                self._put(answer_to(request_id, messages.error(why)))
            case AskUnlock(password, request_id):
                self._try_password(password, request_id, now_s)
            case AskHold(request_id):
                self._held_by = self._tag(_HOLD, request_id)
                return Hold(self._held_by)
            case _ if not self._is_open:
                self._put(answer_to(request.id, messages.error("the console is locked: unlock")))
            case AskFacts(request_id):
                return Ask(self._tag(_FACTS, request_id))
            case AskActions(request_id):
                return Ask(self._tag(_ACTIONS, request_id))
            case AskCancel(request_id):
                return Cancel(self._tag("cancel", request_id))
            case AskPerform(action, _, _, request_id) if action in NEEDS_TERMINAL:
                self._put(answer_to(request_id, messages.error(f"{action} needs a terminal")))
            case AskPerform(action, arguments, word, request_id):
                return Perform(action, arguments, word, self._tag("perform", request_id))
        return None

    def _try_password(self, password: str, request_id: str, now_s: float) -> None:
        answer = self._gate.answer(password, now_s)
        self._is_let_in = self._is_let_in or answer.verdict is Verdict.RIGHT
        why = {
            Verdict.RIGHT: "",
            Verdict.WRONG: "wrong password",
            Verdict.TOO_SOON: "too soon after a wrong password: not looked at",
            Verdict.NOBODY: answer.why,
        }[answer.verdict]
        message = messages.lock(is_locked=not self._is_open, wait_s=answer.wait_s, why=why)
        self._put(answer_to(request_id, message))
        if answer.verdict is Verdict.RIGHT and self._known is not None:
            self._put(messages.facts(self._known))

    def _tag(self, answer: str, request_id: str) -> str:
        """Marks a command as this peer's, with the kind of its answer and the request's id."""
        return f"{self.name} {answer} {request_id}"

    def _untag(self, tag: str) -> tuple[str, str]:
        """The kind of answer and the request's id; both empty where another one asked."""
        prefix = f"{self.name} "
        if not tag.startswith(prefix):
            return "", ""
        answer, _, request_id = tag[len(prefix) :].partition(" ")
        return answer, request_id

    # --- events ----------------------------------------------------------------------------------

    def _message_of(self, event: Event) -> Message | None:
        """What the peer is told of an event; None where it may not know yet."""
        match event:
            case Told(known, tag):
                # What opens the console is answered by the first facts that it tells everybody.
                answer, request_id = self._untag(tag or self._held_by)
                self._held_by = ""
                message = self._told_message(known, answer)
                return None if message is None else answer_to(request_id, message)
            case StaysUntil():
                return messages.stays(self._goes_on_in_s)
            case Refused(command, why):
                tag = "" if isinstance(command, Present) else command.tag
                return answer_to(self._untag(tag)[1], messages.error(why))
            case Began(command, by):
                message = messages.began(command, by)
                return answer_to(self._untag(command.tag)[1], message) if self._is_open else None
            case Ended(command, outcome):
                message = messages.outcome(command.name, outcome)
                return answer_to(self._untag(command.tag)[1], message) if self._is_open else None
            case Closed(why):
                return messages.closed(why)
            case _:
                return messages.report(event)

    def _told_message(self, known: Facts, answer: str) -> Message | None:
        if not self._is_open:
            return messages.lock(is_locked=True) if answer == _HOLD else None
        if answer == _ACTIONS:
            return messages.actions(self._table, known)
        return messages.facts(known)
