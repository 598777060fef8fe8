"""The short wait of every start: does somebody want the console?

A person knocks with any key, a program with the word ``hold`` or with an action. Little is
imported for it: nearly always nobody knocks. While the start works, the same lines are looked at
from time to time.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence

from bootsvc.console.front_end import Command, Event, FrontEnd, Hold, Perform
from bootsvc.console.keys import Keys
from bootsvc.console.terminal import Terminal

TICK_S = 0.2


class Knocker:
    """The front end of a terminal before the console is open: any key is a knock."""

    def __init__(self, terminal: Terminal) -> None:
        self.name = terminal.name
        self.terminal = terminal
        self._keys = Keys()

    def fileno(self) -> int:
        """See ``FrontEnd``."""
        return self.terminal.fileno()

    def read(self) -> bytes:
        """What was typed."""
        return self.terminal.read()

    def feed(self, data: bytes, now_s: float) -> list[Command]:
        """A knock, if there is a key in it: what a bad line makes up seldom is one."""
        return [Hold()] if self._keys.feed(data, now_s) else []

    def tick(self, now_s: float) -> list[Command]:
        """A lone Esc is a knock as well."""
        return [Hold()] if self._keys.tick(now_s) else []

    def show(self, event: Event) -> None:
        """Nothing to show yet: the start prints its own lines."""

    def close(self) -> None:
        """Leave the terminal as it was found."""
        self.terminal.close()


def gather(
    front_ends: Sequence[FrontEnd], wait_s: float, now_s: Callable[[], float] = time.monotonic
) -> list[tuple[FrontEnd, Command]]:
    """The commands that arrive within ``wait_s``; returns as soon as there is something to read."""
    waiting = [one for one in front_ends if one.fileno() >= 0]
    if waiting:
        ready = select.select(waiting, [], [], wait_s)[0]
    else:
        ready = []
        time.sleep(wait_s)
    commands: list[tuple[FrontEnd, Command]] = []
    for one in ready:
        commands += [(one, command) for command in one.feed(one.read(), now_s())]
    for one in front_ends:
        commands += [(one, command) for command in one.tick(now_s())]
    return commands


def knocked(
    front_ends: Sequence[FrontEnd],
    until_s: float,
    *,
    looked: Callable[[], None],
    others: Callable[[FrontEnd, Command], None],
) -> tuple[FrontEnd, Hold | Perform] | None:
    """Who knocks before ``until_s`` (by ``time.monotonic``), and how; None where nobody does.

    Args:
        looked: called about five times a second: a wait is no hang.
        others: gets the commands that are no knock (a program that only asks).
    """
    while True:
        left = until_s - time.monotonic()
        for front_end, command in gather(front_ends, min(max(left, 0.0), TICK_S)):
            if isinstance(command, Hold | Perform):
                return front_end, command
            others(front_end, command)
        looked()
        if left <= 0:
            return None
