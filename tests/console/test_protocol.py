"""Requests of programs: what is understood, what is refused, and what is never held."""

from __future__ import annotations

import json

import pytest

from bootsvc.console.protocol import (
    LONGEST_LINE,
    LONGEST_TEXT,
    REQUESTS,
    AskActions,
    AskCancel,
    AskFacts,
    AskHold,
    AskPerform,
    AskUnlock,
    Bad,
    Lines,
    Request,
    parse_request,
)


def parsed(**asked: object) -> Request | Bad:
    return parse_request(json.dumps(asked).encode())


def test_each_request_is_understood() -> None:
    arguments = {"area": "backup"}
    assert parsed(do="facts", id="1") == AskFacts("1")
    assert parsed(do="actions") == AskActions()
    assert parsed(do="cancel", id="2") == AskCancel("2")
    assert parsed(do="hold") == AskHold()
    assert parsed(do="unlock", password="open sesame") == AskUnlock("open sesame")
    assert parsed(do="perform", action="verify", arguments=arguments, word="yes", id="3") == (
        AskPerform("verify", arguments, "yes", "3")
    )
    assert parsed(do="perform", action="go-on") == AskPerform("go-on")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "no such request; there are facts, actions, perform, cancel, hold, unlock"),
        ({"do": "fact"}, "no such request"),
        ({"do": ["facts"]}, "no such request"),
        ({"do": "facts", "area": "backup"}, "facts knows only id"),
        ({"do": "unlock"}, "unlock needs password"),
        ({"do": "unlock", "password": 7}, "unlock needs password"),
        ({"do": "perform"}, "perform needs action"),
        ({"do": "perform", "action": ""}, "perform needs action"),
        ({"do": "perform", "action": "x", "area": "y"}, "knows only action, arguments, word, id"),
        ({"do": "perform", "action": "x", "word": None}, "word must be a text"),
        ({"do": "perform", "action": "x", "arguments": ["y"]}, "arguments must be an object"),
        ({"do": "perform", "action": "x", "arguments": {"area": 1}}, "each argument"),
        ({"do": "perform", "action": "x", "arguments": {"area": "\0"}}, "each argument"),
        ({"do": "perform", "action": "x", "arguments": {"area": "\ud800"}}, "each argument"),
        ({"do": "perform", "action": "x" * (LONGEST_TEXT + 1)}, "perform needs action"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason_and_its_id(
    asked: dict[str, object], why: str
) -> None:
    found = parsed(**asked, id="7")
    assert isinstance(found, Bad)
    assert why in found.why
    assert found.id == "7"


@pytest.mark.parametrize("request_id", [7, None, "x" * 65, "a\nb", {}])
def test_an_id_that_is_no_short_text_is_refused(request_id: object) -> None:
    found = parsed(do="facts", id=request_id)
    assert isinstance(found, Bad)
    assert (found.why[:12], found.id) == ("id must be a", "")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"reboot", "no JSON"),
        (b'{"do": "facts"', "no JSON"),
        (b'{"do": "f\xff"}', "no JSON"),
        (b'{"do": ' + b"9" * 4000 + b"}", "no such request"),
        (b"[" * 4000, "too deep"),
        (b'{"do":' * 600, "no JSON"),
        (b'["do", "facts"]', "a request is a JSON object"),
        (b"null", "a request is a JSON object"),
    ],
)
def test_a_line_that_is_no_request_is_refused(line: bytes, why: str) -> None:
    found = parse_request(line)
    assert isinstance(found, Bad)
    assert why in found.why


def test_a_password_is_not_repeated_by_whatever_prints_the_request() -> None:
    assert "sesame" not in repr(parsed(do="unlock", password="open sesame"))


def test_lines_come_in_any_pieces_and_with_any_ends() -> None:
    data = b'\r\n{"do":"facts"}\r\n\n{"do":"hold","id":"1"}\n{"do":"act'
    whole = Lines().feed(data)
    lines = Lines()
    by_bytes = [one for byte in data for one in lines.feed(bytes([byte]))]
    assert whole == by_bytes == [AskFacts(), AskHold("1")]
    assert lines.feed(b'ions"}\n') == [AskActions()]


def test_a_line_without_end_is_refused_once_and_never_held() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * LONGEST_LINE) == []
        assert len(lines._held) <= LONGEST_LINE + 1
    (found,) = lines.feed(b"x\n")
    assert isinstance(found, Bad)
    assert "longer than 4096 bytes" in found.why
    assert lines.feed(b'{"do":"facts"}\n') == [AskFacts()]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_longest_line_is_understood_and_one_byte_more_is_not(end: bytes) -> None:
    longest = b'{"do":' + b'"facts"}'.rjust(LONGEST_LINE - 6)
    assert Lines().feed(longest + end) == [AskFacts()]
    (found,) = Lines().feed(longest.replace(b":", b": ") + end)
    assert isinstance(found, Bad)


def test_half_a_line_of_a_peer_that_left_is_forgotten() -> None:
    lines = Lines()
    lines.feed(b'{"do":"perform",')
    lines.forget()
    assert lines.feed(b'{"do":"facts"}\n') == [AskFacts()]


def test_every_request_of_the_table_is_understood_with_its_fields() -> None:
    values = {"action": "verify", "arguments": {}, "word": "", "password": "x", "id": "1"}
    for name, fields in REQUESTS.items():
        assert fields[0] == "do"
        asked = {key: values[key] for key in fields[1:]}
        assert not isinstance(parsed(do=name, **asked), Bad)
