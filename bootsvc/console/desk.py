"""The console's part in one start: who may knock, what is open, and what was chosen.

Made at every start; until somebody knocks it has opened little and imported less. Terminals stay
open (in raw mode) from the first wait to the hand-over, so that a key typed while the start works
is heard: it shows that a person is there, and opens the console before the image is started.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from bootsvc.boot.cmdline import is_repair, parse_options, updater_slot
from bootsvc.boot.drivers import LateKeyboards
from bootsvc.boot.program_peer import open_port, open_port_with_peer
from bootsvc.boot.watchdog import Watchdog
from bootsvc.console.plan import works_of
from bootsvc.console.reporter import ConsoleReporter, PlainLines
from bootsvc.console.screens import console_paths, writers_of
from bootsvc.errors import BootsvcError
from bootsvc.sequence.runner import Runner
from bootsvc.settings import Settings
from bootsvc.storage.disk import Disk

if TYPE_CHECKING:
    from bootsvc.console.actions import Outcome
    from bootsvc.console.forced import ForcedScreen
    from bootsvc.console.front_end import Command, FrontEnd, Perform
    from bootsvc.console.lock import Gate
    from bootsvc.console.menu import Menu
    from bootsvc.console.perform import Session
    from bootsvc.console.terminal import Terminal

ATTENDED_INTERVAL_S = 1.0
"""Between two lines of progress as soon as somebody has shown up."""

LOOK_S = 0.5
"""Between two looks at the lines while the start works."""

HELD_EARLY_S = 0.3
"""How long a program's word ``hold`` may take to arrive where the start waits for no key."""


class Desk:
    """See above.

    Attributes:
        session: of the console, once it was needed; its runner may be another after a while.
        is_wanted: somebody knocked while the start worked.
    """

    def __init__(
        self,
        settings: Settings,
        cmdline: str,
        reporter: ConsoleReporter,
        watchdog: Watchdog,
        start_on: Callable[[Disk], Runner],
    ) -> None:
        self.session: Session | None = None
        self.is_wanted = False
        self._settings = settings
        self._slot = updater_slot(cmdline)
        self._is_repair = is_repair(cmdline)
        self._program_option = parse_options(cmdline).get("bootsvc.json", "")
        self._reporter = reporter
        self._watchdog = watchdog
        self._start_on = start_on
        self._terminals: list[Terminal] = []
        self._front_ends: list[FrontEnd] = []  # who may knock
        self._program: FrontEnd | None = None
        self._gate_of_this_start: Gate | None = None
        self._first: tuple[FrontEnd, Perform] | None = None  # what a program knocked with
        self._runner: Runner | None = None
        self._is_locked = False
        self._forced: dict[str, ForcedScreen] = {}
        self._keyboards = LateKeyboards()
        self._looked_s = 0.0
        self._lines = PlainLines()
        writers = writers_of(console_paths()[1:])
        self._mirrors = {name: PlainLines(write) for name, write in writers.items()}
        reporter.listeners[:] = [self._lines, *self._mirrors.values()]
        self._set_interval(float(settings.progress_s))

    # --- before the console is open -------------------------------------------------------------

    def is_knocked_at(self, runner: Runner) -> bool:
        """Whether somebody wants the console, asked at the start and waited for by setting."""
        if self._is_repair:
            return True
        if self._settings.console_locked_while_updating and works_of(runner.status):
            self._lock()
            return False
        seconds = self._settings.console_wait_s
        self._open_program_line(with_peer_only=not seconds)
        if not seconds and self._program is None:
            return False
        from bootsvc.console.front_end import Perform
        from bootsvc.console.keys import ESCAPE_S
        from bootsvc.console.knock import knocked

        self._runner = runner
        if seconds:
            self._open_terminals()  # first: what is typed is not to be echoed by the kernel
            self._reporter.say(f"press a key within {seconds} s for the console")
        until_s = time.monotonic() + (seconds or HELD_EARLY_S)
        self._announce(until_s)
        if seconds:
            _import_console()
            until_s = max(until_s, time.monotonic() + 2 * ESCAPE_S)
        who = knocked(self._front_ends, until_s, looked=self._wait_on, others=self._answer)
        if who is None:
            return False
        self._attend()
        front_end, command = who
        self._first = (front_end, command) if isinstance(command, Perform) else None
        return True

    def look(self) -> None:
        """A step of the start's work is done: feed the watchdog; see whether somebody knocks."""
        self._watchdog.feed()
        now_s = time.monotonic()
        if not self._front_ends or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            self._keyboards.look()
            self._listen()
        except Exception as exc:  # noqa: BLE001  # a console that fails must not cost the update
            self.give_up(exc)

    def _wait_on(self) -> None:
        """A person is waited for: that is no hang, and a keyboard may have been found."""
        self._watchdog.feed()
        self._keyboards.look()

    def give_up(self, error: Exception) -> None:
        """Something is wrong with the console itself: say so, and go on without it."""
        self._reporter.say(f"ALARM the console failed: {type(error).__name__}: {error}")
        self.is_wanted = False
        self.close()

    def _listen(self) -> None:
        from bootsvc.console.front_end import Hold
        from bootsvc.console.knock import gather

        for front_end, command in gather(self._front_ends, 0.0):
            if not isinstance(command, Hold):
                self._answer(front_end, command)
            elif not self.is_wanted:
                self._knocked_at_work()

    def _knocked_at_work(self) -> None:
        self._attend()
        if self._is_locked:
            self._reporter.say("locked: an update is being installed, and no key stops it")
            return
        self.is_wanted = True
        self._reporter.say("the console opens as soon as this work is done")

    # --- a forced update -------------------------------------------------------------------------

    def begin_update(self) -> None:
        """An image is about to be fetched: nobody stops it where updates are forced ones."""
        if self._settings.console_locked_while_updating and not self._is_locked:
            self._lock()

    def _lock(self) -> None:
        """Progress is visible, and nothing can be cancelled, until the work has ended. Without any
        progress a fetch gives up by itself; whatever hangs is the watchdog's (F0.11)."""
        from bootsvc.console import texts
        from bootsvc.console.forced import ForcedScreen

        limit_s = self._settings.forced_lock_s
        work_s = self._settings.work_watchdog_s
        self._is_locked = True
        self._open_terminals()
        self._open_program_line(with_peer_only=True)
        for sentence in texts.forced(limit_s):
            self._reporter.say(sentence)
        self._reporter.say(self._watchdog.guard_work(min(work_s or limit_s, limit_s)))
        for terminal in self._terminals:
            if terminal.is_own_screen and terminal.name in self._mirrors:
                self._reporter.listeners.remove(self._mirrors[terminal.name])
                self._forced[terminal.name] = ForcedScreen(terminal, limit_s)
        self._reporter.listeners += self._forced.values()

    def unlock(self) -> None:
        """The work that nobody may stop has ended, well or not: keys count again."""
        if not self._is_locked:
            return
        self._is_locked = False
        for name, screen in self._forced.items():
            self._reporter.listeners.remove(screen)
            self._reporter.listeners.append(self._mirrors[name])
        self._forced.clear()

    # --- the console ----------------------------------------------------------------------------

    def open(self, runner: Runner | None, problem: str) -> Outcome | None:
        """Open the console until an outcome leaves it; None where nobody could be reached.

        Args:
            problem: why the machine cannot go on by itself, "" where it can.
        """
        from bootsvc.console.loop import Loop
        from bootsvc.console.person import Person
        from bootsvc.console.terminal import SETTLE_S, ask, hear_answers

        self.is_wanted = False
        self._attend()
        self._open_program_line()
        self._open_terminals()
        if not self._front_ends:
            return None
        ask(self._terminals)
        settled_s = time.monotonic() + SETTLE_S
        idle_s = float(self._settings.console_idle_s)
        loop = Loop(  # which reads the facts while the terminals answer
            self._session(runner, problem),
            idle_s=None if problem or not idle_s else idle_s,
            shell=self._shell,
            waited=self._wait_on,
        )
        hear_answers(self._terminals, settled_s)
        now_s = time.monotonic()
        people = [Person(one, self._menu(one.name), now_s) for one in self._terminals]
        first, self._first = self._first, None
        return loop.run([*people, *([self._program] if self._program else [])], first)

    def close(self) -> None:
        """Leave all lines as they were found: the image's own programs come next."""
        lines: list[Terminal | FrontEnd] = [*self._terminals]
        if self._program is not None:
            self._reporter.listeners.remove(self._program.show)
            lines.append(self._program)
        self._terminals, self._front_ends, self._program = [], [], None
        for line in lines:
            with suppress(OSError):
                line.close()

    def _menu(self, name: str) -> Menu:
        from bootsvc.console.action_table import ACTIONS
        from bootsvc.console.menu import Menu

        return Menu(ACTIONS, self._gate(), name)

    def _shell(self, front_end: FrontEnd, looked: Callable[[], None]) -> None:
        from bootsvc.console.person import Person
        from bootsvc.console.shell import run_shell

        if isinstance(front_end, Person):
            problem = run_shell(front_end.terminal, looked)
            front_end.resume()
            if problem:
                self._reporter.say(problem)

    # --- parts that are made when they are needed -----------------------------------------------

    def _session(self, runner: Runner | None, problem: str) -> Session:
        from bootsvc.console.facts_of import facts_of
        from bootsvc.console.perform import Session

        if self.session is None:
            self.session = Session(
                runner,
                self._settings,
                self._reporter,
                self._watchdog,
                lambda session: facts_of(session, slot=self._slot),
                self._start_on,
            )
        self.session.runner, self.session.problem = runner, problem
        return self.session

    def _gate(self) -> Gate:
        from bootsvc.console.lock import Gate

        if self._gate_of_this_start is None:
            self._gate_of_this_start = Gate(self._settings.console_password)
        return self._gate_of_this_start

    def _open_terminals(self) -> None:
        """Every console of the kernel, except one that belongs to a program."""
        if self._terminals:
            return
        from bootsvc.console.knock import Knocker
        from bootsvc.console.terminal import open_terminals

        taken = self._program_option.partition(",")[0]
        paths = console_paths()
        if taken == "console":
            paths = paths[1:]
        self._terminals = open_terminals([path for path in paths if path.name != taken])
        self._front_ends += [Knocker(one) for one in self._terminals]

    def _open_program_line(self, *, with_peer_only: bool = False) -> None:
        """The line on which a program may drive the console, where there is one (PROTOCOL.md)."""
        if self._program is not None:
            return
        fd = None
        if not self._program_option:
            fd = open_port_with_peer() if with_peer_only else open_port()
            if fd is None:
                return
        from bootsvc.console.action_table import ACTIONS
        from bootsvc.console.program_line import VirtioLine, serial_line
        from bootsvc.console.program_port import ProgramPort

        try:
            line = serial_line(self._program_option) if fd is None else VirtioLine(fd)
        except BootsvcError as exc:
            self._reporter.say(f"ALARM {exc}")
            self._program_option = ""
            return
        self._program = ProgramPort(line, self._gate(), ACTIONS)
        self._front_ends.append(self._program)
        self._reporter.listeners.append(self._program.show)
        if line.name == "console":  # JSON takes the place of people's text on it
            self._reporter.listeners.remove(self._lines)

    # --- telling ---------------------------------------------------------------------------------

    def _announce(self, until_s: float) -> None:
        """A program learns when the start goes on unless it says ``hold``."""
        from bootsvc.console.front_end import StaysUntil

        if self._program is not None:
            self._program.show(StaysUntil(until_s))

    def _answer(self, front_end: FrontEnd, command: Command) -> None:
        """A program asks before the console is open: facts are told, nothing is done."""
        from bootsvc.console import texts
        from bootsvc.console.front_end import Ask, Cancel, Perform, Refused, Told

        match command:
            case Ask(tag):
                front_end.show(Told(self._session(self._runner, "").facts(), tag))
            case Perform() | Cancel():
                front_end.show(Refused(command, texts.HOLD_FIRST))

    def _attend(self) -> None:
        """Somebody is there: progress comes once a second from now on."""
        self._set_interval(min(ATTENDED_INTERVAL_S, float(self._settings.progress_s)))

    def _set_interval(self, seconds: float) -> None:
        for listener in self._reporter.listeners:
            if isinstance(listener, PlainLines):
                listener.interval_s = seconds


def _import_console() -> None:
    """What the console needs beyond the wait: the time of the wait is there, a key is answered
    sooner, and nobody who types it now is overheard."""
    import bootsvc.console.facts_of
    import bootsvc.console.loop
    import bootsvc.console.person  # noqa: F401
