"""A program's part in a start: connected or not, early, late, and beside a person."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootsvc.boot import program_peer
from bootsvc.boot.watchdog import Watchdog
from bootsvc.console import desk as desk_module
from bootsvc.console import program_line
from bootsvc.console.actions import Outcome, Then
from bootsvc.console.desk import HELD_EARLY_S, Desk
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.sequence.runner import Runner, Start
from bootsvc.settings import Settings
from bootsvc.storage.disk import Disk
from tests.console.typist import Typist
from tests.sequence.machine import SITE, V1, V2, Machine, settled_machine

AT_ONCE = Settings(compatible="test", console_wait_s=0, console_idle_s=60)


class QuietWatchdog(Watchdog):
    """A watchdog that is not there."""

    def guard_work(self, timeout_s: int) -> str:
        return f"watchdog: guards, {timeout_s} s"


class Host:
    """The machine that holds the other end of the port, from before the start on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.end, self._guest = socket.socketpair()
        self._guest.setblocking(False)
        self.messages: list[dict[str, Any]] = []
        self._held = b""
        monkeypatch.setattr(program_peer, "open_port", self._open)
        monkeypatch.setattr(desk_module, "open_port", self._open)

    def _open(self) -> int:
        return os.dup(self._guest.fileno())

    def sends(self, **asked: object) -> None:
        self.end.sendall(json.dumps(asked).encode() + b"\n")

    def hears(self, tell: str) -> dict[str, Any]:
        """The next message of a kind."""
        self.end.settimeout(10)
        while True:
            for at, message in enumerate(self.messages):
                if message["tell"] == tell:
                    del self.messages[: at + 1]
                    return message
            *lines, self._held = (self._held + self.end.recv(1 << 16)).split(b"\n")
            self.messages += map(json.loads, lines)

    def close(self) -> None:
        self.end.close()
        self._guest.close()


class Started:
    """A start of the updater, up to its console."""

    def __init__(self, settings: Settings, machine: Machine, cmdline: str = "") -> None:
        self.machine = machine
        self.reporter = ConsoleReporter()
        self.desk = Desk(settings, cmdline, self.reporter, QuietWatchdog(), self._start_on)
        self.reporter.on_progress = self.desk.look
        self.runner = self._start_on(machine.disk)
        self.outcomes: list[Outcome | None] = []

    def _start_on(self, disk: Disk) -> Runner:
        start = Start(SITE, self.machine.policy, now_s=1000, fresh_id=b"f" * 16)
        return Runner(disk, start, self.reporter)

    def is_knocked_at(self) -> bool:
        return self.desk.is_knocked_at(self.runner)

    def open(self) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: self.outcomes.append(self.desk.open(self.runner, ""))
        )
        thread.start()
        return thread

    def ends(self, thread: threading.Thread) -> Outcome:
        thread.join(20)
        assert not thread.is_alive()
        (outcome,) = self.outcomes
        assert outcome is not None
        return outcome


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(desk_module, "console_paths", list)
    found = Host(monkeypatch)
    yield found
    found.close()


@pytest.fixture
def typist(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typist]:
    found = Typist()
    monkeypatch.setattr(desk_module, "console_paths", lambda: [found.path])
    yield found
    found.close()


def test_a_port_to_which_nobody_is_connected_costs_a_start_nothing(host: Host) -> None:
    host.end.close()
    started = Started(AT_ONCE, settled_machine())
    began = time.monotonic()
    assert not started.is_knocked_at()
    assert time.monotonic() - began < HELD_EARLY_S
    started.desk.close()


def test_a_program_that_says_nothing_costs_only_the_moment_in_which_it_could_have(
    host: Host,
) -> None:
    started = Started(AT_ONCE, settled_machine())
    began = time.monotonic()
    assert not started.is_knocked_at()
    assert HELD_EARLY_S <= time.monotonic() - began < HELD_EARLY_S + 2
    assert host.hears("hello")["schema"] == 1
    assert host.hears("stays")["goes_on_in_s"] <= HELD_EARLY_S
    started.desk.close()


def test_a_hold_that_was_sent_before_the_start_opens_the_console(host: Host) -> None:
    host.sends(do="hold", id="1")
    started = Started(AT_ONCE, settled_machine(V2, V1))
    assert started.is_knocked_at()
    thread = started.open()
    told = host.hears("facts")
    assert told["id"] == "1"
    assert told["facts"]["areas"]["primary"]["number"] == 2
    host.sends(do="perform", action="verify", arguments={"area": "backup"}, id="2")
    assert host.hears("outcome")["facts"] == {"backup": "verified"}
    host.sends(do="perform", action="go-on")
    assert started.ends(thread).then is Then.GO_ON
    started.desk.close()
    assert host.hears("closed")


def test_a_program_may_ask_during_the_wait_and_stops_nothing_by_it(host: Host) -> None:
    host.sends(do="facts", id="1")
    host.sends(do="cancel", id="2")
    started = Started(Settings(compatible="test", console_wait_s=1), settled_machine())
    assert not started.is_knocked_at()
    assert host.hears("facts")["id"] == "1"
    assert host.hears("error")["id"] == "2"
    started.desk.close()


def test_an_action_that_was_sent_before_the_start_is_done_first(host: Host) -> None:
    host.sends(do="perform", action="power-off", id="1")
    started = Started(AT_ONCE, settled_machine())
    assert started.is_knocked_at()
    assert started.ends(started.open()).then is Then.POWER_OFF
    assert host.hears("outcome")["id"] == "1"
    started.desk.close()


def test_a_program_and_a_person_see_what_the_other_one_does(host: Host, typist: Typist) -> None:
    host.sends(do="hold")
    started = Started(AT_ONCE, settled_machine())
    assert started.is_knocked_at()
    thread = started.open()
    typist.sees("Choice [1]: ")
    host.sends(do="perform", action="verify", arguments={"area": "primary"})
    typist.sees("every byte fits its signed digests")
    time.sleep(1.1)
    typist.types("\r")
    typist.sees("Choice [1]: ")
    typist.types("verify backup\r")
    assert host.hears("outcome")["facts"] == {"primary": "verified"}
    assert host.hears("began")["by"] == typist.path.name
    assert host.hears("outcome")["facts"] == {"backup": "verified"}
    host.sends(do="perform", action="go-on")
    assert started.ends(thread).then is Then.GO_ON
    started.desk.close()


def test_a_program_follows_a_forced_update_and_cannot_stop_it(host: Host) -> None:
    machine = settled_machine(V1)
    machine.os_stages(V2)
    forced = Settings(compatible="test", console_wait_s=1, console_locked_while_updating=True)
    host.sends(do="hold")
    started = Started(forced, machine)
    assert not started.is_knocked_at()
    time.sleep(0.6)
    started.desk.look()
    assert not started.desk.is_wanted
    started.reporter.stage("copy", boot="backup")
    assert host.hears("stage")["name"] == "copy"
    started.desk.close()


def test_json_on_the_console_itself_takes_the_place_of_plain_lines(
    typist: Typist,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "console").symlink_to(typist.path)
    monkeypatch.setattr(program_line, "DEV", tmp_path)
    settings = Settings(compatible="test", console_wait_s=1)
    started = Started(settings, settled_machine(), "bootsvc.json=console")
    assert not started.is_knocked_at()
    capsys.readouterr()
    started.reporter.say("next: start primary")
    typist.sees('{"tell":"say","line":"next: start primary"}')
    assert capsys.readouterr().out == ""
    started.desk.close()


def test_an_option_that_names_no_line_is_an_alarm_and_the_start_goes_on(
    typist: Typist, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(compatible="test", console_wait_s=1)
    started = Started(settings, settled_machine(), "bootsvc.json=sda")
    typist.types("x")
    assert started.is_knocked_at(), "a person still can"
    assert "ALARM kernel option bootsvc.json: no serial line 'sda'" in capsys.readouterr().out
    started.desk.close()
