"""The whole console at a pseudo-terminal: a good terminal, a dumb one, and bad lines."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bootsvc.boot.watchdog import Watchdog
from bootsvc.console import desk as desk_module
from bootsvc.console.actions import Outcome, Then
from bootsvc.console.desk import Desk
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.formats.boot_status import Area
from bootsvc.sequence.runner import Runner, Start
from bootsvc.settings import Settings
from bootsvc.storage.disk import Disk
from bootsvc.trust.password import hash_password
from tests.console.typist import Typist
from tests.sequence.machine import SITE, V1, V2, Machine, settled_machine

MENU = "Choice [1]: "
SETTINGS = Settings(compatible="test", console_wait_s=1, console_idle_s=60)
EARLY_S = 1.1


class FedWatchdog(Watchdog):
    """Counts how often it was fed."""

    fed = 0

    def feed(self) -> None:
        self.fed += 1

    def guard_work(self, timeout_s: int) -> str:
        return f"watchdog: guards, {timeout_s} s"

    def stop(self) -> str:
        return ""


class Opened:
    """A desk at a typist's terminal, and what the person there came to."""

    def __init__(self, typist: Typist, settings: Settings, machine: Machine) -> None:
        self.typist = typist
        self.machine = machine
        self.reporter = ConsoleReporter()
        self.watchdog = FedWatchdog()
        self.desk = Desk(settings, "bootsvc.slot=b", self.reporter, self.watchdog, self._start_on)
        self.reporter.on_progress = self.desk.look
        self.runner = self._start_on(machine.disk)
        self.outcome: Outcome | None = None
        self._thread: threading.Thread | None = None

    def _start_on(self, disk: Disk) -> Runner:
        start = Start(SITE, self.machine.policy, now_s=1000, fresh_id=b"f" * 16)
        return Runner(disk, start, self.reporter)

    def open(self, problem: str = "") -> None:
        def opening() -> None:
            self.outcome = self.desk.open(self.runner, problem)

        self._thread = threading.Thread(target=opening)
        self._thread.start()

    def ends(self) -> Outcome:
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive(), self.typist.text
        assert self.outcome is not None
        return self.outcome

    def chooses(self, line: str) -> None:
        """Wait for the menu, and type once a person could have read it."""
        self.typist.sees(MENU)
        time.sleep(EARLY_S)
        self.typist.types(line)


Opener = Callable[..., Opened]


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    made: list[Opened] = []

    def make(
        size: tuple[int, int] | None = None,
        settings: Settings = SETTINGS,
        machine: Machine | None = None,
    ) -> Opened:
        typist = Typist(size=size)
        monkeypatch.setattr(desk_module, "console_paths", lambda: [typist.path])
        monkeypatch.setattr(desk_module, "open_port", lambda: None)
        monkeypatch.setattr(desk_module, "open_port_with_peer", lambda: None)
        made.append(Opened(typist, settings, machine or settled_machine(V2, V1)))
        return made[-1]

    yield make
    for one in made:
        one.desk.close()
        one.typist.close()


def test_nobody_presses_a_key_and_the_start_goes_on(console: Opener) -> None:
    opened = console()
    began = time.monotonic()
    assert not opened.desk.is_knocked_at(opened.runner)
    assert 1.0 <= time.monotonic() - began < 3.0
    assert opened.watchdog.fed >= 2, "a wait is no hang"


def test_without_a_wait_nothing_is_read_and_no_time_is_lost(console: Opener) -> None:
    opened = console(settings=Settings(console_wait_s=0))
    opened.typist.types("x")
    began = time.monotonic()
    assert not opened.desk.is_knocked_at(opened.runner)
    assert time.monotonic() - began < 0.2


@pytest.mark.parametrize("key", [b"x", b"\r", b" ", b"\x1b", b"\x1b[A"])
def test_any_key_opens_the_console(console: Opener, key: bytes) -> None:
    opened = console()
    opened.typist.types(key)
    assert opened.desk.is_knocked_at(opened.runner)


@pytest.mark.parametrize("noise", [b"\0\0\0", b"\xff\xfe\x80", b"\x1b[24;80R"])
def test_what_a_bad_line_makes_up_does_not_open_it(console: Opener, noise: bytes) -> None:
    opened = console()
    opened.typist.types(noise)
    assert not opened.desk.is_knocked_at(opened.runner)


def test_from_a_key_to_the_menu_takes_less_than_a_second(console: Opener) -> None:
    opened = console()
    opened.typist.types("x")
    began = time.monotonic()
    assert opened.desk.is_knocked_at(opened.runner)
    opened.open()
    shown = opened.typist.sees(MENU)
    assert time.monotonic() - began < 1.0
    assert 'Primary    number 2 "2.0"' in shown
    assert "If nobody answers, in 1 min 0 s" in shown
    opened.typist.types("go-on\r")
    assert opened.ends().then is Then.GO_ON


def test_a_dumb_terminal_gets_lines_and_no_control_sequences(console: Opener) -> None:
    opened = console()
    opened.open()
    opened.typist.sees(MENU)
    opened.typist.types("2\r")
    opened.typist.sees("Areas: which version is where")
    opened.typist.types("verify backup\r")
    opened.typist.sees("Enter goes back: ")
    opened.typist.types("\r")
    opened.typist.sees("Areas: which version is where")
    opened.typist.types("go-on\r")
    assert opened.ends().then is Then.GO_ON
    asked = "\r\x1b7\x1b[999;999H\x1b[6n\x1b8"
    assert opened.typist.text.startswith(asked)
    assert "\x1b" not in opened.typist.text[len(asked) :]


def test_a_vt100_gets_a_picture_that_is_redrawn_in_its_own_width(console: Opener) -> None:
    opened = console(size=(40, 50))
    opened.open()
    opened.typist.sees(MENU)
    opened.typist.types("\x1b[B")
    opened.typist.sees("Choice [2]: ")
    opened.typist.types("go-on\r")
    assert opened.ends().then is Then.GO_ON
    rows = re.findall(r"\x1b\[(\d+);1H([^\x1b]*)\x1b\[K", opened.typist.text)
    assert rows
    assert all(len(text) <= 40 and int(row) <= 50 for row, text in rows)


def test_arrows_on_a_dumb_terminal_move_no_mark_that_nobody_sees(console: Opener) -> None:
    opened = console()
    opened.open()
    opened.typist.sees(MENU)
    opened.typist.types("\x1b[B\x1b[B\x1b[B")
    opened.typist.types("\r")
    assert opened.ends().then is Then.GO_ON


def test_keys_typed_before_the_menu_are_not_heard(console: Opener) -> None:
    opened = console()
    opened.typist.types("power-off\rreboot\r")
    assert opened.desk.is_knocked_at(opened.runner)
    opened.open()
    time.sleep(0.1)  # the terminal is being asked
    opened.typist.types("reboot\r")
    opened.chooses("go-on\r")
    assert opened.ends().then is Then.GO_ON


def test_enter_hammered_until_the_menu_comes_does_not_close_it(console: Opener) -> None:
    opened = console()
    opened.open()
    for _ in range(8):
        opened.typist.types("\r")
        time.sleep(0.12)
    opened.chooses("\r")
    assert opened.ends().then is Then.GO_ON
    assert opened.typist.text.count(MENU) == 1


def test_doubled_characters_do_nothing_but_a_note(console: Opener) -> None:
    opened = console()
    opened.open()
    opened.typist.sees(MENU)
    opened.typist.types("rreebboooott\r\r\n\n")
    opened.typist.sees("Not understood: rreebboooott")
    opened.chooses("go-on\r")
    assert opened.ends().then is Then.GO_ON


def test_dropped_characters_of_a_word_do_nothing(console: Opener) -> None:
    opened = console(machine=settled_machine(V2, V1))
    before = opened.machine.status_bytes()
    opened.open()
    opened.typist.sees(MENU)
    opened.typist.types("roll-back\r")
    opened.typist.sees("Enter to go back: ")
    opened.typist.types("rol\r")
    opened.typist.sees("typed out in full")
    opened.typist.types("\r")
    opened.typist.sees(MENU)
    opened.typist.types("go-on\r")
    opened.ends()
    assert opened.machine.status_bytes() == before


def test_an_area_is_started_once(console: Opener) -> None:
    opened = console()
    opened.open()
    opened.typist.sees(MENU)
    opened.typist.types("boot-once backup\r")
    outcome = opened.ends()
    assert (outcome.then, outcome.area) == (Then.BOOT, Area.BACKUP)


def test_a_console_that_nobody_answers_closes_and_the_start_goes_on(console: Opener) -> None:
    opened = console(settings=Settings(console_wait_s=1, console_idle_s=2))
    opened.open()
    opened.typist.sees(MENU)
    opened.typist.types("what is this noise\r")  # which must not count as an answer
    opened.typist.sees("Nobody answered for 2 s")
    assert opened.ends().then is Then.GO_ON


def test_a_machine_that_cannot_go_on_stays_in_its_console(console: Opener) -> None:
    opened = console(settings=Settings(console_wait_s=1, console_idle_s=1))
    opened.open("the backup does not verify")
    assert "Stopped    The backup does not verify." in opened.typist.sees(MENU)
    time.sleep(1.5)
    opened.typist.types("power-off\r")
    assert opened.ends().then is Then.POWER_OFF


def test_a_locked_console_shows_nothing_before_its_password(console: Opener) -> None:
    stored = hash_password("open sesame", bytes(16))
    opened = console(settings=Settings(console_wait_s=1, console_password=stored))
    opened.open()
    shown = opened.typist.sees("Password: ")
    assert "primary" not in shown.lower()
    opened.typist.types("reboot\r")
    assert "2.0" not in opened.typist.sees("The next try is looked at in 1 s")
    time.sleep(1.1)
    opened.typist.types("open sesame\r")
    assert "open" not in opened.typist.sees(MENU), "a password is not shown"
    opened.typist.types("go-on\r")
    assert opened.ends().then is Then.GO_ON


def test_a_key_typed_while_the_start_works_is_heard(console: Opener) -> None:
    opened = console()
    assert not opened.desk.is_knocked_at(opened.runner)
    opened.typist.types("x")
    time.sleep(0.6)
    opened.desk.look()
    assert opened.desk.is_wanted


def test_a_forced_update_hears_no_key_until_its_work_is_done(console: Opener) -> None:
    machine = settled_machine(V1)
    machine.os_stages(V2)
    settings = Settings(console_wait_s=1, console_locked_while_updating=True)
    opened = console(settings=settings, machine=machine)
    said: list[str] = []
    opened.reporter.listeners.append(lambda report: said.append(str(report)))
    began = time.monotonic()
    assert not opened.desk.is_knocked_at(opened.runner), "it is not even waited for"
    assert time.monotonic() - began < 0.5
    opened.typist.types("x")
    time.sleep(0.6)
    opened.desk.look()
    assert not opened.desk.is_wanted
    assert any("no key stops it" in text for text in said)
    assert any("guards, 300 s" in text for text in said), "the watchdog guards its progress"
    opened.desk.unlock()
    opened.typist.types("x")
    time.sleep(0.6)
    opened.desk.look()
    assert opened.desk.is_wanted


def test_a_forced_setting_locks_no_start_without_work(console: Opener) -> None:
    opened = console(settings=Settings(console_wait_s=1, console_locked_while_updating=True))
    opened.typist.types("x")
    assert opened.desk.is_knocked_at(opened.runner)


def test_a_forced_update_that_is_fetched_is_locked_from_its_beginning_to_its_end(
    console: Opener,
) -> None:
    opened = console(settings=Settings(console_wait_s=1, console_locked_while_updating=True))
    assert not opened.desk.is_knocked_at(opened.runner)
    opened.desk.begin_update()
    opened.typist.types("x")
    time.sleep(0.6)
    opened.desk.look()
    assert not opened.desk.is_wanted
    opened.desk.unlock()
    opened.typist.types("x")
    time.sleep(0.6)
    opened.desk.look()
    assert opened.desk.is_wanted


def test_an_update_that_is_not_forced_locks_nothing(console: Opener) -> None:
    opened = console()
    assert not opened.desk.is_knocked_at(opened.runner)
    opened.desk.begin_update()
    opened.typist.types("x")
    time.sleep(0.6)
    opened.desk.look()
    assert opened.desk.is_wanted


def test_a_keyboard_that_is_found_while_a_key_is_waited_for_is_woken(
    console: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    monkeypatch.setattr(
        "bootsvc.boot.drivers.LateKeyboards.look", lambda _: looks.append(time.monotonic())
    )
    opened = console()
    assert not opened.desk.is_knocked_at(opened.runner)
    waited = len(looks)
    assert waited >= 2
    time.sleep(0.6)
    opened.desk.look()
    assert len(looks) == waited + 1, "also while the start works"
    opened.open()
    opened.chooses("go-on\r")
    opened.ends()
    assert len(looks) >= waited + 3, "and in the open console"


def test_an_ordinary_start_imports_nothing_of_the_open_console() -> None:
    code = "import sys, bootsvc.updater; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {
        name.removeprefix("bootsvc.console.")
        for name in done.stdout.split()
        if name.startswith("bootsvc.console.")
    }
    assert loaded == {"desk", "plan", "render", "reporter", "reports", "screens"}
    assert "termios" not in done.stdout.split()


def test_a_line_that_fails_while_the_start_works_costs_only_the_console(
    console: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = console()
    assert not opened.desk.is_knocked_at(opened.runner)

    def fail(*_: object) -> None:
        raise OSError("the line is gone")

    monkeypatch.setattr("bootsvc.console.knock.gather", fail)
    fed = opened.watchdog.fed
    opened.desk.look()
    opened.desk.look()
    assert opened.watchdog.fed == fed + 2
    alarms = [entry for entry in opened.reporter.entries if "ALARM" in str(entry)]
    assert len(alarms) == 1
    assert "OSError: the line is gone" in str(alarms[0])
