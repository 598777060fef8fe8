"""A console on a machine in memory: what a person would have at the serial line."""

from __future__ import annotations

from dataclasses import dataclass, field

from bootsvc.boot.watchdog import Watchdog
from bootsvc.console.actions import Outcome
from bootsvc.console.facts import Facts
from bootsvc.console.perform import Session
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.formats.boot_status import BootStatus
from bootsvc.sequence.runner import Runner, Start
from bootsvc.settings import Settings
from tests.sequence.machine import SITE, Machine


def facts_of(session: Session) -> Facts:
    """As little as the actions themselves look at."""
    status = session.runner.status if session.runner else None
    return Facts(
        bootsvc="1",
        slot="a",
        compatible="test",
        disk="/dev/test" if session.runner else "",
        problem=session.problem,
        status=status,
        next="",
        why="",
        has_shell=session.settings.console_shell,
        has_installer=True,
    )


class QuietWatchdog(Watchdog):
    """A watchdog that is not there; says when it was stopped."""

    stopped = 0

    def stop(self) -> str:
        self.stopped += 1
        return ""


@dataclass
class Bench:
    """A console, opened before the sequence did anything (or after it halted: ``problem``)."""

    machine: Machine
    problem: str = ""
    settings: Settings = field(default_factory=lambda: Settings(compatible="test"))
    told: list[object] = field(default_factory=list)
    is_cancelled: bool = False
    session: Session = field(init=False)

    def __post_init__(self) -> None:
        reporter = ConsoleReporter()
        reporter.listeners[:] = [self.told.append]
        start = Start(SITE, self.machine.policy, now_s=1000, fresh_id=b"fresh" * 3 + b"!")
        runner = Runner(self.machine.disk, start, reporter)
        if self.problem:
            runner.run()
        self.machine.device.log.clear()
        self.session = Session(
            runner,
            self.settings,
            reporter,
            QuietWatchdog(),
            facts_of,
            lambda disk: Runner(disk, start, reporter),
            self.problem,
            lambda: self.is_cancelled,
        )

    def do(self, name: str, word: str = "", **arguments: str) -> Outcome:
        return self.session.perform(name, arguments, word)

    @property
    def record(self) -> BootStatus:
        return self.machine.record

    @property
    def has_written(self) -> bool:
        """Whether anything reached the disk since the console was opened."""
        return bool(self.machine.device.writes())
