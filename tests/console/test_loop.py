"""One loop over all front ends: who is heard, who is told, and what happens meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from bootsvc.console.actions import Then
from bootsvc.console.facts_of import facts_of
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
    Present,
    Refused,
    StaysUntil,
    Told,
)
from bootsvc.console.knock import knocked
from bootsvc.console.loop import Loop
from bootsvc.console.reports import Worked
from tests.console.console_bench import Bench
from tests.sequence.machine import V1, V2, settled_machine

GO_ON = Perform("go-on")


class Script:
    """A front end that plays its commands: one piece at each look of the loop.

    Attributes:
        told: every event that it was shown.
    """

    def __init__(self, name: str, *pieces: list[Command]) -> None:
        self.name = name
        self.told: list[Event] = []
        self.pieces = list(pieces)
        self._inner, self._outer = os.pipe()
        os.write(self._outer, b"x")  # always something to read

    def fileno(self) -> int:
        return self._inner if self.pieces else -1

    def read(self) -> bytes:
        return b"x"

    def feed(self, _: bytes, now_s: float) -> list[Command]:
        assert now_s > 0
        return self.pieces.pop(0)

    def tick(self, now_s: float) -> list[Command]:
        assert now_s > 0
        return []

    def show(self, event: Event) -> None:
        self.told.append(event)

    def close(self) -> None:
        os.close(self._inner)
        os.close(self._outer)

    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.told if not isinstance(one, StaysUntil)]


@pytest.fixture
def scripts() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def make(name: str, *pieces: list[Command]) -> Script:
        made.append(Script(name, *pieces))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A machine on which an action is over before anybody looks at the lines."""
    monkeypatch.setattr("bootsvc.console.loop.GLANCE_S", float("inf"))
    made = Bench(settled_machine(V2, V1))
    made.session.look = facts_of
    return made


def no_shell(_: FrontEnd, __: Callable[[], None]) -> None:
    raise AssertionError("nobody asked for a shell")


def loop_on(bench: Bench, idle_s: float | None = 30.0) -> Loop:
    return Loop(bench.session, idle_s=idle_s, shell=no_shell, waited=bench.session.watchdog.feed)


def test_everybody_sees_what_one_of_them_does(bench: Bench, scripts: Callable[..., Script]) -> None:
    one = scripts("ttyS0", [Perform("verify", {"area": "backup"})], [GO_ON])
    other = scripts("tty0")
    assert loop_on(bench).run([one, other]).then is Then.GO_ON
    assert one.told == other.told
    assert other.kinds() == [
        *("Told", "Began", "Worked", "Ended", "Told"),
        *("Began", "Ended", "Told", "Closed"),
    ]
    began = next(event for event in other.told if isinstance(event, Began))
    assert began.by == "ttyS0"
    ended = next(event for event in other.told if isinstance(event, Ended))
    assert ended.outcome.is_done
    told = [event for event in other.told if isinstance(event, Told)]
    assert [one.facts.area("backup").check for one in told] == ["footed", "verified", "verified"]


def test_while_one_has_the_shell_the_others_are_answered_and_break_nothing_off(
    bench: Bench, scripts: Callable[..., Script]
) -> None:
    waited: list[int] = []
    looks: list[int] = []

    def shell(front_end: FrontEnd, looked: Callable[[], None]) -> None:
        assert front_end is one
        for _ in range(3):
            looks.append(1)
            looked()
        assert one.pieces, "the line that the shell has is not read"

    one = scripts("ttyS0", [Perform("shell")], [Cancel()], [GO_ON])
    other = scripts("port", [], [Ask("7")], [Perform("reboot")], [Cancel()])
    loop = Loop(bench.session, idle_s=30.0, shell=shell, waited=lambda: waited.append(len(looks)))
    assert loop.run([one, other]).then is Then.GO_ON
    assert {1, 2, 3} <= set(waited), "a shell is no hang"
    assert Refused(Perform("reboot"), "another action is under way") in other.told
    assert any(isinstance(event, Told) and event.tag == "7" for event in other.told)
    ended = next(event for event in other.told if isinstance(event, Ended))
    assert (ended.command.name, ended.outcome.is_done) == ("shell", True)


def test_only_one_action_runs_at_a_time_and_it_can_be_broken_off(
    bench: Bench, scripts: Callable[..., Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootsvc.console.loop.GLANCE_S", 0.0)
    one = scripts("ttyS0", [Perform("verify", {"area": "all"})], [Cancel()], [GO_ON])
    other = scripts("port", [], [Perform("reboot"), Ask("7")])
    assert loop_on(bench).run([one, other]).then is Then.GO_ON
    assert Refused(Perform("reboot"), "another action is under way") in other.told
    assert any(isinstance(event, Told) and event.tag == "7" for event in other.told)
    ended = next(event for event in one.told if isinstance(event, Ended))
    assert not ended.outcome.is_done
    assert "Broken off" in ended.outcome.lines[0]


def test_there_is_nothing_to_break_off_while_nothing_works(
    bench: Bench, scripts: Callable[..., Script]
) -> None:
    one = scripts("ttyS0", [Cancel()], [GO_ON])
    loop_on(bench).run([one])
    assert Refused(Cancel(), "there is nothing to break off") in one.told


@pytest.mark.parametrize("asks", [Ask("3"), Hold("3")])
def test_facts_are_told_to_whom_asked(
    bench: Bench, scripts: Callable[..., Script], asks: Command
) -> None:
    one, other = scripts("port", [asks], [GO_ON]), scripts("tty0")
    loop_on(bench).run([one, other])
    assert [event.tag for event in one.told if isinstance(event, Told)] == ["", "3", ""]
    assert [event.tag for event in other.told if isinstance(event, Told)] == ["", ""]


def test_what_a_program_knocked_with_is_done_first(
    bench: Bench, scripts: Callable[..., Script]
) -> None:
    port = scripts("port", [Ask("1")], [Perform("boot-once", {"area": "backup"})])
    answered: list[Command] = []
    who = knocked(
        [port],
        time.monotonic() + 5,
        looked=lambda: None,
        others=lambda _, command: answered.append(command),
    )
    assert answered == [Ask("1")]
    assert who is not None
    _, command = who
    assert isinstance(command, Perform)
    assert loop_on(bench).run([port], (port, command)).then is Then.BOOT


def test_each_answer_puts_the_end_off_and_silence_brings_it(
    bench: Bench, scripts: Callable[..., Script]
) -> None:
    one = scripts("ttyS0", [], [], [Present()])
    began = time.monotonic()
    outcome = loop_on(bench, idle_s=0.5).run([one])
    assert 0.5 <= time.monotonic() - began < 3
    assert outcome.then is Then.GO_ON
    assert outcome.lines == ("Nobody answered for 0 s; the start goes on.",)
    assert isinstance(one.told[-1], Closed)
    until = [event.at_s for event in one.told if isinstance(event, StaysUntil)]
    assert len(until) == 2
    assert until == sorted(until, key=lambda at_s: at_s or 0)


def test_reports_go_to_the_console_while_it_is_open_and_back_to_their_listeners_after(
    bench: Bench, scripts: Callable[..., Script]
) -> None:
    one = scripts("ttyS0", [Perform("verify", {"area": "backup"})], [GO_ON])
    before = list(bench.session.reporter.listeners)
    loop_on(bench).run([one])
    assert any(isinstance(event, Worked) for event in one.told)
    assert not any(isinstance(event, Worked) for event in bench.told)
    assert bench.session.reporter.listeners == before
