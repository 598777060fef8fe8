"""A synchronous QMP client: `qemu.qmp` (which is asyncio) on an event loop thread of its own.

The loop has to run all the time, or events would only arrive while somebody executes a command;
the synchronous façade that comes with qemu.qmp runs it only then.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from qemu.qmp import ExecuteError, QMPClient
from qemu.qmp.error import QMPError

from qemu_lab.deadline import Deadline
from qemu_lab.errors import DeadlineError, LostVMError, MonitorError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Event:
    """One QMP event.

    Attributes:
        name: for example "RESET" or "WATCHDOG".
        seconds: when it arrived, since the first power-on.
        data: its payload as QEMU sent it.
    """

    name: str
    seconds: float
    data: Mapping[str, Any]


class Monitor:
    """The QMP connection of one QEMU process.

    Attributes:
        events: every event so far, in order of arrival.
    """

    def __init__(self, sock: socket.socket, clock: Callable[[], float], deadline: Deadline) -> None:
        """Connects and negotiates.

        Args:
            sock: our end of the connected socket.
            clock: seconds since the first power-on, for the events.

        Raises:
            LostVMError: QEMU closed the connection instead of greeting.
            DeadlineError: no greeting before `deadline`.
        """
        self.events: list[Event] = []
        self._clock = clock
        self._changed = threading.Condition()
        self._taken: set[int] = set()  # indices of events that a wait has returned
        self._ended = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._client = QMPClient("lab")
        self._client.logger.disabled = True  # errors are raised; its log would only repeat them
        try:
            self._call(self._client.connect(sock), deadline, "the QMP greeting")
        except BaseException:
            self.close()
            raise
        self._listener = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)

    async def _listen(self) -> None:
        try:
            async for message in self._client.events:
                data: Any = message.get("data", {})
                event = Event(str(message["event"]), self._clock(), data)
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except (QMPError, asyncio.CancelledError):
            pass  # the connection is gone, or close() was called

    def _call(self, work: Coroutine[Any, Any, _T], deadline: Deadline, what: str) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(deadline.remaining)
        except FutureTimeout:
            future.cancel()
            raise DeadlineError(f"waited {deadline.seconds:.1f} s for {what} in vain") from None
        except ExecuteError:
            raise
        except (QMPError, EOFError, ConnectionError) as error:
            raise LostVMError(f"QEMU closed the QMP connection: {error}") from error

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, timeout: float = 30.0
    ) -> Any:
        """Runs one QMP command and returns its result.

        Raises:
            MonitorError: QEMU refused it.
            LostVMError: QEMU is gone.
            DeadlineError: no answer within `timeout` seconds.
        """
        deadline = Deadline.of(timeout)
        try:
            return self._call(
                self._client.execute(command, dict(arguments or {})), deadline, f"QMP {command}"
            )
        except ExecuteError as error:
            raise MonitorError(command, str(error)) from None

    def wait_event(
        self,
        name: str,
        deadline: Deadline,
        check: Callable[[], None] = lambda: None,
        **data: object,
    ) -> Event:
        """Returns the oldest event `name` that no earlier wait has returned, waiting if need be.

        Args:
            check: called now and then; what it raises ends the wait (lost machine, panic).
            data: values that the event's payload must have, for example status="completed".

        Raises:
            DeadlineError: it did not come; the message lists what came instead.
        """
        while True:
            with self._changed:
                for index, event in enumerate(self.events):
                    fits = all(event.data.get(key) == value for key, value in data.items())
                    if event.name == name and fits and index not in self._taken:
                        self._taken.add(index)
                        return event
                if deadline.expired:
                    came = ", ".join(event.name for event in self.events) or "none"
                    raise DeadlineError(
                        f"waited {deadline.seconds:.1f} s for event {name} in vain; came: {came}"
                    )
                self._changed.wait(min(0.2, deadline.remaining))
            check()

    def forget_events(self) -> None:
        """Events so far are no longer returned by wait_event(); they stay in `events`."""
        with self._changed:
            self._taken = set(range(len(self.events)))

    def close(self) -> None:
        """Disconnects and ends the loop thread; harmless when QEMU is gone already."""
        if self._ended:
            return
        self._ended = True
        # Should it hang: the thread is a daemon and cannot hold up the end of the process.
        with suppress(FutureTimeout):
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _shut(self) -> None:
        # It raises again how the connection ended, which after a power cut is an EOFError.
        with suppress(Exception):
            await self._client.disconnect()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
