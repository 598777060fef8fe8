"""The QMP client against a few lines of a fake QEMU."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from qemu_lab.deadline import Deadline
from qemu_lab.errors import DeadlineError, LostVMError, MonitorError
from qemu_lab.qmp import Monitor

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}


class _Qemu:
    """Greets; refuses "bad", is silent on "hang", ends on "quit", else returns the arguments."""

    def __init__(self) -> None:
        self.ours, self.end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, message: object) -> None:
        self.end.sendall(json.dumps(message).encode() + b"\r\n")

    def event(self, name: str, **data: object) -> None:
        stamp = {"seconds": 0, "microseconds": 0}
        self.say({"event": name, "timestamp": stamp, "data": data})

    def _run(self) -> None:
        self.say(GREETING)
        text = ""
        while piece := self.end.recv(4096).decode():
            text += piece
            # A client need not end its commands with a newline.
            while text.strip():
                try:
                    request, used = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    break
                text = text[used:].lstrip()
                self._answer(request)

    def _answer(self, request: dict[str, object]) -> None:
        answer = {"id": request.get("id")}
        if request["execute"] == "quit":
            self.end.shutdown(socket.SHUT_RDWR)
        elif request["execute"] == "bad":
            self.say({**answer, "error": {"class": "GenericError", "desc": "no way"}})
        elif request["execute"] != "hang":
            self.say({**answer, "return": request.get("arguments", {})})

    def close(self) -> None:
        self._thread.join(5)
        self.end.close()


@pytest.fixture
def qemu() -> Iterator[_Qemu]:
    result = _Qemu()
    yield result
    result.close()


@pytest.fixture
def monitor(qemu: _Qemu) -> Iterator[Monitor]:
    result = Monitor(qemu.ours, lambda: 2.5, Deadline.after(5))
    yield result
    result.close()


def test_a_command_returns_its_result(monitor: Monitor) -> None:
    assert monitor.execute("echo", {"a": 1}) == {"a": 1}


def test_a_refused_command_says_which_and_why(monitor: Monitor) -> None:
    with pytest.raises(MonitorError, match="'bad' was refused: no way"):
        monitor.execute("bad")


def test_a_command_without_an_answer_meets_its_deadline(monitor: Monitor) -> None:
    with pytest.raises(DeadlineError, match="QMP hang"):
        monitor.execute("hang", timeout=0.1)
    assert monitor.execute("echo") == {}


def test_a_qemu_that_ends_is_a_lost_machine(monitor: Monitor) -> None:
    with pytest.raises(LostVMError):
        monitor.execute("quit")


def test_events_are_returned_once_and_in_order(qemu: _Qemu, monitor: Monitor) -> None:
    qemu.event("RESET", reason="first")
    qemu.event("STOP")
    qemu.event("RESET", reason="second")
    found = [monitor.wait_event("RESET", Deadline.after(5)).data["reason"] for _ in range(2)]
    assert found == ["first", "second"]
    assert monitor.events[0].seconds == 2.5
    with pytest.raises(DeadlineError, match="came: RESET, STOP, RESET"):
        monitor.wait_event("RESET", Deadline.after(0.1))


def test_an_event_can_be_chosen_by_its_data(qemu: _Qemu, monitor: Monitor) -> None:
    qemu.event("RESET", reason="host")
    qemu.event("RESET", reason="guest")
    event = monitor.wait_event("RESET", Deadline.after(5), reason="guest")
    assert event.data == {"reason": "guest"}


def test_a_wait_for_an_event_ends_when_the_check_fails(monitor: Monitor) -> None:
    def check() -> None:
        raise LostVMError("gone")

    with pytest.raises(LostVMError, match="gone"):
        monitor.wait_event("RESET", Deadline.after(60), check)


def test_a_qemu_that_does_not_greet_is_a_lost_machine() -> None:
    ours, end = socket.socketpair()
    end.close()
    with pytest.raises(LostVMError):
        Monitor(ours, lambda: 0.0, Deadline.after(5))
