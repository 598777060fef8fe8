"""A store's documents, each found fresh, by a process of its own.

The libraries that verify a store's metadata take as much memory as all the rest of an update. Here
they are loaded into a child of this process, which ends before blocks are fetched.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Protocol, Self

from bootsvc.errors import BootsvcError, ToolError
from bootsvc.transfer.throttle import Throttle


class Documents(Protocol):
    """``transfer.freshness.Freshness`` is one."""

    def target(self, name: str, largest: int) -> bytes:
        """See ``Freshness.target``."""
        ...


class FreshDocuments:
    """Gives what ``Freshness`` does; a context manager that leaves no process behind.

    To be asked while this process has no other threads.
    """

    def __init__(self, open_: Callable[[], Documents], throttle: Throttle) -> None:
        """Nothing is begun yet.

        Args:
            open_: makes a ``Freshness``; called in the child.
            throttle: what the child fetches is counted here, too.
        """
        self._open = open_
        self._throttle = throttle
        self._child: tuple[BaseProcess, Connection] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.rest()

    def target(self, name: str, largest: int) -> bytes:
        """See ``Freshness.target``, also for the errors raised.

        Raises:
            ToolError: the child died.
        """
        _, connection = self._child = self._child or self._begun()
        try:
            connection.send((name, largest))
            answer, fetched = connection.recv()
        except (EOFError, OSError):
            self.rest()
            raise ToolError(
                "the process that verifies the store's metadata ended before it answered",
                hint="is there memory left? see: journalctl -k",
            ) from None
        self._throttle.total += fetched
        if isinstance(answer, BootsvcError):
            raise answer
        return bytes(answer)

    def rest(self) -> None:
        """End the child, and give its memory back; the next question begins another."""
        if self._child is not None:
            process, connection = self._child
            self._child = None
            connection.close()
            process.terminate()  # it may wait for a server; its files outlive a power cut, and this
            process.join()
            process.close()

    def _begun(self) -> tuple[BaseProcess, Connection]:
        ours, theirs = get_context("fork").Pipe()
        arguments = (ours, theirs, self._open, self._throttle)
        process = get_context("fork").Process(target=_answer, args=arguments, daemon=True)
        process.start()
        theirs.close()
        return process, ours


def _answer(
    parents: Connection,
    connection: Connection,
    open_: Callable[[], Documents],
    throttle: Throttle,
) -> None:
    """Answer until the parent hangs up, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is the parent's to tell of
    parents.close()
    documents: Documents | None = None
    while True:
        try:
            name, largest = connection.recv()
        except EOFError:
            return
        before = throttle.total
        answer: bytes | BootsvcError
        try:
            documents = documents or open_()
            answer = documents.target(name, largest)
        except BootsvcError as exc:
            answer = exc
        connection.send((answer, throttle.total - before))
