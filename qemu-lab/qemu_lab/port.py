"""Results from the guest over a virtio-serial port, apart from the console.

The protocol, in lines (guest side: guest/responder.sh):

    guest:  hello version=1 area=primary       once, when it starts
    host:   7 run ls /                         <id> <word> [arguments]
    guest:  7 begin
    guest:   bin                               payload: one space before each line
    guest:  7 end 0                            exit status

A kernel message or a progress line on the console cannot break an answer, and an answer to an
older request (one that was given up) is told apart by its id.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from qemu_lab.deadline import Deadline
from qemu_lab.errors import DeadlineError, ExpectationError, LostVMError
from qemu_lab.pump import Pump
from qemu_lab.stages import Bad


@dataclass(frozen=True)
class Reply:
    """The guest's answer to one request.

    Attributes:
        request: what was asked.
        status: exit status; 0 is success.
        lines: output of the command, line by line.
    """

    request: str
    status: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The output as one text without a final line end."""
        return "\n".join(self.lines)

    @property
    def ok(self) -> bool:
        """True when the exit status is 0."""
        return self.status == 0

    def require(self) -> Reply:
        """Itself when `ok`.

        Raises:
            ExpectationError: the exit status is not 0; the message has the output.
        """
        if not self.ok:
            raise ExpectationError(
                f"the guest's {self.request!r} ended with status {self.status}:\n{self.text}"
            )
        return self


_BEGIN = re.compile(r"(\d+) begin")
_END = re.compile(r"(\d+) end (\d+)")


def parse_hello(line: str) -> dict[str, str] | None:
    """The key=value words of a hello line; None when it is not one.

    A word without "=" becomes a key with an empty value.
    """
    words = line.split()
    if not words or words[0] != "hello":
        return None
    return {key: value for key, _, value in (word.partition("=") for word in words[1:])}


class ReplyReader:
    """Sorts the guest's lines into hellos, answers and noise. Pure.

    Attributes:
        hellos: hello lines that nobody took yet.
        starts: how many hello lines came.
        finished: answers by request id: (exit status, payload lines).
        noise: lines that fit nothing, for diagnosis (the half line of a machine cut off).
    """

    def __init__(self) -> None:
        self.hellos: list[dict[str, str]] = []
        self.starts = 0
        self.finished: dict[int, tuple[int, tuple[str, ...]]] = {}
        self.noise: list[str] = []
        self._open: int | None = None
        self._payload: list[str] = []

    def feed(self, line: str) -> None:
        """Takes one line without its line end."""
        if self._open is not None and line.startswith(" "):
            self._payload.append(line[1:])
            return
        hello = parse_hello(line)
        begin = _BEGIN.fullmatch(line)
        end = _END.fullmatch(line)
        if hello is not None:
            self._open = None  # the guest started anew: an answer that was open never ends
            self.hellos.append(hello)
            self.starts += 1
        elif begin is not None:
            self._open, self._payload = int(begin[1]), []
        elif end is not None and self._open == int(end[1]):
            self.finished[self._open] = (int(end[2]), tuple(self._payload))
            self._open = None
        elif line:
            self.noise.append(line)


class Port:
    """The host's end of the port.

    Attributes:
        reader: what the guest said, sorted.
    """

    def __init__(
        self,
        check: Callable[[str, Collection[Bad]], None],
        forgive: Callable[[Collection[Bad]], None],
        report: Callable[[str], str] = str,
    ) -> None:
        """A port that is not connected yet.

        Args:
            check: called while waiting; raises when the machine is lost or the console is bad.
            forgive: called after a wait with the bad output that it expected.
            report: adds the console's last lines to the text of an error.
        """
        self.reader = ReplyReader()
        self._check = check
        self._forgive = forgive
        self._report = report
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._pump: Pump | None = None
        self._held = b""
        self._next_id = 0

    def attach(self, sock: socket.socket, *, greeted: bool = False) -> None:
        """Connects the port of a machine that is about to start.

        Args:
            greeted: the guest's responder runs already (a saved state): no hello will come.
        """
        self._socket = sock
        self.restart()
        self.reader.starts = int(greeted)
        self._pump = Pump("port", sock, self._take, lambda: None)

    def detach(self) -> None:
        """Disconnects; what arrived stays readable."""
        if self._pump is not None:
            self._pump.close()
        self._pump = self._socket = None

    def settle(self, deadline: Deadline | float = 1.0) -> None:
        """Returns when everything that a paused guest has sent was read."""
        if self._pump is not None:
            self._pump.settle(Deadline.of(deadline))

    def restart(self) -> None:
        """A new start of the machine: hellos and answers of the last one are forgotten."""
        with self._changed:
            self._held = b""
            self.reader = ReplyReader()

    def _take(self, data: bytes) -> None:
        with self._changed:
            *lines, self._held = (self._held + data).split(b"\n")
            for line in lines:
                self.reader.feed(line.decode("utf-8", "replace").rstrip("\r"))
            self._changed.notify_all()

    def wait_hello(
        self, timeout: Deadline | float, *, expecting: Collection[Bad] = ()
    ) -> dict[str, str]:
        """Waits until the guest's responder starts; returns its words as a dict.

        Args:
            timeout: seconds (times the host's patience) or a deadline to share.
            expecting: bad console output that this wait accepts.

        Raises:
            DeadlineError, BadOutputError, LostVMError: see `Console.wait_for`.
        """
        deadline = Deadline.of(timeout)
        what = "the guest's hello"
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.reader.hellos, min(0.2, deadline.remaining))
                if self.reader.hellos:
                    hello = self.reader.hellos.pop(0)
                    break
            self._go_on(what, deadline, expecting)
        self._forgive(expecting)
        return hello

    def ask(
        self,
        request: str,
        timeout: Deadline | float = 30.0,
        *,
        expecting: Collection[Bad] = (),
    ) -> Reply:
        """Sends a request ("version", "run ls /") and waits for its answer.

        A request to a guest whose responder does not run yet waits in the channel until it does.

        Raises:
            ValueError: the request is not one line.
            ExpectationError: the guest started anew instead of answering.
            DeadlineError, BadOutputError, LostVMError: see `Console.wait_for`.
        """
        if not request.strip() or "\n" in request:
            raise ValueError(f"a request is one line of text, not {request!r}")
        deadline = Deadline.of(timeout)
        what = f"the guest's answer to {request!r}"
        with self._changed:
            self._next_id += 1
            number = self._next_id
            # The first start is the one that the request may be waiting for.
            starts = max(1, self.reader.starts)
        self._send(f"{number} {request}\n", what)
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: number in self.reader.finished or self.reader.starts > starts,
                    min(0.2, deadline.remaining),
                )
                if number in self.reader.finished:
                    status, lines = self.reader.finished.pop(number)
                    break
                anew = self.reader.starts > starts
            if anew:
                raise ExpectationError(self._report(f"waited for {what}: the guest started anew"))
            self._go_on(what, deadline, expecting)
        self._forgive(expecting)
        return Reply(request, status, lines)

    def run(self, command: str, timeout: Deadline | float = 30.0) -> str:
        """Runs a shell command in the guest; returns its output.

        Raises:
            ExpectationError: its exit status is not 0; otherwise as ask().
        """
        return self.ask(f"run {command}", timeout).require().text

    def _send(self, text: str, what: str) -> None:
        if self._socket is None:
            raise LostVMError(f"wanted {what}: the machine is not running")
        try:
            self._socket.sendall(text.encode())
        except OSError as error:
            raise LostVMError(f"wanted {what}: the port is closed ({error})") from error

    def _go_on(self, what: str, deadline: Deadline, expecting: Collection[Bad]) -> None:
        self._check(f"waited for {what}", expecting)
        if deadline.expired:
            raise DeadlineError(self._report(f"waited {deadline.seconds:.1f} s for {what} in vain"))
