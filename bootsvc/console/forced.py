"""The locked form of a screen while a forced update is installed (S0.26, F0.11): a listener.

Only on the machine's own screens: on a serial line the start's plain lines go on as ever, for
whoever records them.
"""

from __future__ import annotations

from dataclasses import replace

from bootsvc.console.pages import ForcedPage, forced_lines
from bootsvc.console.reports import Progress, Report, Said, Wait
from bootsvc.console.terminal import Terminal

REDRAW_S = 1.0
LOG_KEPT = 6


class ForcedScreen:
    """Draws the locked form anew once a second of work, and when something is said."""

    def __init__(self, terminal: Terminal, limit_s: int) -> None:
        self._terminal = terminal
        self._page = ForcedPage(limit_s)
        self._shown: tuple[str, float] = ("", 0.0)
        self._draw()

    def __call__(self, report: Report) -> None:
        """Show what ``report`` says."""
        match report:
            case Said(text):
                self._page = replace(self._page, log=(*self._page.log, text)[-LOG_KEPT:])
                self._draw()
            case Progress(work, _, _, seconds) | Wait(work, seconds):
                self._page = replace(self._page, at=report)
                before, shown_s = self._shown
                if work != before or not 0 <= seconds - shown_s < REDRAW_S:
                    self._shown = work, seconds
                    self._draw()

    def _draw(self) -> None:
        lines = forced_lines(self._page, self._terminal.kind.columns)
        text = "\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in lines) + "\x1b[J"
        self._terminal.write(text.encode("ascii", "replace"))
