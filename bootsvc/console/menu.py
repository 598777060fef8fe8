"""What a person has typed so far, and what follows: keys in, pages and commands out. Pure.

Nothing happens before Enter. A line that is not understood changes nothing, and says what is near
it; a word that guards an action must be typed out exactly, so that characters dropped or doubled
by a bad line do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bootsvc.console import texts
from bootsvc.console.actions import Action, Argument, Then
from bootsvc.console.facts import Facts
from bootsvc.console.front_end import (
    Ask,
    Began,
    Cancel,
    Closed,
    Command,
    Ended,
    Event,
    Perform,
    Present,
    Refused,
    StaysUntil,
    Told,
)
from bootsvc.console.keys import Key
from bootsvc.console.lock import Gate, Verdict
from bootsvc.console.pages import (
    AskPage,
    ConfirmPage,
    Item,
    Page,
    ResultPage,
    TopicPage,
    UnlockPage,
    WorkPage,
)
from bootsvc.console.render import duration
from bootsvc.console.reports import Progress, Said, Staged, Wait, Worked
from bootsvc.console.texts import ACTIONS_OF, Topic

LONGEST_LINE = 200
LOG_KEPT = 12

SHELL_ACTION = "shell"
"""The action that nobody else can break off."""

MARK_KEYS = (Key.UP, Key.DOWN, Key.HOME, Key.END)
"""Keys that move the mark, on a terminal that shows it."""

_BACK_WORDS = ("b", "back", "0")
_HELP_WORDS = ("?", "h", "help")
_FRESH_WORDS = ("r", "refresh")
_BREAK_WORDS = ("q", "Q", Key.BREAK, Key.BACK)


@dataclass(frozen=True)
class _Line:
    """An item with what it leads to: a topic, an action, or back (None)."""

    item: Item
    target: Topic | Action | None


class Menu:
    """The dialogue with one person.

    Attributes:
        typed: the line so far.
        turn: grows whenever another page is to be shown from its top.
        facts: as last told; None before the first time.
    """

    def __init__(self, actions: tuple[Action, ...], gate: Gate, name: str) -> None:
        self.typed = ""
        self.turn = 0
        self.facts: Facts | None = None
        self._actions = {action.name: action for action in actions}
        self._gate = gate
        self._name = name
        self._topic = Topic.OVERVIEW
        self._marked = 0
        self._note = ""
        self._closes_at_s: float | None = None
        self._answers: dict[str, str] = {}
        self._explained: list[Action] = []
        self._is_asking = False  # what is shown next comes with the facts that were asked for
        self._page: Page | None = UnlockPage() if gate.is_locked else None  # None: a topic

    # --- what is to be seen ---------------------------------------------------------------------

    def page(self, now_s: float) -> Page:
        """The page as it is at ``now_s``."""
        if self._page is not None:
            return self._page
        closes = None if self._closes_at_s is None else max(self._closes_at_s - now_s, 0.0)
        items = tuple(line.item for line in self._lines())
        explained = tuple(self._explained or self._actions.values())
        detail = explained if self._topic is Topic.HELP else ()
        return TopicPage(self._topic, items, self._marked, self._note, closes, detail)

    @property
    def echo(self) -> str:
        """What a person may see of the line so far: nothing of a password."""
        return "" if isinstance(self._page, UnlockPage) else self.typed

    @property
    def is_working(self) -> bool:
        """An action is under way: keys only break it off."""
        return isinstance(self._page, WorkPage)

    def _lines(self) -> list[_Line]:
        """The items of the present topic; the first one loses nothing."""
        names = [name for name in ACTIONS_OF[self._topic] if name in self._actions]
        actions = [_Line(self._item(self._actions[name]), self._actions[name]) for name in names]
        if self._topic is Topic.OVERVIEW:
            topics = [one for one in Topic if one is not Topic.OVERVIEW]
            return actions + [_Line(Item(one.value), one) for one in topics]
        return [_Line(Item(texts.BACK), None), *actions]

    def _item(self, action: Action) -> Item:
        refusal = action.refusal(self.facts) if self.facts else ""
        return Item(action.title, action.name, refusal)

    # --- what the loop tells --------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Something happened; ``page`` shows it from now on."""
        match event:
            case Told(facts):
                self.facts = facts
                if self._is_asking:
                    self._is_asking = False
                    self._show(self._page)
            case StaysUntil(at_s):
                self._closes_at_s = at_s
            case Refused(_, why):
                self._show(self._page)
                self._note = why
            case Closed():
                self._show(None)
            case _ if isinstance(self._page, UnlockPage):
                pass  # nothing is shown before the password
            case Began(command, by):
                page = WorkPage(self._actions[command.name].title)
                self._show(self._with_shell(page, by) if command.name == SHELL_ACTION else page)
            case Ended(command, outcome):
                self._answers = {}
                if outcome.then in (Then.STAY, Then.SHELL):
                    self._show(ResultPage(self._actions[command.name], outcome))
            case Staged() | Said() | Worked() | Progress() | Wait():
                self._follow(event)

    def _with_shell(self, page: WorkPage, by: str) -> WorkPage:
        """Somebody, here or elsewhere, has the shell."""
        keys = texts.SHELL_HERE if by == self._name else texts.SHELL_ELSEWHERE.format(name=by)
        return replace(page, keys=keys, is_breakable=False)

    def _follow(self, report: Staged | Said | Worked | Progress | Wait) -> None:
        page = self._page
        if not isinstance(page, WorkPage):
            return
        match report:
            case Progress() | Wait():
                self._page = replace(page, at=report)
            case Said(text):
                self._page = replace(page, log=(*page.log, text)[-LOG_KEPT:])
            case Staged(name):
                self._page = replace(page, log=(*page.log, name)[-LOG_KEPT:])
            case Worked(work, seconds):
                line = texts.WORKED.format(work=work, took=duration(seconds))
                self._page = replace(page, log=(*page.log, line)[-LOG_KEPT:], at=None)

    # --- what the person types ------------------------------------------------------------------

    def key(self, key: Key | str, now_s: float) -> list[Command]:
        """One key at ``now_s``; the commands that follow from it."""
        if isinstance(self._page, WorkPage):
            if key not in _BREAK_WORDS or not self._page.is_breakable:
                return []
            self._page = replace(self._page, is_breaking=True)
            return [Cancel()]
        match key:
            case Key.ENTER:
                typed, self.typed = self.typed, ""
                return self._answer(typed, now_s)
            case Key.BACK | Key.BREAK:
                self.typed = ""
                return self._back()
            case Key.RUB_OUT:
                self.typed = self.typed[:-1]
            case Key.RUB_LINE:
                self.typed = ""
            case Key() if key in MARK_KEYS:
                self._mark(key)
            case str() if len(self.typed) < LONGEST_LINE:
                self.typed += key
        return []

    def _mark(self, key: Key) -> None:
        if self._page is not None:
            return
        last = len(self._lines()) - 1
        wanted = {
            Key.UP: self._marked - 1,
            Key.DOWN: self._marked + 1,
            Key.HOME: 0,
            Key.END: last,
        }[key]
        self._marked = min(max(wanted, 0), last)

    def _answer(self, typed: str, now_s: float) -> list[Command]:
        line = typed.strip()
        match self._page:
            case UnlockPage():
                return self._unlock(typed, now_s)
            case AskPage() as page:
                return self._answer_question(page, line)
            case ConfirmPage() as page:
                return self._confirm(page, line)
            case ResultPage():
                return self._back()
            case _:
                return self._choose(line)

    def _choose(self, line: str) -> list[Command]:
        lines = self._lines()
        words = line.split() or [str(self._marked + 1)]
        first, rest = words[0].lower(), words[1:]
        if first in _BACK_WORDS:
            return self._back()
        if first in _HELP_WORDS:
            self._explained = [self._actions[one] for one in rest if one in self._actions]
            return self._go(Topic.HELP)
        if first in _FRESH_WORDS:
            self._is_asking = True
            return [Present(), Ask()]
        if first.isdecimal() and not rest and 1 <= int(first[:4]) <= len(lines):
            return self._take(lines[int(first[:4]) - 1].target, [])
        if first in self._actions:
            return self._take(self._actions[first], rest)
        for topic in Topic:
            if first == topic.value.split(":")[0].lower():
                return self._go(topic)
        self._not_understood(line)
        return []

    def _not_understood(self, line: str) -> None:
        """Say so; a line of noise must not count as a person who is there."""
        import difflib  # only for a person who mistypes

        near = difflib.get_close_matches(line.lower(), self._actions, n=1)
        self._show(None)
        self._note = texts.DROPPED.format(typed=line)
        if near:
            self._note += ". " + texts.DID_YOU_MEAN.format(name=near[0])

    def _take(self, target: Topic | Action | None, given: list[str]) -> list[Command]:
        if target is None:
            return self._back()
        if isinstance(target, Topic):
            return self._go(target)
        refusal = target.refusal(self.facts) if self.facts else ""
        if refusal:
            self._show(None)
            self._note = refusal
            return [Present()]
        if len(given) > len(target.arguments):
            self._show(None)
            self._note = texts.TOO_MANY.format(name=target.name, count=len(target.arguments))
            return [Present()]
        self._answers = {}
        for argument, text in zip(target.arguments, given, strict=False):
            answer = _answer_to(argument, text)
            if answer is None:
                self._show(AskPage(target, argument, texts.DROPPED.format(typed=text)))
                return [Present()]
            self._answers[argument.name] = answer
        return self._next_question(target)

    def _next_question(self, action: Action) -> list[Command]:
        """Ask what is still to be told; then confirm what can lose something; then do it."""
        for argument in action.arguments:
            if argument.name not in self._answers:
                self._show(AskPage(action, argument))
                return [Present()]
        if action.word_for(self._answers):
            self._show(ConfirmPage(action, tuple(self._answers.items())))
            return [Present()]
        return [Perform(action.name, self._taken())]

    def _answer_question(self, page: AskPage, line: str) -> list[Command]:
        argument = page.argument
        has_none = not line and argument.default is None and not argument.choices
        if has_none or line == "." or (argument.choices and line.lower() in _BACK_WORDS):
            return self._back()
        answer = _answer_to(argument, line)
        if answer is None:
            self._show(replace(page, note=texts.DROPPED.format(typed=line)))
            return []
        self._answers[argument.name] = answer
        return self._next_question(page.action)

    def _confirm(self, page: ConfirmPage, line: str) -> list[Command]:
        if not line:
            self._back()
            self._note = texts.NOTHING_CHANGED
            return [Present()]
        if line != page.word:
            wrong = texts.WRONG_WORD.format(word=page.word, typed=line)
            self._show(replace(page, note=wrong))
            return [Present()]
        return [Perform(page.action.name, self._taken(), word=line)]

    def _unlock(self, password: str, now_s: float) -> list[Command]:
        answer = self._gate.answer(password, now_s)
        later = texts.TRY_LATER.format(wait=duration(max(answer.wait_s, 1)))
        match answer.verdict:
            case Verdict.RIGHT:
                self._show(None)
                return [Present(), Ask()]
            case Verdict.WRONG:
                self._show(UnlockPage(f"{texts.TRY_WRONG} {later}"))
            case Verdict.TOO_SOON:
                self._show(UnlockPage(later))
            case Verdict.NOBODY:
                self._show(UnlockPage(texts.TRY_NOBODY.format(why=answer.why)))
        return []

    # --- moving about ---------------------------------------------------------------------------

    def _taken(self) -> Mapping[str, str]:
        taken, self._answers = self._answers, {}
        return taken

    def _go(self, topic: Topic) -> list[Command]:
        if topic is not Topic.HELP:
            self._explained = []
        self._topic, self._marked = topic, 0
        self._show(None)
        return [Present()]

    def _back(self) -> list[Command]:
        """Out of a question or a result to its topic, out of a topic to the overview."""
        if isinstance(self._page, UnlockPage):
            self._show(self._page)
            return []
        if self._page is None:
            self._topic, self._marked = Topic.OVERVIEW, 0
        self._answers = {}
        self._show(None)
        return [Present()]

    def _show(self, page: Page | None) -> None:
        self._page = page
        self._note = ""
        self.turn += 1


def _answer_to(argument: Argument, line: str) -> str | None:
    """The answer that ``line`` gives: a number, the word or its only beginning; the default for an
    empty one. None where it is none."""
    if not argument.choices:
        return line or argument.default
    if not line:
        return argument.default or argument.choices[0]
    if line.isdecimal():
        number = int(line[:4])
        return argument.choices[number - 1] if 1 <= number <= len(argument.choices) else None
    if line in argument.choices:
        return line
    near = [one for one in argument.choices if one.startswith(line.lower())]
    return near[0] if len(near) == 1 else None
