"""A program at the console: over a socket, as over a virtio-serial port, and over a serial line."""

from __future__ import annotations

import json
import os
import socket
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootsvc.boot import program_peer
from bootsvc.boot.program_peer import PORT_NAME
from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Outcome
from bootsvc.console.facts import Facts
from bootsvc.console.front_end import (
    Ask,
    Began,
    Cancel,
    Closed,
    Ended,
    FrontEnd,
    Hold,
    Perform,
    Refused,
    StaysUntil,
    Told,
)
from bootsvc.console.knock import knocked
from bootsvc.console.lock import Gate
from bootsvc.console.program_line import SerialLine, VirtioLine, serial_line
from bootsvc.console.program_port import CLOSING_S, ProgramPort
from bootsvc.console.reports import Progress, Said
from bootsvc.errors import SettingsError
from bootsvc.trust.password import hash_password

PASSWORD = "open sesame"
LOCKED = hash_password(PASSWORD, bytes(16))
FACTS = Facts("1.0", "", "lab", "/dev/vda", "", None, "start primary", "it is confirmed")


class Host:
    """The other end of a port."""

    def __init__(self, gate: Gate) -> None:
        self.end, ours = socket.socketpair()
        self.end.setblocking(False)
        ours.setblocking(False)
        self.fd = ours.detach()
        self.port = ProgramPort(VirtioLine(self.fd), gate, ACTIONS)
        self.now_s = 100.0
        self.is_closed = False

    def ask(self, **asked: object) -> list[object]:
        """The commands that come of a request."""
        self.end.sendall(json.dumps(asked).encode() + b"\n")
        return list(self.port.feed(self.port.read(), self.now_s))

    def heard(self) -> list[dict[str, Any]]:
        """The messages that arrived."""
        try:
            data = self.end.recv(1 << 20)
        except BlockingIOError:
            return []
        return [json.loads(line) for line in data.splitlines()]

    def reconnect(self) -> None:
        """Another program comes; the port's own end stays open, as a virtio-serial port does."""
        self.end.close()
        self.port.tick(self.now_s)
        self.end, ours = socket.socketpair()
        self.end.setblocking(False)
        ours.setblocking(False)
        os.dup2(ours.fileno(), self.fd)
        ours.close()
        self.port.tick(self.now_s)

    def close_port(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.port.close()

    def leave(self) -> None:
        self.end.close()
        self.close_port()


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host(Gate(""))
    yield found
    found.leave()


@pytest.fixture
def locked() -> Iterator[Host]:
    found = Host(Gate(LOCKED))
    yield found
    found.leave()


def test_a_peer_that_is_there_is_greeted_before_anything_is_known(host: Host) -> None:
    (hello,) = host.heard()
    assert (hello["tell"], hello["schema"], hello["port"]) == ("hello", 1, "virtio-serial")
    assert (hello["facts"], hello["is_locked"]) == (None, False)


def test_it_is_a_front_end_of_the_loop(host: Host) -> None:
    front_end: FrontEnd = host.port
    assert front_end.fileno() >= 0


def test_requests_become_commands_and_their_answers_bear_their_ids(host: Host) -> None:
    host.heard()
    (ask,) = host.ask(do="facts", id="a b")
    assert isinstance(ask, Ask)
    host.port.show(Told(FACTS, ask.tag))
    (hold,) = host.ask(do="hold", id="2")
    assert isinstance(hold, Hold)
    host.port.show(Told(FACTS, hold.tag))
    (table,) = host.ask(do="actions", id="3")
    assert isinstance(table, Ask)
    host.port.show(Told(FACTS, table.tag))
    (cancel,) = host.ask(do="cancel", id="4")
    assert isinstance(cancel, Cancel)
    host.port.show(Refused(cancel, "nothing is under way"))
    heard = [(one["tell"], one["id"]) for one in host.heard()]
    assert heard == [("facts", "a b"), ("facts", "2"), ("actions", "3"), ("error", "4")]


def test_an_action_is_followed_from_its_beginning_to_its_end(host: Host) -> None:
    host.heard()
    (command,) = host.ask(do="perform", action="verify", arguments={"area": "all"}, id="5")
    assert isinstance(command, Perform)
    assert (command.name, command.arguments) == ("verify", {"area": "all"})
    host.port.show(Began(command, host.port.name))
    host.port.show(Progress("verify", 1, 2, 1.0))
    host.port.show(Ended(command, Outcome(is_done=True, lines=("good",))))
    began, progress, outcome = host.heard()
    assert (began["tell"], began["id"], began["by"]) == ("began", "5", "virtio-serial")
    assert (progress["tell"], progress["left_s"]) == ("progress", 1.0)
    assert (outcome["tell"], outcome["id"], outcome["lines"]) == ("outcome", "5", ["good"])


def test_what_another_one_asked_for_is_told_without_an_id(host: Host) -> None:
    host.heard()
    theirs = Perform("verify", tag="7")
    host.port.show(Began(theirs, "ttyS0"))
    host.port.show(Told(FACTS, "8"))
    host.port.show(Ended(theirs, Outcome(is_done=False)))
    assert [(one["tell"], "id" in one) for one in host.heard()] == [
        ("began", False),
        ("facts", False),
        ("outcome", False),
    ]


def test_what_is_no_request_gets_its_reason_and_reaches_no_loop(host: Host) -> None:
    host.heard()
    host.end.sendall(b'reboot\n{"do":"reboot","id":"1"}\n' + b"[" * 4000 + b"\n")
    commands = [
        one for _ in range(3) for one in host.port.feed(host.port.read(), 0.0)
    ]  # 4096 bytes each
    assert commands == []
    heard = host.heard()
    assert [one["tell"] for one in heard] == ["error"] * 3
    assert heard[1]["id"] == "1"


def test_the_countdown_is_told_in_seconds_from_now(host: Host) -> None:
    host.heard()
    host.port.show(StaysUntil(time.monotonic() + 60))
    host.port.show(StaysUntil(None))
    first, second = host.heard()
    assert 59 < first["goes_on_in_s"] <= 60
    assert second["goes_on_in_s"] is None


def test_a_peer_that_reads_nothing_blocks_nobody_and_learns_how_much_it_missed(host: Host) -> None:
    began = time.monotonic()
    for number in range(20_000):
        host.port.show(Said(f"{number} " + "x" * 80))
        host.port.show(Progress("copy", number, 20_000, 1.0))
    assert time.monotonic() - began < 20
    heard: list[dict[str, Any]] = []
    data = b""
    while True:
        host.port.tick(0.0)
        try:
            data += host.end.recv(1 << 20)
        except BlockingIOError:
            break
    heard = [json.loads(line) for line in data.splitlines()]
    lost = [one["messages"] for one in heard if one["tell"] == "lost"]
    said = [int(one["line"].split()[0]) for one in heard if one["tell"] == "say"]
    assert sum(lost) + len(said) == 20_000
    assert said == sorted(said)
    assert said[-1] == 19_999
    assert heard[-1]["done"] == 19_999


def test_closing_pushes_the_last_message(host: Host) -> None:
    host.port.show(Closed("it was asked for"))
    host.close_port()
    assert host.heard()[-1]["tell"] == "closed"


def test_closing_does_not_wait_for_ever_for_a_peer_that_reads_nothing(host: Host) -> None:
    for _ in range(5000):
        host.port.show(Said("x" * 200))
    began = time.monotonic()
    host.close_port()
    assert CLOSING_S <= time.monotonic() - began < CLOSING_S + 2


def test_a_peer_that_hangs_up_is_waited_for_without_a_file_to_wait_on(host: Host) -> None:
    host.end.close()
    host.port.tick(0.0)
    assert not host.port.has_peer
    assert host.port.fileno() == -1
    host.port.show(Said("nobody hears this"))


def test_an_end_of_file_is_a_hang_up_and_silence_is_none(host: Host) -> None:
    assert host.port.read() == b""
    assert host.port.has_peer
    host.end.close()
    assert host.port.read() == b""
    assert host.port.fileno() == -1


def test_whoever_connects_later_is_greeted_with_what_is_known_and_finds_nothing_left(
    host: Host,
) -> None:
    host.port.show(Told(FACTS))
    host.port.feed(b'{"do":"perform","act', 0.0)
    host.reconnect()
    (hello,) = host.heard()
    assert hello["facts"]["next"] == "start primary"
    (hold,) = host.ask(do="hold")
    assert isinstance(hold, Hold)


# --- a locked console ----------------------------------------------------------------------------


def test_a_locked_console_answers_nothing_but_a_password(locked: Host) -> None:
    locked.port.show(Told(FACTS))
    for asked in ({"do": "facts"}, {"do": "actions"}, {"do": "cancel"}):
        assert locked.ask(**asked) == []
    assert locked.ask(do="perform", action="reboot") == []
    heard = locked.heard()
    assert [one["tell"] for one in heard] == ["hello"] + ["error"] * 4
    assert (heard[0]["is_locked"], heard[0]["facts"]) == (True, None)


def test_a_locked_console_can_be_held_and_shows_no_facts_for_it(locked: Host) -> None:
    locked.heard()
    (hold,) = locked.ask(do="hold", id="1")
    assert isinstance(hold, Hold)
    locked.port.show(Told(FACTS, hold.tag))
    theirs = Perform("verify")
    locked.port.show(Began(theirs, "ttyS0"))
    locked.port.show(Ended(theirs, Outcome(is_done=True)))
    (lock,) = locked.heard()
    assert (lock["tell"], lock["is_locked"], lock["id"]) == ("lock", True, "1")


def test_the_password_opens_and_wrong_ones_slow_down(locked: Host) -> None:
    locked.port.show(Told(FACTS))
    locked.heard()
    for password in ("wrong password", PASSWORD):
        assert locked.ask(do="unlock", password=password) == []
    wrong, too_soon = locked.heard()
    assert (wrong["why"], wrong["is_locked"], wrong["wait_s"]) == ("wrong password", True, 1.0)
    assert "too soon" in too_soon["why"]
    locked.now_s += 2
    locked.ask(do="unlock", password=PASSWORD, id="9")
    opened, facts = locked.heard()
    assert (opened["is_locked"], opened["id"]) == (False, "9")
    assert facts["facts"]["disk"] == "/dev/vda"
    assert locked.ask(do="facts")


def test_an_open_door_closes_behind_the_peer_that_opened_it(locked: Host) -> None:
    locked.ask(do="unlock", password=PASSWORD)
    locked.reconnect()
    assert locked.heard()[0]["is_locked"] is True
    assert locked.ask(do="facts") == []


def test_work_under_way_is_shown_by_a_locked_console_as_on_every_serial_line(locked: Host) -> None:
    locked.heard()
    locked.port.show(Said("next: start primary"))
    locked.port.show(Progress("copy", 1, 2, 1.0))
    assert [one["tell"] for one in locked.heard()] == ["say", "progress"]


# --- before the console is open ------------------------------------------------------------------


def test_a_hold_that_was_sent_before_the_port_was_open_is_a_knock(host: Host) -> None:
    host.end.sendall(b'{"do":"facts"}\n{"do":"hold","id":"1"}\n')
    asked: list[object] = []
    found = knocked(
        [host.port],
        time.monotonic() + 5,
        looked=lambda: None,
        others=lambda _, command: asked.append(command),
    )
    assert found is not None
    front_end, knock = found
    assert front_end.name == host.port.name
    assert isinstance(knock, Hold)
    assert len(asked) == 1
    host.heard()
    host.port.show(Told(FACTS))
    host.port.show(Told(FACTS))
    assert [one.get("id") for one in host.heard()] == ["1", None]


def test_who_asks_for_something_else_does_not_knock(host: Host) -> None:
    host.end.sendall(b'{"do":"facts"}\n')
    until_s = time.monotonic() + 0.05
    assert not knocked([host.port], until_s, looked=lambda: None, others=lambda *_: None)


# --- lines ---------------------------------------------------------------------------------------


def test_the_port_is_found_by_its_name(tmp_path: Path) -> None:
    for node, name in (("vport1p1", "org.bootsvc.lab"), ("vport1p2", PORT_NAME)):
        (tmp_path / node).mkdir()
        (tmp_path / node / "name").write_text(f"{name}\n")
    assert program_peer.port_node(tmp_path) == Path("/dev/vport1p2")
    (tmp_path / "vport1p2/name").write_text("com.redhat.spice.0\n")
    assert program_peer.port_node(tmp_path) is None
    assert program_peer.port_node(tmp_path / "absent") is None


@pytest.mark.parametrize("is_there", [True, False])
def test_a_port_counts_only_where_somebody_is_connected(
    *, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, guest = socket.socketpair()
    if not is_there:
        host.close()
    monkeypatch.setattr(program_peer, "open_port", lambda: os.dup(guest.fileno()))
    fd = program_peer.open_port_with_peer()
    assert (fd is not None) == is_there
    if fd is not None:
        os.close(fd)
    guest.close()
    host.close()


@pytest.mark.parametrize(
    "option", ["sda", "ttyS1,12", "ttyS1,", "../tty1", "tty", "on", "ttyS1,-1"]
)
def test_an_option_that_names_no_serial_line_is_refused_with_the_right_form(option: str) -> None:
    with pytest.raises(SettingsError, match="no serial line") as caught:
        serial_line(option)
    assert "ttyS1,9600" in (caught.value.hint or "")


def test_a_line_that_cannot_be_opened_is_told() -> None:
    with pytest.raises(SettingsError, match="no program can reach the console on ttyS987"):
        serial_line("ttyS987")


def test_a_serial_line_carries_bytes_as_they_are_and_is_left_as_it_was_found() -> None:
    host, guest = os.openpty()
    before = termios.tcgetattr(guest)
    os.set_blocking(guest, False)
    line = SerialLine("ttyS1", os.dup(guest), termios.B9600)
    assert line.has_peer()
    assert termios.tcgetattr(guest)[4:6] == [termios.B9600, termios.B9600]
    os.write(host, b"\x03\x04\x11\r\n")
    assert os.read(line.fileno(), 100) == b"\x03\x04\x11\r\n"
    with pytest.raises(BlockingIOError):
        os.read(line.fileno(), 100)
    os.write(line.fileno(), b"{}\n")
    assert os.read(host, 100) == b"{}\n"
    line.close()
    assert termios.tcgetattr(guest) == before
    os.close(host)
    os.close(guest)
