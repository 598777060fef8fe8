"""The console's pages: ``render(page, facts, width) -> list[str]``. Pure; all words in ``texts``.

Plain ASCII, at most ``width`` columns, readable from 40 on. A page is a value: what it shows beside
the facts stands in it, so that the same page and facts give the same lines for ever.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from bootsvc.console import texts
from bootsvc.console.actions import Action, Argument, Outcome
from bootsvc.console.facts import Facts
from bootsvc.console.render import duration
from bootsvc.console.reports import Progress, Wait
from bootsvc.console.texts import Topic, area_in_words, clock, plain
from bootsvc.formats.boot_status import Area, BootStatus, Phase, Reason, Request
from bootsvc.formats.describe import CODES, PHASES, REQUESTS, describe_reason
from bootsvc.sequence.update_status import update_state
from bootsvc.units import MIB

MOST_COLUMNS = 80
FEWEST_COLUMNS = 20
_LABEL = 11  # columns of a row's label, where there is room for it
_NARROW = 60


@dataclass(frozen=True)
class Item:
    """One line to choose: its title, the name that may be typed instead of its number, and why it
    cannot be done now ("" where it can)."""

    title: str
    name: str = ""
    refusal: str = ""


@dataclass(frozen=True)
class TopicPage:
    """Facts of one kind, and what can be chosen there.

    Attributes:
        marked: index of the item that Enter takes.
        note: a sentence above the choice: what was not understood.
        closes_in_s: seconds until the console closes by itself, None where it does not.
        detail: for ``Topic.HELP``: the action that is explained, or all of them.
    """

    topic: Topic
    items: tuple[Item, ...]
    marked: int = 0
    note: str = ""
    closes_in_s: float | None = None
    detail: tuple[Action, ...] = ()


@dataclass(frozen=True)
class AskPage:
    """One question of an action."""

    action: Action
    argument: Argument
    note: str = ""


@dataclass(frozen=True)
class ConfirmPage:
    """What can be lost, and the word to be typed."""

    action: Action
    answers: tuple[tuple[str, str], ...] = ()
    note: str = ""

    @property
    def word(self) -> str:
        """See ``Action.word_for``."""
        return self.action.word_for(dict(self.answers))


@dataclass(frozen=True)
class WorkPage:
    """An action, or the start itself, at work.

    Attributes:
        log: the sentences so far, oldest first.
        at: how far it is; None where nothing is counted.
        is_breaking: a person asked to break it off.
        keys: what keys do meanwhile, as a sentence.
        is_breakable: it can be asked to break off.
    """

    title: str
    log: tuple[str, ...] = ()
    at: Progress | Wait | None = None
    is_breaking: bool = False
    keys: str = texts.MAY_BREAK_OFF
    is_breakable: bool = True


@dataclass(frozen=True)
class ResultPage:
    """How an action ended."""

    action: Action
    outcome: Outcome


@dataclass(frozen=True)
class UnlockPage:
    """The password is wanted; ``note`` says what became of the last try."""

    note: str = ""


@dataclass(frozen=True)
class ForcedPage:
    """The locked form for a forced update: progress, and no way to cancel (F0.11)."""

    limit_s: int
    log: tuple[str, ...] = ()
    at: Progress | Wait | None = None


Page = TopicPage | AskPage | ConfirmPage | WorkPage | ResultPage | UnlockPage | ForcedPage


def render(page: Page, facts: Facts, width: int) -> list[str]:
    """The lines of ``page``, without the prompt that follows them."""
    width = max(FEWEST_COLUMNS, min(width, MOST_COLUMNS))
    match page:
        case TopicPage():
            lines = _topic(page, facts, width)
        case AskPage():
            lines = _ask(page, width)
        case ConfirmPage():
            lines = _confirm(page, width)
        case WorkPage():
            lines = _work(page, width)
        case ResultPage():
            lines = _result(page, width)
        case UnlockPage():
            lines = [*_title(f"bootsvc {facts.bootsvc}", width)]
            lines += _folded([texts.ALSO_HIDDEN, page.note], width)
        case ForcedPage():
            lines = forced_lines(page, width)
    return [line.rstrip() for line in lines]


def prompt(page: Page) -> str:
    """What stands before the answer; "" where none is wanted."""
    match page:
        case TopicPage():
            return texts.PROMPT.format(default=page.marked + 1)
        case AskPage(argument=argument) if argument.choices:
            default = argument.default or argument.choices[0]
            return texts.PROMPT.format(default=argument.choices.index(default) + 1)
        case AskPage(argument=argument) if argument.default is not None:
            return texts.PROMPT_TEXT_DEFAULT.format(default=plain(argument.default))
        case AskPage():
            return texts.PROMPT_TEXT
        case ConfirmPage():
            return texts.PROMPT_WORD.format(word=page.word)
        case ResultPage():
            return texts.PROMPT_ENTER
        case UnlockPage():
            return texts.PROMPT_UNLOCK
        case _:
            return ""


# --- pages of facts ------------------------------------------------------------------------------


def _topic(page: TopicPage, facts: Facts, width: int) -> list[str]:
    rows = {
        Topic.OVERVIEW: _overview,
        Topic.AREAS: _areas,
        Topic.LAST_TRY: _last_try,
        Topic.UPDATE: _update,
        Topic.RECORD: _record,
        Topic.MACHINE: _machine,
    }
    if page.topic is Topic.OVERVIEW:
        lines = _title(_where(facts), width)
    else:
        lines = _title(page.topic.value, width)
    if page.topic in rows:
        for label, text in rows[page.topic](facts):
            lines += _row(label, text, width)
    if page.topic is Topic.OVERVIEW:
        lines += _row(texts.UNATTENDED, texts.unattended(facts, page.closes_in_s), width)
    if page.topic is Topic.HELP:
        lines += _help(page.detail, width)
    lines.append("")
    lines += _items(page.items, page.marked, width)
    return lines + _folded([page.note], width)


def _where(facts: Facts) -> str:
    """The title of the overview: which machine this is."""
    words = [f"bootsvc {facts.bootsvc} on {plain(facts.compatible)}"]
    if facts.disk:
        words.append(f"disk {plain(facts.disk)}")
    if facts.clock_s:
        words.append(clock(facts.clock_s))
    return ", ".join(words)


def _overview(facts: Facts) -> Iterable[tuple[str, str]]:
    for alarm in facts.alarms:
        yield texts.ALARM, _sentence(alarm)
    if facts.problem:
        yield texts.STOPPED, _sentence(facts.problem)
    else:
        yield texts.NEXT, _sentence(facts.next)
        yield texts.BECAUSE, _sentence(facts.why)
    yield from _area_rows(facts)
    yield texts.LAST_TRY, _sentence(facts.last_failure or texts.NO_FAILURE)


def _areas(facts: Facts) -> Iterable[tuple[str, str]]:
    yield from _area_rows(facts)
    yield texts.FALL_BACK, texts.fall_back(facts)
    for area in facts.areas:
        if area.identity:
            yield texts.IDENTITY.format(area=area.name.capitalize()), area.identity
    signers = [f"{plain(one.signed_by)} ({one.name})" for one in facts.areas if one.signed_by]
    if signers:
        yield texts.SIGNED, ", ".join(signers)
    if facts.status:
        yield texts.BOOTS, facts.status.boot_area.name.lower()


def _area_rows(facts: Facts) -> Iterable[tuple[str, str]]:
    if not facts.areas:
        yield "Areas", texts.NO_AREAS
    for area in facts.areas:
        yield area.name.capitalize(), area_in_words(area)


def _last_try(facts: Facts) -> Iterable[tuple[str, str]]:
    status = facts.status
    if status is None:
        yield texts.WHAT, texts.NO_RECORD
    elif status.last_failure.reason == Reason.NONE:
        yield texts.WHAT, texts.NO_FAILURE
    else:
        failure = status.last_failure
        errno = f" (errno {failure.errno})" if failure.errno else ""
        yield texts.WHAT, _sentence(describe_reason(failure.reason) + errno)
        area = "" if failure.area is Area.NONE else f", area {failure.area.name.lower()}"
        yield texts.WHERE, _sentence(f"{failure.phase.name}: {PHASES[failure.phase]}{area}")
        yield texts.WHEN, clock(failure.time_s) if failure.time_s else texts.TIME_UNKNOWN
        if any(failure.identity):
            yield texts.IMAGE, f"number {failure.number} ({failure.identity.hex()[:12]})"
    if status is not None:
        yield texts.TRIES, _tries(status)
    yield texts.THEN, _sentence(f"{facts.next}; {facts.why}" if facts.why else facts.next)
    yield texts.FAILED, _failed(facts)


def _update(facts: Facts) -> Iterable[tuple[str, str]]:
    status = facts.status
    if status is None:
        yield texts.PHASE, texts.NO_RECORD
        return
    state = update_state(status)
    yield texts.UPDATE_STATUS, _sentence(state.status)
    yield texts.LAST_RESULT, _sentence(": ".join(filter(None, (state.last_result, state.reason))))
    yield texts.PHASE, _sentence(PHASES[status.phase])
    asked = texts.NO_REQUEST if status.request is Request.NONE else REQUESTS[status.request]
    yield texts.REQUEST, _sentence(asked)
    for area in facts.areas:
        yield area.name.capitalize(), area_in_words(area)
    yield texts.TRIES, _tries(status)
    yield texts.FLOOR, f"no image below number {status.version_floor} may be installed."
    yield texts.MIRROR, plain(facts.mirror) or texts.NO_MIRROR


def _record(facts: Facts) -> Iterable[tuple[str, str]]:
    status = facts.status
    if status is None:
        yield texts.CODE, texts.NO_RECORD
        return
    yield texts.CODE, CODES[status.status_code]
    yield texts.PHASE, f"{status.phase.name}: {PHASES[status.phase]}"
    yield texts.BOOTS, status.boot_area.name.lower()
    yield texts.REQUEST, REQUESTS[status.request]
    yield texts.SEQUENCE, str(status.sequence)
    yield texts.TRIES, _tries(status)
    yield texts.RETRIES, f"{status.restore_retries} restores may still fail"
    yield texts.CRASHES, str(status.crash_count)
    yield texts.FLOOR, str(status.version_floor)
    yield texts.TRANSACTION, status.transaction.hex()
    yield texts.FAILED, _failed(facts)


def _machine(facts: Facts) -> Iterable[tuple[str, str]]:
    slot = f", slot {facts.slot}" if facts.slot else ""
    yield texts.UPDATER, f"bootsvc {facts.bootsvc}{slot}"
    yield texts.MACHINE, plain(facts.compatible)
    yield texts.DISK, plain(facts.disk) or texts.NO_DISK
    yield texts.WATCHDOG, _sentence(facts.watchdog or texts.NO_WATCHDOG)
    yield texts.CLOCK, clock(facts.clock_s) if facts.clock_s else texts.CLOCK_UNSET
    yield texts.NETWORK, plain(facts.address) or texts.NO_NETWORK
    yield texts.MIRROR, plain(facts.mirror) or texts.NO_MIRROR


def _tries(status: BootStatus) -> str:
    if status.phase is not Phase.TRIAL:
        return texts.NOT_ON_TRIAL.format(allowed=status.tries_allowed)
    return texts.TRIES_LEFT.format(left=status.tries_left, allowed=status.tries_allowed)


def _failed(facts: Facts) -> str:
    if not facts.failed:
        return texts.NO_FAILED_IMAGES
    return ", ".join(one[:12] for one in facts.failed)


# --- pages of an action --------------------------------------------------------------------------


def _ask(page: AskPage, width: int) -> list[str]:
    lines = _title(page.action.title, width)
    lines += _folded([page.action.help, "", page.argument.question], width)
    if page.argument.choices:
        default = page.argument.default or page.argument.choices[0]
        items = tuple(Item(one) for one in page.argument.choices)
        lines += _items(items, page.argument.choices.index(default), width)
    return lines + _folded([page.note], width)


def _confirm(page: ConfirmPage, width: int) -> list[str]:
    lines = _title(page.action.title, width)
    for name, answer in page.answers:
        lines += _row(name, answer, width)
    return lines + _folded([page.action.help, "", page.action.loses, page.note], width)


def _result(page: ResultPage, width: int) -> list[str]:
    title = texts.DONE if page.outcome.is_done else texts.NOT_DONE
    lines = _title(title.format(title=page.action.title), width)
    return lines + _folded(page.outcome.lines, width)


def _work(page: WorkPage, width: int) -> list[str]:
    lines = _title(page.title, width)
    lines += _folded(page.log, width)
    lines += at_work(page.at, width)
    keys = texts.BROKEN_OFF_SOON if page.is_breaking else page.keys
    return [*lines, "", *_folded([keys], width)]


def forced_lines(page: ForcedPage, width: int) -> list[str]:
    """The locked form: the same for every machine, so that no facts are needed."""
    title, *rest = texts.forced(page.limit_s)
    lines = _title(title, width)
    lines += [*_folded(page.log, width), *at_work(page.at, width), ""]
    return lines + _folded(rest, width)


def at_work(at: Progress | Wait | None, width: int) -> list[str]:
    """How far work is, or what is waited for: a sentence, and a bar where bytes are counted."""
    if at is None:
        return []
    if isinstance(at, Wait):
        until = "for ever" if at.left_s is None else f"{duration(at.left_s)} more, then {at.then}"
        text = f"Waiting for {at.what} since {duration(at.since_s)}; {until}."
        return _folded([text], width)
    phase = f"Phase {at.phase} of {at.phases}: " if at.phase else ""
    left = "" if at.left_s is None else f", {duration(at.left_s)} left"
    amount = f"{at.done / MIB:.1f} of {at.total / MIB:.1f} MiB, {at.rate / MIB:.1f} MiB/s{left}"
    room = min(width, _NARROW) - 7
    filled = room * at.percent // 100
    bar = f"[{'#' * filled}{'.' * (room - filled)}] {at.percent:3d}%"
    return [*_folded([f"{phase}{at.work}", amount], width), bar]


# --- layout --------------------------------------------------------------------------------------


def _title(text: str, width: int) -> list[str]:
    return [*_folded([text], width), "-" * width]


def _items(items: tuple[Item, ...], marked: int, width: int) -> list[str]:
    lines = []
    for number, item in enumerate(items, 1):
        mark = f"[{number}]" if number - 1 == marked else f" {number} "
        refusal = f" ({texts.NOT_NOW}: {item.refusal})" if item.refusal else ""
        lines += _hanging(f"{mark:>4} ", f"{item.title}{refusal}", width)
    return lines


def _row(label: str, text: str, width: int) -> list[str]:
    if width < _NARROW:
        return _hanging(f"{label}: " if label else "  ", text, width, indent=2)
    pad = f"{label:<{_LABEL - 1}} " if len(label) < _LABEL else f"{label} "
    return _hanging(pad, text, width, indent=_LABEL)


def _hanging(first: str, text: str, width: int, indent: int = 5) -> list[str]:
    return textwrap.wrap(
        plain(text),
        width,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def _folded(sentences: Iterable[str], width: int) -> list[str]:
    """Each folded by itself; "" between two is an empty line, at the end nothing."""
    lines: list[str] = []
    for one in sentences:
        lines += textwrap.wrap(plain(one), width, break_on_hyphens=False) or [""]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    if not text:
        return text
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _help(actions: tuple[Action, ...], width: int) -> list[str]:
    """One action explained; or the keys, and the names of all."""
    if len(actions) == 1:
        (action,) = actions
        lines = _row(action.name, f"{action.title}. {action.help}", width)
        return lines + (_row(texts.LOSES, action.loses, width) if action.loses else [])
    names = ", ".join(action.name for action in actions)
    return [*_folded(texts.HELP, width), *_row(texts.ACTIONS, names, width)]
