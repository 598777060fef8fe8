"""The lab's end of the updater's port, with the updater's own console at the other end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Then
from bootsvc.console.facts import SCHEMA
from bootsvc.console.front_end import FrontEnd
from bootsvc.console.lock import Gate
from bootsvc.console.loop import Loop
from bootsvc.console.program_line import VirtioLine
from bootsvc.console.program_port import ProgramPort
from bootsvc.trust.password import hash_password
from qemu_lab import updater_port
from qemu_lab.errors import DeadlineError, ExpectationError, LostVMError
from qemu_lab.updater_port import UpdaterPort
from tests.console.console_bench import Bench
from tests.sequence.machine import settled_machine

PASSWORD = "open sesame"


class Updater:
    """A machine at its console, the port between it and the lab connected."""

    def __init__(self, folder: Path, gate: Gate, *, is_read: bool = True) -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.lab = UpdaterPort(folder / "vm.updater.txt", lambda *_: None, lambda _: None)
        self.lab.is_read = is_read
        self.lab.attach(ours)
        self.bench = Bench(settled_machine())
        self.then: list[Then] = []
        self._port = ProgramPort(VirtioLine(theirs.detach()), gate, ACTIONS)

    @contextmanager
    def with_open_console(self) -> Iterator[UpdaterPort]:
        """The console runs until it is left by an action."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self.lab
        finally:
            with suppress(LostVMError):  # left already
                self.lab.send(b'{"do":"unlock","password":"%s"}\n' % PASSWORD.encode())
                self.lab.send(b'{"do":"perform","action":"go-on"}\n')
            thread.join(30)
            self.lab.detach()

    def _run(self) -> None:
        loop = Loop(self.bench.session, idle_s=60, shell=_no_shell, waited=lambda: None)
        self.then.append(loop.run([self._port]).then)
        self._port.close()


def _no_shell(_: FrontEnd, __: Callable[[], None]) -> None:
    raise AssertionError("a program gets no shell")


@pytest.fixture
def updater(tmp_path: Path) -> Updater:
    return Updater(tmp_path, Gate(""))


@pytest.fixture
def locked(tmp_path: Path) -> Updater:
    return Updater(tmp_path, Gate(hash_password(PASSWORD, bytes(16))))


def test_the_lab_speaks_the_updaters_schema() -> None:
    assert updater_port.SCHEMA == SCHEMA


def test_a_start_is_held_and_an_area_verified_and_booted(updater: Updater) -> None:
    with updater.with_open_console() as lab:
        assert lab.hold()["disk"] == "/dev/test"
        assert set(lab.actions()) == {action.name for action in ACTIONS} - {"shell"}
        with pytest.raises(ExpectationError, match="shell needs a terminal"):
            lab.perform("shell")
        verified = lab.perform("verify", area="backup").require()
        assert verified.facts == {"backup": "verified"}
        assert lab.wait("began")["by"] == "virtio-serial"
        assert lab.perform("boot-once", area="backup").then == "boot"
        assert lab.wait("closed")["why"]
    assert updater.then == [Then.BOOT]
    assert not updater.bench.has_written
    assert not lab.noise


def test_what_is_refused_is_an_outcome_that_says_why(updater: Updater) -> None:
    with updater.with_open_console() as lab:
        outcome = lab.perform("verify", area="primry")
        assert not outcome.is_done
        with pytest.raises(ExpectationError, match=r"verify was not done: .*did you mean primary"):
            outcome.require()


def test_what_is_no_request_is_an_error_and_hurts_nothing(updater: Updater) -> None:
    with updater.with_open_console() as lab:
        lab.send(b"reboot now\n" + b"[" * 4000 + b"\n" + b"x" * 100_000 + b"\n\xff\n")
        with pytest.raises(ExpectationError, match=r"'reboot' was: no such request; there are"):
            lab.ask("facts", do="reboot")
        assert lab.facts()["compatible"] == "test"
        assert len(lab.told("error")) == 5


def test_a_locked_console_is_opened_by_its_password_alone(locked: Updater) -> None:
    with locked.with_open_console() as lab:
        with pytest.raises(ExpectationError, match="locked"):
            lab.hold()
        with pytest.raises(ExpectationError, match="the console is locked: unlock"):
            lab.perform("reboot")
        assert lab.unlock(PASSWORD)
        assert lab.perform("reboot").then == "reboot"
    assert locked.then == [Then.REBOOT]


def test_a_lab_that_reads_late_still_gets_its_answers(tmp_path: Path) -> None:
    updater = Updater(tmp_path, Gate(""), is_read=False)
    with updater.with_open_console() as lab:
        lab.send(b'{"do":"facts"}\n' * 2000)
        lab.read_at_last()
        assert lab.perform("go-on").is_done
        missed = sum(lost["messages"] for lost in lab.told("lost"))
        assert missed + len(lab.told("facts")) >= 2000


def test_every_line_of_both_sides_is_kept_in_a_file(updater: Updater, tmp_path: Path) -> None:
    with updater.with_open_console() as lab:
        lab.facts()
    kept = (tmp_path / "vm.updater.txt").read_text()
    assert '> {"do": "facts", "id": "1"}\n' in kept
    assert '"tell":"facts"' in kept


def test_a_wait_that_is_over_says_what_it_waited_for(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    lab = UpdaterPort(tmp_path / "x", lambda *_: None, lambda _: None)
    with pytest.raises(LostVMError, match="has no updater_port"):
        lab.hold()
    lab.attach(ours)
    theirs.sendall(b'Linux version 6.1\n{"tell":"say","line":"x"}\n{"tell":')
    assert lab.wait("say", 5)["line"] == "x"
    with pytest.raises(DeadlineError, match="for the updater's answer to 'facts' in vain"):
        lab.facts(0.1)
    assert lab.noise == ["Linux version 6.1"]
    lab.restart()
    assert (lab.messages, lab.noise) == ([], [])
    lab.detach()
    theirs.close()
