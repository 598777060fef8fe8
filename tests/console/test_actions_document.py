"""The document of the actions names each of them, with its answers, its word and its fields."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bootsvc.console
from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Action
from bootsvc.console.doing.export import document_of
from tests.console.console_bench import Bench
from tests.sequence.machine import settled_machine

TEXT = (Path(bootsvc.console.__file__).parent / "ACTIONS.md").read_text()
ROWS = {
    row[0]: row[1:]
    for row in re.findall(
        r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", TEXT, flags=re.MULTILINE
    )
}


def test_every_action_is_documented_and_no_other() -> None:
    assert list(ROWS) == [action.name for action in ACTIONS]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_answers_and_word_are_those_of_the_table(action: Action) -> None:
    answers, word, _ = ROWS[action.name]
    assert word == (action.word or "-")
    (argument,) = action.arguments or (None,)
    if argument is None:
        assert answers == "-"
    elif argument.choices:
        assert answers == f"{argument.name}: {', '.join(argument.choices)}"
    else:
        assert answers == argument.name


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_what_writes_or_wants_an_answer_is_explained(action: Action) -> None:
    if action.word or action.arguments:
        assert f"`{action.name}`" in TEXT.partition("Reading can be broken off")[2]


def test_the_fields_of_the_exported_document_are_documented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bootsvc.boot.hardware.hardware", dict)
    section = TEXT.partition("## The exported document")[2]
    documented = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert documented == list(document_of(Bench(settled_machine()).session))
