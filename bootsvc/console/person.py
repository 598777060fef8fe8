"""A person's screen: a front end that shows the menu on a terminal.

On a dumb terminal each page is printed once, and what happens follows as lines; on a VT100 the
screen is redrawn, and only lines that changed are sent. A page longer than the screen is printed.
"""

from __future__ import annotations

from collections.abc import Callable

from bootsvc.console.front_end import Closed, Command, Event
from bootsvc.console.keys import Key, Keys
from bootsvc.console.menu import MARK_KEYS, Menu
from bootsvc.console.pages import prompt, render
from bootsvc.console.reporter import PlainLines
from bootsvc.console.reports import Progress, Said, Staged, Wait, Worked
from bootsvc.console.terminal import Kind, Terminal

EARLY_S = 1.0
"""Nobody reads a menu faster: an Enter alone before that was meant for what stood there before."""

REDRAW_S = 1.0
"""Between two pictures of what changes by itself: a countdown, progress."""

ATTENDED_INTERVAL_S = 1.0
"""Between two lines of progress on a dumb terminal with a person before it."""

Write = Callable[[str], None]


class LineScreen:
    """Pages on a dumb terminal: each printed once, then the prompt and the echo."""

    def __init__(self, write: Write, columns: int) -> None:
        self._write = write
        self._columns = columns
        self._turn = -1
        self._echo = ""
        self._reports = PlainLines(lambda line: write(line + "\n"), ATTENDED_INTERVAL_S)

    def draw(self, menu: Menu, now_s: float, *, afresh: bool = False) -> None:
        """Whatever of the menu is not on the paper yet."""
        if menu.facts is None:
            return
        page = menu.page(now_s)
        if menu.turn != self._turn or afresh:
            self._turn, self._echo = menu.turn, ""
            lines = render(page, menu.facts, self._columns)
            self._write("\n\n" + "\n".join(lines) + "\n" + prompt(page))
        if menu.echo.startswith(self._echo):
            self._write(menu.echo[len(self._echo) :])
        else:
            self._write("\b \b" * len(self._echo) + menu.echo)
        self._echo = menu.echo

    def report(self, report: Staged | Said | Progress | Worked | Wait) -> None:
        """Something happened at work."""
        self._reports(report)


class VtScreen:
    """Pages on a VT100: a picture that is kept up to date."""

    def __init__(self, write: Write, kind: Kind) -> None:
        self._write = write
        self._kind = kind
        self._picture: list[str] = []
        self._printed = LineScreen(write, kind.columns)

    def draw(self, menu: Menu, now_s: float, *, afresh: bool = False) -> None:
        """Send the lines that differ from what is on the screen."""
        if menu.facts is None:
            return
        page = menu.page(now_s)
        lines = render(page, menu.facts, self._kind.columns)
        lines.append(prompt(page) + menu.echo)
        if len(lines) > self._kind.rows:
            self._picture = []
            self._printed.draw(menu, now_s, afresh=afresh)
            return
        if afresh or not self._picture:
            self._picture = []
            self._write("\x1b[2J")
        out = []
        for row, line in enumerate(lines):
            if row >= len(self._picture) or self._picture[row] != line:
                out.append(f"\x1b[{row + 1};1H{line}\x1b[K")
        if len(lines) < len(self._picture):
            out.append(f"\x1b[{len(lines) + 1};1H\x1b[J")
        self._picture = lines
        if out:
            self._write("".join(out) + f"\x1b[{len(lines)};{len(lines[-1]) + 1}H")

    def report(self, _: Staged | Said | Progress | Worked | Wait) -> None:
        """The page shows it."""


class Person:
    """The front end of one terminal (``front_end.FrontEnd``)."""

    def __init__(self, terminal: Terminal, menu: Menu, now_s: float) -> None:
        self.name = terminal.name
        self.terminal = terminal
        self._menu = menu
        self._keys = Keys()
        self._early_until_s = now_s + EARLY_S
        self._now_s = self._drawn_s = now_s
        kind = terminal.kind
        self._screen: LineScreen | VtScreen
        if kind.is_vt100:
            self._screen = VtScreen(self._write, kind)
        else:
            self._screen = LineScreen(self._write, kind.columns)

    def fileno(self) -> int:
        """See ``FrontEnd``."""
        return self.terminal.fileno()

    def read(self) -> bytes:
        """What was typed."""
        return self.terminal.read()

    def feed(self, data: bytes, now_s: float) -> list[Command]:
        """See ``FrontEnd``."""
        return self._press(self._keys.feed(data, now_s), now_s)

    def tick(self, now_s: float) -> list[Command]:
        """See ``FrontEnd``."""
        commands = self._press(self._keys.tick(now_s), now_s)
        if isinstance(self._screen, VtScreen) and now_s - self._drawn_s >= REDRAW_S:
            self._draw()
        return commands

    def show(self, event: Event) -> None:
        """See ``FrontEnd``."""
        was_working = self._menu.is_working
        self._menu.hear(event)
        match event:
            case Closed(why):
                self._write(f"\n\n{why}\n")
            case Progress() | Wait() if isinstance(self._screen, VtScreen):
                pass  # drawn by the clock
            case Staged() | Said() | Worked() | Progress() | Wait():
                if was_working:
                    self._screen.report(event)
                    self._draw()
            case _:
                self._draw()

    def resume(self) -> None:
        """The terminal was somebody else's for a while (a shell's)."""
        self.terminal.reopen()
        self._draw(afresh=True)

    def close(self) -> None:
        """See ``FrontEnd``."""
        self.terminal.close()

    def _press(self, keys: list[Key | str], now_s: float) -> list[Command]:
        self._now_s = now_s
        commands: list[Command] = []
        for key in keys:
            if key is Key.ENTER and now_s < self._early_until_s:
                continue
            self._early_until_s = now_s
            if key in MARK_KEYS and not self.terminal.kind.is_vt100:
                continue  # nobody would see the mark move
            if key is Key.REDRAW:
                self._draw(afresh=True)
                continue
            commands += self._menu.key(key, now_s)
            self._draw()
        return commands

    def _draw(self, *, afresh: bool = False) -> None:
        self._drawn_s = self._now_s
        self._screen.draw(self._menu, self._now_s, afresh=afresh)

    def _write(self, text: str) -> None:
        if text:
            self.terminal.write(text.encode("ascii", "replace"))
