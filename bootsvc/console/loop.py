"""The console while it is open: one loop over all front ends, one action at a time.

Every front end sees what any of them does. Work is done in this very thread; at each of its steps
the loop looks at the lines, so that a person can break it off and a program is told that it is
busy. The watchdog is fed as long as the loop turns: a person who thinks is no hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bootsvc.console import texts
from bootsvc.console.actions import Outcome, Then
from bootsvc.console.front_end import (
    Ask,
    Began,
    Cancel,
    Closed,
    Command,
    Ended,
    Event,
    FrontEnd,
    Hold,
    Perform,
    Refused,
    StaysUntil,
    Told,
)
from bootsvc.console.knock import TICK_S, gather
from bootsvc.console.perform import Session
from bootsvc.console.render import duration

GLANCE_S = 0.1
"""Between two looks at the lines while an action works."""

Shell = Callable[[FrontEnd, Callable[[], None]], None]
"""Lets the person at a front end into a shell; calls the function about twice a second meanwhile,
and returns when it was left."""


class Loop:
    """The open console.

    Args:
        idle_s: seconds without an answer from anybody after which it closes by itself; None: never.
        shell: see ``Shell``.
        waited: called about five times a second while nothing works.
    """

    def __init__(
        self,
        session: Session,
        *,
        idle_s: float | None,
        shell: Shell,
        waited: Callable[[], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._front_ends: tuple[FrontEnd, ...] = ()
        self._idle_s = idle_s
        self._shell = shell
        self._waited = waited
        self._now_s = now_s
        self._closes_at_s: float | None = None
        self._is_broken_off = False
        self._glanced_s = 0.0
        self._facts = session.facts()

    def run(
        self, front_ends: Sequence[FrontEnd], first: tuple[FrontEnd, Perform] | None = None
    ) -> Outcome:
        """Obey ``front_ends`` until an outcome leaves the console, or nobody answers any more.

        Args:
            first: what was asked for before the console was open.
        """
        session, self._front_ends = self._session, tuple(front_ends)
        listeners, heard, asked = (
            list(session.reporter.listeners),
            session.reporter.on_progress,
            session.cancelled,
        )
        session.reporter.listeners[:] = [self._tell]
        session.cancelled = lambda: self._is_broken_off
        try:
            return self._run([first] if first else [])
        finally:
            session.reporter.listeners[:] = listeners
            session.reporter.on_progress = heard
            session.cancelled = asked

    def _run(self, commands: Sequence[tuple[FrontEnd, Command]]) -> Outcome:
        self._stay()
        self._tell(Told(self._facts))
        while True:
            for front_end, command in commands:
                outcome = self._obey(front_end, command)
                if outcome is not None and outcome.then is not Then.STAY:
                    self._tell(Closed(" ".join(outcome.lines) or outcome.then.value))
                    return outcome
            self._waited()
            if self._closes_at_s is not None and self._now_s() >= self._closes_at_s:
                why = texts.CLOSED_IDLE.format(idle=duration(self._idle_s or 0))
                self._tell(Closed(why))
                return Outcome(is_done=True, lines=(why,), then=Then.GO_ON)
            commands = gather(self._front_ends, TICK_S, self._now_s)

    # --- commands -------------------------------------------------------------------------------

    def _obey(self, front_end: FrontEnd, command: Command) -> Outcome | None:
        """Do what was asked; the outcome of an action that leaves the console."""
        self._stay()
        match command:
            case Ask(tag) | Hold(tag):
                self._facts = self._session.facts()
                front_end.show(Told(self._facts, tag))
            case Cancel():
                front_end.show(Refused(command, texts.NOTHING_TO_BREAK_OFF))
            case Perform():
                return self._perform(front_end, command)
        return None

    def _perform(self, front_end: FrontEnd, command: Perform) -> Outcome | None:
        session = self._session
        self._is_broken_off = False
        self._tell(Began(command, front_end.name))
        heard = session.reporter.on_progress
        session.reporter.on_progress = lambda: self._glance(heard)
        try:
            outcome = session.perform(command.name, command.arguments, command.word)
        finally:
            session.reporter.on_progress = heard
        if outcome.then is Then.SHELL:
            others = [one for one in self._front_ends if one is not front_end]
            self._shell(front_end, lambda: self._attend(others))
            self._hear(self._front_ends)  # what was typed blindly meanwhile was no answer
        self._facts = session.facts()
        self._tell(Ended(command, outcome))
        self._tell(Told(self._facts))
        self._stay()
        return None if outcome.then is Then.SHELL else outcome

    def _glance(self, heard: Callable[[], None]) -> None:
        """A step of work is done: feed the watchdog, and see whether anybody wants something."""
        heard()
        if self._now_s() - self._glanced_s < GLANCE_S:
            return
        self._glanced_s = self._now_s()
        self._hear(self._front_ends)

    def _attend(self, others: Sequence[FrontEnd]) -> None:
        """Somebody has the shell, on a line that is not to be touched; ``others`` are answered."""
        self._waited()
        self._hear(others)

    def _hear(self, front_ends: Sequence[FrontEnd]) -> None:
        """Answer ``front_ends`` while something is under way."""
        for front_end, command in gather(front_ends, 0.0, self._now_s):
            match command:
                case Cancel():
                    self._is_broken_off = True
                case Perform():
                    front_end.show(Refused(command, texts.BUSY))
                case Ask(tag) | Hold(tag):
                    front_end.show(Told(self._facts, tag))

    def _stay(self) -> None:
        """Somebody is there: the countdown begins anew."""
        if self._idle_s is not None:
            self._closes_at_s = self._now_s() + self._idle_s
        self._tell(StaysUntil(self._closes_at_s))

    def _tell(self, event: Event) -> None:
        for front_end in self._front_ends:
            front_end.show(event)
