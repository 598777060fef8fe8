"""What the console does: the actions of ``action_table``, performed on this machine.

``Session`` is what front ends and tests talk to. It holds an action's rules (is there such an
action, can it be done now, was its word typed out) and leaves the doing to ``doing``. No action
switches the check of signatures off: each area that is started or installed from is verified by
the sequence's own functions, with the keys of this start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bootsvc.boot.watchdog import Watchdog
from bootsvc.console.action_table import ACTIONS, next_step
from bootsvc.console.actions import Action, Outcome, Then
from bootsvc.console.doing import areas, disks, export, images, machine, new_disk, record
from bootsvc.console.facts import Facts
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.errors import BootsvcError, SequenceError
from bootsvc.sequence.runner import Runner
from bootsvc.settings import Settings
from bootsvc.storage.disk import Disk

if TYPE_CHECKING:
    from bootsvc.boot.network import Network  # sockets and programs, for those who need them


class CancelledError(Exception):
    """A person broke the work off; not an error of ours, so that nothing is refused for it."""


def _nobody_cancels() -> bool:
    return False


@dataclass
class Session:
    """The console of one start.

    Attributes:
        runner: None where no disk can be used.
        look: makes the facts of this session (``facts_of``).
        start_on: makes the runner of a disk that a person chose.
        problem: why the machine cannot go on by itself, "" where it can.
        cancelled: asked at each step of work that can be broken off safely.
        network: None until it is used.
        mirror: address of the folder in which images stand on a server, "" = none.
        listed: what a person was last shown to choose from, by the action that showed it.
    """

    runner: Runner | None
    settings: Settings
    reporter: ConsoleReporter
    watchdog: Watchdog
    look: Callable[[Session], Facts]
    start_on: Callable[[Disk], Runner]
    problem: str = ""
    cancelled: Callable[[], bool] = _nobody_cancels
    network: Network | None = field(init=False, default=None)
    mirror: str = field(init=False)
    listed: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.mirror = self.settings.mirror

    def facts(self) -> Facts:
        """What the console knows now."""
        return self.look(self)

    def perform(self, name: str, arguments: Mapping[str, str], word: str = "") -> Outcome:
        """Do one action; whatever stands against it, or goes wrong, comes as an outcome that says
        so, and what to do next.

        Args:
            word: what was typed out where the action can lose something.
        """
        try:
            action = _action_named(name)
            refusal = action.refusal(self.facts())
            if refusal:
                return Outcome(is_done=False, lines=(refusal,))
            answers = _checked(action, arguments)
            wanted = action.word_for(answers)
            if wanted and word != wanted:
                return Outcome(is_done=False, lines=_wants_word(action, wanted, word))
            return self._done(DOERS[name], answers)
        except CancelledError:
            return Outcome(is_done=False, lines=("Broken off; what runs next is as before.",))
        except BootsvcError as exc:
            lines = (f"Not done: {exc}.", next_step(exc))
            return Outcome(is_done=False, lines=tuple(filter(None, lines)))
        except OSError as exc:
            return Outcome(is_done=False, lines=(f"Not done: {exc}.",))

    def _done(self, doer: Doer, answers: Mapping[str, str]) -> Outcome:
        """What comes of it; the OS that may be started next finds the network as it was."""
        outcome = doer(self, answers)
        if self.network is not None and outcome.then not in (Then.STAY, Then.SHELL):
            self.network.take_down()
        return outcome

    @property
    def used_runner(self) -> Runner:
        """The runner. Raises SequenceError where no disk can be used."""
        if self.runner is None:
            raise SequenceError(
                "no disk of this machine can be used", hint=self.problem or "look at its cables"
            )
        return self.runner

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Work within may be broken off at any step: it reads, or writes what nothing relies on."""
        heard = self.reporter.on_progress

        def heard_unless_cancelled() -> None:
            heard()
            if self.cancelled():
                raise CancelledError

        self.reporter.on_progress = heard_unless_cancelled
        try:
            yield
        finally:
            self.reporter.on_progress = heard
            self.reporter.end()


Doer = Callable[[Session, Mapping[str, str]], Outcome]

DOERS: dict[str, Doer] = {
    "go-on": machine.go_on,
    "verify": areas.verify,
    "boot-once": areas.boot_once,
    "restore": record.restore,
    "roll-back": record.roll_back,
    "retry": record.retry,
    "abandon": record.abandon,
    "install": images.install,
    "install-without-backup": record.install_without_backup,
    "export": export.export,
    "set-date": machine.set_date,
    "set-address": images.set_address,
    "set-mirror": images.set_mirror,
    "test-watchdog": machine.prove_watchdog,
    "scan-disk": disks.scan_disk,
    "repair-gpt": disks.repair_gpt,
    "choose-disk": disks.choose_disk,
    "create-disk": new_disk.create_disk,
    "shell": machine.shell,
    "reboot": machine.reboot,
    "power-off": machine.power_off,
}
"""Who does each action of the table."""


def _action_named(name: str) -> Action:
    for action in ACTIONS:
        if action.name == name:
            return action
    names = [action.name for action in ACTIONS]
    raise SequenceError(f"there is no action {name!r}", hint=_nearest(name, names))


def _checked(action: Action, given: Mapping[str, str]) -> dict[str, str]:
    """All arguments of ``action``, with its defaults for those left empty."""
    names = [one.name for one in action.arguments]
    for name in given:
        if name not in names:
            raise SequenceError(
                f"{action.name} has no argument {name!r}", hint=_nearest(name, names)
            )
    answers = {}
    for one in action.arguments:
        answer = given.get(one.name, "").strip() or one.default
        if answer is None:
            raise SequenceError(f"{action.name} needs {one.name}", hint=one.question)
        if one.choices and answer not in one.choices:
            raise SequenceError(
                f"{one.name} cannot be {answer!r}", hint=_nearest(answer, one.choices)
            )
        answers[one.name] = answer
    return answers


def _wants_word(action: Action, wanted: str, word: str) -> tuple[str, ...]:
    typed = f"{word!r} was typed" if word else "it was not typed"
    return (action.loses, f"Not done: it wants the word {wanted} typed out; {typed}.")


def _nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"
