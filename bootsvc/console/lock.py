"""Who may use a locked console; wrong tries slow down. Pure: time is an argument.

One ``Gate`` serves all front ends of a start: hanging up and calling again, or changing from the
serial line to the screen, wins no tries. Each front end remembers by itself that it was let in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bootsvc.errors import PasswordError
from bootsvc.trust.password import NOBODY, check

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0


class Verdict(Enum):
    """What became of a try."""

    RIGHT = "right"
    WRONG = "wrong"
    TOO_SOON = "too soon"  # not even looked at
    NOBODY = "nobody"  # no password opens this console in this start


@dataclass(frozen=True)
class Answer:
    """The answer to a try.

    Attributes:
        wait_s: seconds until the next try is looked at; 0 where it is at once.
        why: why nobody can be let in, as a sentence; for ``Verdict.NOBODY`` only.
    """

    verdict: Verdict
    wait_s: float = 0.0
    why: str = ""


class Gate:
    """The lock of one start.

    Attributes:
        wrong: wrong tries since the last right one.
    """

    def __init__(self, stored: str) -> None:
        self._stored = stored
        self._next_try_s = 0.0
        self.wrong = 0

    @property
    def is_locked(self) -> bool:
        """Whether a password is wanted at all."""
        return bool(self._stored)

    def wait_s(self, now_s: float) -> float:
        """Seconds from ``now_s`` (of a clock that is never set) until the next try is looked at."""
        return max(0.0, self._next_try_s - now_s)

    def answer(self, password: str, now_s: float) -> Answer:
        """The answer to ``password``, tried at ``now_s``.

        After a wrong try the next one is looked at 1, 2, 4 ... and at most 60 seconds later. A try
        before that costs nothing and changes nothing.
        """
        if not self.is_locked:
            return Answer(Verdict.RIGHT)
        if self._stored == NOBODY:
            return Answer(Verdict.NOBODY, why="this console was locked for everybody")
        if wait_s := self.wait_s(now_s):
            return Answer(Verdict.TOO_SOON, wait_s)
        try:
            is_right = check(password, self._stored)
        except PasswordError as exc:
            return Answer(Verdict.NOBODY, why=str(exc))
        if is_right:
            self.wrong = 0
            return Answer(Verdict.RIGHT)
        wait_s = min(FIRST_WAIT_S * (1 << min(self.wrong, 10)), LONGEST_WAIT_S)
        self.wrong += 1
        self._next_try_s = now_s + wait_s
        return Answer(Verdict.WRONG, wait_s)
