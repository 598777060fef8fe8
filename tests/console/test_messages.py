"""Messages to programs, and the document that describes them: neither forgets the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import bootsvc.console
from bootsvc.console import messages
from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Action, Argument, Outcome, Then
from bootsvc.console.facts import SCHEMA, AreaFacts, Facts
from bootsvc.console.front_end import Perform
from bootsvc.console.messages import Message
from bootsvc.console.protocol import REQUESTS, Bad, parse_request
from bootsvc.console.reports import Progress, Said, Staged, Wait, Worked
from bootsvc.formats.boot_status import Area, BootStatus, Failure, Phase, Reason, StatusCode

DOCUMENT = Path(bootsvc.console.__file__).with_name("PROTOCOL.md").read_text()

STATUS = BootStatus(
    StatusCode.WORKING,
    Phase.IDLE,
    Area.PRIMARY,
    last_failure=Failure(Phase.TRIAL, Reason.PANIC, Area.PRIMARY, 5, 1, 3, b"i" * 32),
)
FACTS = Facts(
    bootsvc="1.0",
    slot="a",
    compatible="lab",
    disk="/dev/vda",
    problem="",
    status=STATUS,
    next="start primary",
    why="primary is confirmed",
    areas=(AreaFacts("primary", "confirmed", 1), AreaFacts("backup", "valid", 1)),
    alarms=("the disk is old",),
)
VERIFY = Action("verify", "Verify", "Reads it.", (Argument("area", "Which?", ("all",), "all"),))
OUTCOME = Outcome(is_done=True, lines=("good",), then=Then.GO_ON, facts=(("bad", ["x"]),))

EXAMPLES: tuple[Message, ...] = (
    messages.hello("1.0", "ttyS1", known=FACTS, goes_on_in_s=2.0, is_locked=False),
    messages.answer_to("1", messages.facts(FACTS)),
    messages.answer_to("1", messages.actions((VERIFY,), FACTS)),
    messages.stays(60.0),
    messages.answer_to("1", messages.began(Perform("verify", {"area": "all"}), "ttyS1")),
    messages.answer_to("1", messages.outcome("verify", OUTCOME)),
    messages.report(Staged("copy", {"boot": "backup"})),
    messages.report(Progress("copy", 1, 4, 0.5, 5, 6)),
    messages.report(Worked("copy", 2.0, 4, 3, 1)),
    messages.report(Wait("the disk", 1.0, 9.0, "the console opens")),
    messages.report(Said("next: start primary")),
    messages.answer_to("1", messages.lock(is_locked=True, wait_s=2.0, why="wrong password")),
    messages.answer_to("1", messages.error("no such request")),
    messages.lost(3),
    messages.closed("it was asked for"),
)
"""One of each message, with all its fields."""

OPEN = ("areas", "status", "failed", "facts", "arguments")
"""Objects whose inside has a table of its own, or has any names."""


def sections(part: str) -> dict[str, list[str]]:
    """The fields in the tables below one heading, by the heading of each."""
    text = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)
    chosen = next(one for one in text if one.startswith(part))
    return {
        heading: re.findall(r"^\| `([\w.*\[\]]+)` \| \S", body, flags=re.MULTILINE)
        for heading, body in re.findall(
            r"^### `(\w+)`$(.*?)(?=^###|\Z)", chosen, flags=re.MULTILINE | re.DOTALL
        )
    }


def paths(value: object, at: str = "") -> Iterator[str]:
    """Every field of a document, areas as ``*`` and items as ``[]``; ``OPEN`` ones stay closed."""
    if isinstance(value, dict):
        for key, below in value.items():
            path = f"{at}.{key}" if at else key
            yield path
            if not (path in OPEN or isinstance(below, str)):
                yield from paths(below, path)
    elif isinstance(value, list):
        for below in value:
            yield from paths(below, f"{at}[]")


def test_every_message_and_field_is_documented_and_no_other() -> None:
    shown = {str(one["tell"]): [*dict.fromkeys(paths(one))] for one in EXAMPLES}
    assert sections("Messages") == shown


def test_every_request_and_field_is_documented_and_no_other() -> None:
    assert sections("Requests") == {name: list(fields) for name, fields in REQUESTS.items()}


def test_every_fact_is_documented_and_no_other() -> None:
    document = messages.facts_document(FACTS)
    shown = []
    for key, value in document.items():
        shown.append(key)
        if key == "status":
            shown += [f"status.{path}" for path in paths(value)]
        if key == "areas":
            shown += [f"areas.*.{path}" for path in paths(document["areas"]["primary"])]  # type: ignore[index]
    section = DOCUMENT.partition("## The facts")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w.*]+)` \| \S", section, flags=re.MULTILINE) == shown


def test_the_document_is_of_this_schema() -> None:
    assert f"Schema {SCHEMA}." in DOCUMENT
    assert EXAMPLES[0]["schema"] == SCHEMA


def test_the_documents_example_is_understood() -> None:
    asked = re.findall(r"^> (.*)$", DOCUMENT, flags=re.MULTILINE)
    assert asked
    assert not any(isinstance(parse_request(one.encode()), Bad) for one in asked)


def test_the_documents_words_for_what_follows_an_action_are_those_of_the_code() -> None:
    row = next(line for line in DOCUMENT.splitlines() if line.startswith("| `then` | `stay`"))
    words = {messages.outcome("x", Outcome(is_done=True, then=one))["then"] for one in Then}
    assert set(re.findall(r"`([\w-]+)`", row)) - {"then"} == words


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: str(one["tell"]))
def test_a_message_is_one_line_of_ascii_that_says_the_same(message: Message) -> None:
    line = messages.line({**message, "extra": "ü\n\x1b\ud800"})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert json.loads(line) == {**message, "extra": "ü\n\x1b\ud800"}


def test_an_action_brings_what_stands_against_it_now() -> None:
    refused = replace(VERIFY, refusal=lambda facts: f"not on {facts.disk}", loses="all", word="yes")
    shown = json.loads(messages.line(messages.actions((refused,), FACTS)))["actions"][0]
    assert shown["refusal"] == "not on /dev/vda"
    assert (shown["loses"], shown["word"]) == ("all", "yes")


def test_every_action_of_the_table_can_be_sent() -> None:
    shown = json.loads(messages.line(messages.actions(ACTIONS, FACTS)))["actions"]
    assert [one["name"] for one in shown] == [one.name for one in ACTIONS]


def test_a_lost_record_and_an_unknown_reason_are_told_as_such() -> None:
    assert messages.facts_document(replace(FACTS, status=None))["status"] is None
    newer = replace(STATUS, last_failure=Failure(Phase.TRIAL, 200))
    status = messages.facts_document(replace(FACTS, status=newer))["status"]
    assert status["last_failure"]["reason"] == "200"  # type: ignore[index]  # an object
    assert status["last_failure"]["identity"] is None  # type: ignore[index]


def test_what_an_action_found_is_sent_whatever_it_is() -> None:
    found = Outcome(is_done=True, facts=(("disk", Path("/dev/vda")),))
    assert json.loads(messages.line(messages.outcome("x", found)))["facts"] == {"disk": "/dev/vda"}
