"""What programs may ask of the console, as lines of JSON; ``PROTOCOL.md`` documents it. Pure.

A program's line comes from anywhere: a line that is too long, is no JSON, nests without end or asks
for what there is not becomes a ``Bad`` with the reason, and nothing else happens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

LONGEST_LINE = 4096
"""Bytes of a request's line, without its end."""

LONGEST_TEXT = 1024
"""Characters of any text in a request."""

LONGEST_ID = 64
"""Characters of a request's ``id``."""


@dataclass(frozen=True)
class AskFacts:
    """The facts as they are now."""

    id: str = ""


@dataclass(frozen=True)
class AskActions:
    """The table of actions, each with what stands against it now."""

    id: str = ""


@dataclass(frozen=True)
class AskPerform:
    """Do an action.

    Attributes:
        word: what was typed out where the action can lose something.
    """

    action: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    word: str = ""
    id: str = ""


@dataclass(frozen=True)
class AskCancel:
    """Break off the action under way, where that is safe."""

    id: str = ""


@dataclass(frozen=True)
class AskHold:
    """Stop the countdown: the machine does not go on by itself."""

    id: str = ""


@dataclass(frozen=True)
class AskUnlock:
    """Open a console that is locked."""

    password: str
    id: str = ""

    def __repr__(self) -> str:
        """Without the password, which must reach no log."""
        return f"AskUnlock(id={self.id!r})"


Request = AskFacts | AskActions | AskPerform | AskCancel | AskHold | AskUnlock


@dataclass(frozen=True)
class Bad:
    """A line that is no request.

    Attributes:
        why: as a sentence.
        id: the line's own, where it could be read.
    """

    why: str
    id: str = ""


class Lines:
    """Cuts bytes into lines; never holds more than one line of the longest allowed length."""

    def __init__(self) -> None:
        self._held = b""
        self._is_too_long = False

    def feed(self, data: bytes) -> list[Request | Bad]:
        """The requests whose last byte is in ``data``; an empty line is none."""
        *ends, rest = data.split(b"\n")
        found = [one for end in ends if (one := self._ended(end)) is not None]
        self._hold(rest)
        return found

    def forget(self) -> None:
        """Whoever sent the beginning of a line is gone."""
        self._held, self._is_too_long = b"", False

    def _hold(self, data: bytes) -> None:
        held = self._held + data
        if len(held) > LONGEST_LINE + 1:  # a carriage return may still be among it
            held, self._is_too_long = b"", True
        self._held = held

    def _ended(self, data: bytes) -> Request | Bad | None:
        self._hold(data)
        line, is_too_long = self._held.strip(b"\r\n\t \0"), self._is_too_long
        self.forget()
        if is_too_long or len(line) > LONGEST_LINE:
            return Bad(f"the line is longer than {LONGEST_LINE} bytes")
        return parse_request(line) if line else None


def parse_request(line: bytes) -> Request | Bad:
    """The request that ``line`` makes, or why it makes none."""
    try:
        asked = json.loads(line.decode("utf-8"))
    except RecursionError:
        return Bad("the line nests too deep")
    except ValueError:  # no UTF-8, no JSON, a number of thousands of digits
        return Bad("the line is no JSON in UTF-8")
    if not isinstance(asked, dict):
        return Bad('a request is a JSON object, such as {"do": "facts"}')
    request_id = asked.pop("id", "")
    if not _is_text(request_id, LONGEST_ID):
        return Bad(f"id must be a text of at most {LONGEST_ID} printable characters")
    name = asked.pop("do", "")
    make = _MAKERS.get(name) if isinstance(name, str) else None
    if make is None:
        return Bad(f"no such request; there are {', '.join(_MAKERS)}", request_id)
    known = _FIELDS.get(name, ())
    for key in asked:
        if key not in known:
            knows = f"knows only {', '.join((*known, 'id'))}"
            return Bad(f"{name} {knows}", request_id)
    return make(asked, request_id)


def _perform(asked: Mapping[str, object], request_id: str) -> Request | Bad:
    action, word = asked.get("action"), asked.get("word", "")
    arguments = asked.get("arguments", {})
    if not _is_text(action) or not action:
        return Bad("perform needs action: the name of an action, as a text", request_id)
    if not _is_text(word):
        return Bad(f"word must be a text of at most {LONGEST_TEXT} characters", request_id)
    if not isinstance(arguments, dict):
        return Bad("arguments must be an object of texts", request_id)
    for name, value in arguments.items():
        if not _is_text(name) or not _is_text(value):
            return Bad(
                f"each argument must be a text of at most {LONGEST_TEXT} printable characters",
                request_id,
            )
    return AskPerform(action, arguments, word, request_id)


def _unlock(asked: Mapping[str, object], request_id: str) -> Request | Bad:
    password = asked.get("password")
    if not _is_text(password):
        return Bad("unlock needs password: a text of printable characters", request_id)
    return AskUnlock(password, request_id)


def _is_text(value: object, longest: int = LONGEST_TEXT) -> TypeGuard[str]:
    """Printable: what is refused with an argument is repeated on screens and in file names."""
    return isinstance(value, str) and len(value) <= longest and value.isprintable()


Maker = Callable[[Mapping[str, object], str], Request | Bad]

_MAKERS: dict[str, Maker] = {
    "facts": lambda _, request_id: AskFacts(request_id),
    "actions": lambda _, request_id: AskActions(request_id),
    "perform": _perform,
    "cancel": lambda _, request_id: AskCancel(request_id),
    "hold": lambda _, request_id: AskHold(request_id),
    "unlock": _unlock,
}

_FIELDS = {"perform": ("action", "arguments", "word"), "unlock": ("password",)}
"""What a request may have beside ``do`` and ``id``."""

REQUESTS: dict[str, tuple[str, ...]] = {
    name: ("do", *_FIELDS.get(name, ()), "id") for name in _MAKERS
}
"""Every request and its fields, in the order of the document."""
