"""The dialogue with one person: what is typed, what is shown, what is done."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Action, Argument, Outcome, Then
from bootsvc.console.front_end import (
    Ask,
    Began,
    Cancel,
    Command,
    Ended,
    Perform,
    Present,
    Refused,
    StaysUntil,
    Told,
)
from bootsvc.console.keys import Key
from bootsvc.console.lock import Gate
from bootsvc.console.menu import Menu
from bootsvc.console.pages import (
    AskPage,
    ConfirmPage,
    ResultPage,
    TopicPage,
    UnlockPage,
    WorkPage,
    prompt,
    render,
)
from bootsvc.console.reports import Progress, Said, Worked
from bootsvc.console.texts import Topic
from bootsvc.trust.password import hash_password
from bootsvc.units import MIB
from tests.console.machines import HEALTHY

LOOK = Action(
    "verify", "Verify", "Reads it.", (Argument("area", "Which?", ("all", "backup"), "all"),)
)
FETCH = Action("install", "Install", "Fetches.", (Argument("source", "Where from?"),))
LOSE = Action("restore", "Restore", "Copies.", loses="Primary.", word="RESTORE")
NEVER = Action("roll-back", "Roll back", "Goes back.", refusal=lambda _: "There is nothing.")
GO_ON = Action("go-on", "Go on", "Leaves.")
SHELL = Action("shell", "Shell", "Opens one.")
TABLE = (GO_ON, LOOK, LOSE, NEVER, FETCH, SHELL)


def menu(gate: Gate | None = None) -> Menu:
    made = Menu(TABLE, gate or Gate(""), "ttyS0")
    made.hear(Told(HEALTHY))
    made.hear(StaysUntil(300.0))
    return made


def types(at: Menu, line: str, now_s: float = 0.0) -> list[Command]:
    commands: list[Command] = []
    for char in line:
        assert not at.key(char, now_s), "nothing happens before Enter"
    commands += at.key(Key.ENTER, now_s)
    return commands


def topic(at: Menu) -> Topic:
    page = at.page(0.0)
    assert isinstance(page, TopicPage)
    return page.topic


def note(at: Menu) -> str:
    page = at.page(0.0)
    assert isinstance(page, TopicPage)
    return page.note


def test_enter_alone_takes_the_safe_choice_of_the_overview() -> None:
    assert types(menu(), "") == [Perform("go-on")]


@pytest.mark.parametrize("line", ["2", "areas", "AREAS", " 2 "])
def test_a_page_is_chosen_by_number_or_name_and_left_by_enter(line: str) -> None:
    at = menu()
    assert types(at, line) == [Present()]
    assert topic(at) is Topic.AREAS
    types(at, "")
    assert topic(at) is Topic.OVERVIEW


@pytest.mark.parametrize("line", ["verify backup", "verify b", "verify 2", "VERIFY backup"])
def test_an_action_is_typed_from_anywhere_with_its_answers(line: str) -> None:
    assert types(menu(), line) == [Perform("verify", {"area": "backup"})]


def test_a_question_is_asked_and_enter_takes_its_default() -> None:
    at = menu()
    types(at, "verify")
    assert at.page(0.0) == AskPage(LOOK, LOOK.arguments[0])
    assert types(at, "") == [Perform("verify", {"area": "all"})]


def test_a_question_that_is_not_understood_is_asked_again() -> None:
    at = menu()
    types(at, "verify")
    assert types(at, "3") == []
    page = at.page(0.0)
    assert isinstance(page, AskPage)
    assert page.note == "Not understood: 3"
    assert types(at, "2") == [Perform("verify", {"area": "backup"})]


@pytest.mark.parametrize("line", ["", "."])
def test_a_question_without_a_default_is_left_by_enter_or_a_dot(line: str) -> None:
    at = menu()
    types(at, "install")
    assert types(at, line) == [Present()]
    assert topic(at) is Topic.OVERVIEW


def test_a_free_answer_is_taken_as_it_is() -> None:
    at = menu()
    types(at, "install")
    assert types(at, "http://mirror/b") == [Perform("install", {"source": "http://mirror/b"})]


def test_what_loses_something_wants_its_word_to_the_letter() -> None:
    at = menu()
    assert types(at, "restore") == [Present()]
    assert isinstance(at.page(0.0), ConfirmPage)
    for wrong in ("restore", "RRESTORE", "RESTOR", "y", "1"):
        assert types(at, wrong) == [Present()]
        page = at.page(0.0)
        assert isinstance(page, ConfirmPage)
        assert f"{wrong} was typed" in page.note
    assert types(at, "RESTORE") == [Perform("restore", {}, word="RESTORE")]


def test_enter_alone_confirms_nothing() -> None:
    at = menu()
    types(at, "restore")
    assert types(at, "") == [Present()]
    assert topic(at) is Topic.OVERVIEW
    assert note(at) == "Nothing was changed."


def test_what_cannot_be_done_says_why_and_asks_nothing() -> None:
    at = menu()
    assert types(at, "roll-back") == [Present()]
    assert note(at) == "There is nothing."


def test_rubbish_is_shown_and_is_no_sign_of_a_person() -> None:
    at = menu()
    assert types(at, "verfy") == []
    assert note(at) == "Not understood: verfy. Did you mean verify?"
    assert types(at, "99") == []
    assert types(at, "1" * 150) == []
    assert types(at, "verify backup now") == [Present()]
    assert note(at) == "verify has 1 arguments at most"


def test_backspace_and_ctrl_u_rub_out_and_a_long_line_ends() -> None:
    at = menu()
    for key in ("v", "x", Key.RUB_OUT, *"erify all"):
        at.key(key, 0.0)
    assert at.typed == "verify all"
    at.key(Key.RUB_LINE, 0.0)
    assert at.echo == ""
    for _ in range(1000):
        at.key("x", 0.0)
    assert len(at.typed) == 200


def test_the_mark_moves_within_the_page_and_enter_takes_it() -> None:
    at = menu()
    for key in (Key.UP, Key.DOWN):
        at.key(key, 0.0)
    assert types(at, "") == [Present()]
    assert topic(at) is Topic.AREAS
    for _ in range(30):
        at.key(Key.DOWN, 0.0)
    assert types(at, "") == [Present()]
    assert note(at) == "There is nothing.", "the last one of the page"


def test_back_is_one_step_at_a_time() -> None:
    at = menu()
    types(at, "areas")
    types(at, "restore")
    at.key(Key.BACK, 0.0)
    assert topic(at) is Topic.AREAS
    at.key(Key.BREAK, 0.0)
    assert topic(at) is Topic.OVERVIEW
    at.key(Key.BACK, 0.0)
    assert topic(at) is Topic.OVERVIEW


def test_help_explains_the_keys_or_one_action() -> None:
    at = menu()
    for line, explained in (("?", TABLE), ("? restore", (LOSE,)), ("help", TABLE)):
        types(at, line)
        page = at.page(0.0)
        assert isinstance(page, TopicPage)
        assert (page.topic, page.detail) == (Topic.HELP, explained)


def test_a_page_asked_for_afresh_is_shown_with_the_new_facts() -> None:
    at = menu()
    before = at.turn
    assert types(at, "r") == [Present(), Ask()]
    assert at.turn == before, "not yet"
    at.hear(Told(HEALTHY))
    assert at.turn == before + 1
    at.hear(Told(HEALTHY))
    assert at.turn == before + 1


def test_while_an_action_works_keys_only_break_it_off() -> None:
    at = menu()
    at.hear(Began(Perform("verify")))
    at.hear(Said("read once more"))
    at.hear(Progress("verify backup", MIB, 2 * MIB, 1.0))
    page = at.page(0.0)
    assert isinstance(page, WorkPage)
    assert (page.title, page.log) == ("Verify", ("read once more",))
    assert page.at is not None
    for key in ("1", Key.ENTER, "x"):
        assert at.key(key, 0.0) == []
    assert at.key("q", 0.0) == [Cancel()]
    at.hear(Worked("verify backup", 2.0))
    page = at.page(0.0)
    assert isinstance(page, WorkPage)
    assert (page.at, page.is_breaking) == (None, True)


def test_an_end_is_shown_until_enter() -> None:
    at = menu()
    at.hear(Began(Perform("verify")))
    at.hear(Ended(Perform("verify"), Outcome(is_done=True, lines=("All is well.",))))
    assert isinstance(at.page(0.0), ResultPage)
    assert types(at, "") == [Present()]
    assert topic(at) is Topic.OVERVIEW


def test_an_end_that_leaves_the_console_waits_for_no_enter() -> None:
    at = menu()
    at.hear(Began(Perform("go-on")))
    at.hear(Ended(Perform("go-on"), Outcome(is_done=True, then=Then.GO_ON)))
    assert not isinstance(at.page(0.0), ResultPage)


def test_a_command_that_was_refused_says_why() -> None:
    at = menu()
    at.hear(Refused(Perform("verify"), "another action is under way"))
    assert note(at) == "another action is under way"


def test_the_countdown_runs_with_the_clock() -> None:
    at = menu()
    page = at.page(10.0)
    assert isinstance(page, TopicPage)
    assert page.closes_in_s == 290.0
    at.hear(StaysUntil(None))
    page = at.page(10.0)
    assert isinstance(page, TopicPage)
    assert page.closes_in_s is None


def test_behind_the_lock_nothing_is_shown_and_nothing_is_obeyed() -> None:
    at = menu(Gate(hash_password("open sesame", bytes(16))))
    for line in ("reboot", "go-on", "1", ""):
        assert not [one for one in types(at, line) if isinstance(one, Perform)]
        at.hear(Began(Perform("verify")))
        assert isinstance(at.page(0.0), UnlockPage)
    assert at.key(Key.BACK, 0.0) == []
    for char in "open sesame":
        at.key(char, 100.0)
    assert at.echo == ""
    assert at.key(Key.ENTER, 100.0) == [Present(), Ask()]
    assert topic(at) is Topic.OVERVIEW


KEYS = st.one_of(
    st.sampled_from(list(Key)),
    st.characters(min_codepoint=0x20, max_codepoint=0x7E),
    st.sampled_from(["verify", "restore", "areas", "1", "2", "9", "b", "?"]),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(KEYS, max_size=60))
def test_whatever_is_typed_every_page_can_be_shown_and_no_word_is_made_up(
    keys: list[Key | str],
) -> None:
    at = Menu(ACTIONS, Gate(""), "ttyS0")
    at.hear(Told(HEALTHY))
    words = {action.name: action.word for action in ACTIONS}
    typed = ""
    for keys_of in keys:
        for key in keys_of if isinstance(keys_of, str) else [keys_of]:
            typed += key if isinstance(key, str) else ""
            for command in at.key(key, 0.0):
                if isinstance(command, Perform):
                    assert command.word == words[command.name]
                    assert command.word in typed
            page = at.page(0.0)
            assert render(page, HEALTHY, 40)
            assert prompt(page)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("tty0", "tty0 has the shell. Keys are not heard here until it is left."),
        ("ttyS0", "exit leaves the shell and comes back here"),
    ],
)
def test_a_shell_is_not_broken_off_and_no_screen_says_so(by: str, words: str) -> None:
    at = menu()
    at.hear(Began(Perform("shell"), by))
    assert at.key("q", 0.0) == []
    lines = render(at.page(0.0), HEALTHY, 80)
    assert words in lines
    assert not any("q breaks it off" in line or "Breaking off" in line for line in lines)
