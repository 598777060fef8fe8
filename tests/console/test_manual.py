"""The manual describes every page and places every action, and the README shows real screens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bootsvc.console
from bootsvc.console import knock, person, terminal
from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Action
from bootsvc.console.facts import Facts
from bootsvc.console.front_end import StaysUntil, Told
from bootsvc.console.lock import Gate
from bootsvc.console.menu import Menu
from bootsvc.console.pages import prompt, render
from bootsvc.console.texts import ACTIONS_OF, Topic
from bootsvc.settings import Settings
from tests.console.machines import HALTED, ON_TRIAL

MANUAL = (Path(bootsvc.console.__file__).parent / "MANUAL.md").read_text()
README = (Path(bootsvc.console.__file__).parents[2] / "README.md").read_text()
PAGES = {topic: topic.value.split(":")[0] for topic in Topic}


@pytest.mark.parametrize("topic", Topic)
def test_every_page_is_described_under_its_title(topic: Topic) -> None:
    _, found, rest = MANUAL.partition(f"### {topic.value}\n\n")
    assert found
    assert len(rest.partition("\n\n")[0]) > 60


def test_every_action_is_placed_on_its_page_by_its_title() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \| (\w+(?: \w+)*) \|$", MANUAL, flags=re.MULTILINE)
    page_of = {name: PAGES[topic] for topic, names in ACTIONS_OF.items() for name in names}
    assert rows == [(one.name, one.title, page_of[one.name]) for one in ACTIONS]


def test_the_numbers_of_the_manual_are_those_of_the_program() -> None:
    settings = Settings()
    assert settings.console_wait_s == 2
    assert settings.console_idle_s == 5 * 60
    assert settings.progress_s == 5
    assert settings.forced_lock_s == 10 * 60
    assert terminal.SETTLE_S == 0.3
    assert (person.EARLY_S, person.REDRAW_S, person.ATTENDED_INTERVAL_S) == (1.0, 1.0, 1.0)
    assert knock.TICK_S < 0.5


def screen(facts: Facts, closes_at_s: float | None, actions: tuple[Action, ...] = ACTIONS) -> str:
    """The menu as a person sees it."""
    menu = Menu(actions, Gate(""), "ttyS0")
    menu.hear(Told(facts))
    menu.hear(StaysUntil(closes_at_s))
    page = menu.page(0.0)
    return "\n".join([*render(page, facts, 80), prompt(page).rstrip()])


@pytest.mark.parametrize(
    ("facts", "closes_at_s"), [(ON_TRIAL, 298.0), (HALTED, None)], ids=["on trial", "halted"]
)
def test_the_readme_shows_the_screens_as_they_are(facts: Facts, closes_at_s: float | None) -> None:
    assert f"```\n{screen(facts, closes_at_s)}\n```" in README
