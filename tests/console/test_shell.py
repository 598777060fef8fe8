"""A shell on the terminal of the person who asked for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bootsvc.console.shell import run_shell
from bootsvc.console.terminal import Terminal
from tests.console.typist import Typist


@pytest.fixture
def typist() -> Iterator[Typist]:
    made = Typist()
    yield made
    made.close()


def test_the_shell_has_the_terminal_and_the_watchdog_is_fed_until_it_is_left(
    typist: Typist,
) -> None:
    terminal = Terminal(typist.path)
    terminal.make_raw()
    fed: list[int] = []
    problem = run_shell(
        terminal,
        lambda: fed.append(1),
        ("sh", "-c", "echo inside; sleep 1.2; echo outside"),
    )
    assert not problem
    typist.sees("inside")
    typist.sees("outside")
    assert len(fed) == 2
    terminal.reopen()
    terminal.write(b"the console again")
    typist.sees("the console again")
    terminal.close()


def test_where_there_is_no_shell_that_is_said(typist: Typist) -> None:
    terminal = Terminal(typist.path)
    problem = run_shell(terminal, lambda: None, ("/nowhere/sh",))
    terminal.close()
    assert problem == "no shell: No such file or directory"
