"""Every page as text: the golden files, and what holds for all of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.console.action_table import ACTIONS
from bootsvc.console.facts import AreaFacts
from bootsvc.console.pages import Item, TopicPage, prompt, render
from bootsvc.console.texts import ACTIONS_OF, Topic, area_in_words, clock, plain, unattended
from tests.console.golden_pages import FOLDER, PAGES, texts
from tests.console.machines import HALTED, HEALTHY, MACHINES

GOLDEN = dict(texts())


@pytest.mark.parametrize("name", GOLDEN)
def test_a_page_reads_as_it_was_approved(name: str) -> None:
    assert (FOLDER / name).read_text("ascii") == GOLDEN[name]


def test_no_approved_page_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDEN)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_plain_ascii_within_its_columns(name: str, width: int) -> None:
    page, facts = PAGES[name]
    lines = render(page, facts, width)
    assert lines == render(page, facts, width)
    for line in lines:
        assert len(line) <= min(width, 80), line
        assert line.isascii()
        assert line.isprintable()
        assert line == line.rstrip()
    assert prompt(page).isascii()


@pytest.mark.parametrize("topic", Topic)
@pytest.mark.parametrize("name", MACHINES)
def test_every_topic_can_be_shown_of_every_machine(name: str, topic: Topic) -> None:
    facts = MACHINES[name]
    items = tuple(Item(action.title, action.name, action.refusal(facts)) for action in ACTIONS)
    lines = render(TopicPage(topic, items, detail=ACTIONS), facts, 80)
    for number in range(1, len(items) + 1):
        assert any(line[:5].strip(" []") == str(number) for line in lines)


@pytest.mark.parametrize("name", MACHINES)
def test_the_overview_with_its_whole_menu_fits_24_lines(name: str) -> None:
    items = tuple(Item(topic.value, topic.name) for topic in Topic)
    lines = render(TopicPage(Topic.OVERVIEW, items, closes_in_s=9.0), MACHINES[name], 80)
    assert len(lines) + 1 <= 24


def test_the_overview_answers_what_a_technician_asks() -> None:
    text = " ".join(render(TopicPage(Topic.OVERVIEW, (), closes_in_s=298.0), HEALTHY, 80))
    words = " ".join(text.split())
    assert 'Primary number 7 "2.4.1" (2b2b2b2b2b2b), confirmed; not read in full' in words
    assert 'Backup number 6 "2.4.0" (0f0f0f0f0f0f), complete; every byte verified' in words
    assert "Next Start primary. Because Primary is confirmed" in words
    assert "If nobody answers, in 4 min 58 s (2026-11-22 03:14:58 UTC): start primary." in words


def test_what_failed_is_told_with_its_image_place_and_time() -> None:
    words = " ".join((FOLDER / "last-try-80.txt").read_text().split())
    assert "What The watchdog reset the machine." in words
    assert "Where TRIAL: new image on trial, area primary." in words
    assert "When 2026-11-22 03:00:00 UTC" in words
    assert "Image number 8 (383838383838)" in words


def test_without_a_clock_no_time_is_made_up() -> None:
    assert "UTC" not in unattended(HALTED, 60.0)


@pytest.mark.parametrize(
    ("area", "words"),
    [
        (AreaFacts("staging", "empty", problem="no image"), "empty."),
        (AreaFacts("backup", "valid"), "complete; no image was found there."),
        (AreaFacts("backup", "unknown", problem="errno 5"), "unknown; errno 5."),
        (
            AreaFacts("primary", "bad", 7, "x", "ab" * 32, "", "refused", "no trusted key"),
            'number 7 "x" (abababababab), not usable; no trusted key.',
        ),
    ],
)
def test_an_area_is_told_in_words(area: AreaFacts, words: str) -> None:
    assert area_in_words(area) == words


def test_what_comes_from_outside_cannot_move_the_cursor() -> None:
    evil = AreaFacts("primary", "valid", 7, "\x1b[2Jüber\n", "ab" * 32, "site", "footed")
    assert '"?[2J?ber?"' in area_in_words(evil)
    assert plain("~ !") == "~ !"


@given(st.integers(0, 4_000_000_000))
def test_a_time_is_the_calendars(seconds: int) -> None:
    assert clock(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def test_every_action_of_the_table_has_its_place_in_the_menu() -> None:
    placed = [name for names in ACTIONS_OF.values() for name in names]
    assert len(placed) == len(set(placed))
    assert {action.name for action in ACTIONS} <= set(placed)
