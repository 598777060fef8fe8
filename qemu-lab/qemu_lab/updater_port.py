"""The updater's console, driven from outside: the lab's end of the port that speaks JSON.

    vm.start()
    vm.updater.hold()                                  # the start stops, the console opens
    assert vm.updater.facts()["areas"]["backup"]["state"] == "confirmed"
    vm.updater.perform("verify", area="primary").require()
    vm.updater.perform("boot-once", area="backup")

The machine must have one: ``Machine(updater_port=True)``. What can be asked and told stands in
bootsvc's ``console/PROTOCOL.md``. What is sent before the updater runs waits in the channel.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qemu_lab.deadline import Deadline
from qemu_lab.errors import DeadlineError, ExpectationError, LostVMError
from qemu_lab.pump import Pump
from qemu_lab.stages import Bad

SCHEMA = 1
"""The version of the protocol that this client speaks."""

START_S = 90.0
"""Longest time from power-on to the updater's console, under emulation."""

Message = dict[str, Any]
"""One line of the updater; ``tell`` says what it is."""


@dataclass(frozen=True)
class Outcome:
    """How an action ended.

    Attributes:
        is_done: it did what it says.
        lines: the words for people.
        then: what follows: stay, go-on, boot, shell, reboot or power-off.
        facts: what the action found, by name.
    """

    action: str
    is_done: bool
    lines: tuple[str, ...]
    then: str
    facts: Message = field(default_factory=dict)

    def require(self) -> Outcome:
        """Itself when it was done.

        Raises:
            ExpectationError: it was not; the message has its words.
        """
        if not self.is_done:
            raise ExpectationError(f"{self.action} was not done: {' '.join(self.lines)}")
        return self


class UpdaterPort:
    """The host's end of the port.

    Attributes:
        messages: what the updater told since power-on or reset, in order.
        noise: lines that are no message.
        is_read: whether what the updater says is read at all; False before the start makes a peer
            that reads nothing.
    """

    def __init__(
        self,
        transcript: Path,
        check: Callable[[str, Collection[Bad]], None],
        forgive: Callable[[Collection[Bad]], None],
        report: Callable[[str], str] = str,
    ) -> None:
        """A port that is not connected yet.

        Args:
            transcript: file that gets every line, both ways; made at the first one.
            check, forgive, report: see `Port`.
        """
        self.messages: list[Message] = []
        self.noise: list[str] = []
        self.is_read = True
        self._transcript = transcript
        self._check = check
        self._forgive = forgive
        self._report = report
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._pump: Pump | None = None
        self._held = b""
        self._next_id = 0

    # ---- what can be asked -----------------------------------------------------------------

    def hold(
        self, timeout: Deadline | float = START_S, *, expecting: Collection[Bad] = ()
    ) -> Message:
        """Stops the start in which the machine is, or the next one; returns the facts.

        Args:
            timeout: seconds (times the host's patience) or a deadline to share.
            expecting: bad console output that this wait accepts.

        Raises:
            ExpectationError: the updater speaks another schema, or refused.
            DeadlineError, BadOutputError, LostVMError: see `Console.wait_for`.
        """
        deadline = Deadline.of(timeout)
        answer = self.ask("facts", deadline, expecting=expecting, do="hold")
        hello = self.wait("hello", deadline, expecting=expecting)
        if hello["schema"] != SCHEMA:
            raise ExpectationError(f"the updater speaks schema {hello['schema']}, not {SCHEMA}")
        facts: Message = answer["facts"]
        return facts

    def facts(self, timeout: Deadline | float = 30.0) -> Message:
        """What the updater knows now. Raises as `ask`."""
        facts: Message = self.ask("facts", timeout, do="facts")["facts"]
        return facts

    def actions(self, timeout: Deadline | float = 30.0) -> dict[str, Message]:
        """What can be done, by name. Raises as `ask`."""
        table = self.ask("actions", timeout, do="actions")["actions"]
        return {action["name"]: action for action in table}

    def perform(
        self,
        action: str,
        timeout: Deadline | float = 120.0,
        *,
        word: str = "",
        expecting: Collection[Bad] = (),
        **arguments: str,
    ) -> Outcome:
        """Does an action and waits for its end, however it ends.

        Args:
            word: what a person would have to type where the action can lose something.
            arguments: the action's own.

        Raises: as `ask`.
        """
        told = self.ask(
            "outcome",
            timeout,
            expecting=expecting,
            do="perform",
            action=action,
            word=word,
            arguments=arguments,
        )
        lines = tuple(told["lines"])
        return Outcome(action, told["is_done"], lines, told["then"], told["facts"])

    def unlock(self, password: str, timeout: Deadline | float = 30.0) -> bool:
        """Whether the console is open after this password. Raises as `ask`."""
        return not self.ask("lock", timeout, do="unlock", password=password)["is_locked"]

    # ---- the line itself -------------------------------------------------------------------

    def ask(
        self,
        tell: str,
        timeout: Deadline | float = 30.0,
        *,
        expecting: Collection[Bad] = (),
        **request: object,
    ) -> Message:
        """Sends a request and waits for the message of the kind `tell` that answers it.

        Raises:
            ExpectationError: an error, or the lock, was the answer.
            DeadlineError, BadOutputError, LostVMError: see `Console.wait_for`.
        """
        self._next_id += 1
        mark = str(self._next_id)
        self.send(json.dumps({**request, "id": mark}).encode() + b"\n")
        ends = {tell, "error", "lock"}
        what = f"the updater's answer to {request.get('do')!r}"
        answer = self._find(
            lambda message: message.get("id") == mark and message["tell"] in ends,
            what,
            Deadline.of(timeout),
            expecting,
        )
        if answer["tell"] != tell:
            why = answer.get("why") or "the console is locked"
            raise ExpectationError(self._report(f"{what} was: {why}"))
        return answer

    def wait(
        self, tell: str, timeout: Deadline | float = 30.0, *, expecting: Collection[Bad] = ()
    ) -> Message:
        """The first message of a kind since power-on or reset; one that came before counts.

        Raises:
            DeadlineError, BadOutputError, LostVMError: see `Console.wait_for`.
        """
        what = f"the updater to tell {tell!r}"
        return self._find(
            lambda message: message["tell"] == tell, what, Deadline.of(timeout), expecting
        )

    def told(self, tell: str) -> list[Message]:
        """All messages of a kind since power-on or reset."""
        with self._changed:
            return [message for message in self.messages if message["tell"] == tell]

    def send(self, data: bytes) -> None:
        """Sends bytes as they are.

        Raises:
            LostVMError: the machine is off, or has no such port.
        """
        if self._socket is None:
            raise LostVMError("no updater's port: the machine is off, or has no updater_port")
        self._note(b"> " + data)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LostVMError(f"the updater's port is closed ({error})") from error

    # ---- for VM ----------------------------------------------------------------------------

    def attach(self, sock: socket.socket) -> None:
        """Connects the port of a machine that is about to start."""
        self._socket = sock
        self.restart()
        if self.is_read:
            self._pump = Pump("updater", sock, self._take, lambda: None)

    def read_at_last(self) -> None:
        """A peer that read nothing so far begins to."""
        self.is_read = True
        if self._socket is not None and self._pump is None:
            self._pump = Pump("updater", self._socket, self._take, lambda: None)

    def detach(self) -> None:
        """Disconnects; what arrived stays readable."""
        if self._pump is not None:
            self._pump.close()
        elif self._socket is not None:
            self._socket.close()
        self._pump = self._socket = None

    def settle(self, deadline: Deadline | float = 1.0) -> None:
        """Returns when everything that a paused guest has sent was read."""
        if self._pump is not None:
            self._pump.settle(Deadline.of(deadline))

    def restart(self) -> None:
        """A new start of the machine: what the last one told is forgotten."""
        with self._changed:
            self._held = b""
            self.messages, self.noise = [], []

    def _take(self, data: bytes) -> None:
        self._note(data)
        with self._changed:
            *lines, self._held = (self._held + data).split(b"\n")
            for line in lines:
                self._sort(line)
            self._changed.notify_all()

    def _sort(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict) and "tell" in message:
            self.messages.append(message)
        elif line.strip():
            self.noise.append(line.decode("utf-8", "replace"))

    def _find(
        self,
        fits: Callable[[Message], bool],
        what: str,
        deadline: Deadline,
        expecting: Collection[Bad],
    ) -> Message:
        """The first message that `fits`, waited for."""

        def found() -> Message | None:
            return next((message for message in self.messages if fits(message)), None)

        while True:
            with self._changed:
                self._changed.wait_for(found, min(0.2, deadline.remaining))
                message = found()
            if message is not None:
                self._forgive(expecting)
                return message
            self._check(f"waited for {what}", expecting)
            if deadline.expired:
                raise DeadlineError(
                    self._report(f"waited {deadline.seconds:.1f} s for {what} in vain")
                )

    def _note(self, data: bytes) -> None:
        with self._transcript.open("ab") as file:
            file.write(data)
