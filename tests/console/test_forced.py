"""The locked form on the machine's own screen while a forced update is installed."""

from __future__ import annotations

from bootsvc.console.forced import ForcedScreen
from bootsvc.console.reports import Progress, Said, Worked
from bootsvc.console.terminal import Terminal
from bootsvc.units import MIB
from tests.console.typist import Typist


def test_progress_is_drawn_once_a_second_and_what_is_said_at_once() -> None:
    typist = Typist()
    terminal = Terminal(typist.path)
    screen = ForcedScreen(terminal, 600)
    first = typist.sees("goes back to the version it had.")
    assert "An update is being installed. Please wait" in first
    assert "Without any progress for 10 min the lock ends" in first
    assert "cancel" not in first
    for tenth in range(25):
        screen(Progress("copy", tenth * MIB, 64 * MIB, tenth / 10, 5, 6))
    screen(Worked("copy", 2.5))
    screen(Said("the end"))
    typist.sees("the end")
    drawn = typist.text.count("Phase 5 of 6: copy")
    terminal.close()
    typist.close()
    assert drawn == 4, "at 0, 1 and 2 s, and with the sentence"
