"""Bytes of good, bad and doubled lines, and the keys that they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.console.keys import DOUBLED_S, ESCAPE_S, Key, Keys


def keys(*pieces: bytes, apart_s: float = 0.001) -> list[Key | str]:
    """The keys of ``pieces`` that arrive one after another, and of the silence that follows."""
    line, found = Keys(), list[Key | str]()
    for number, piece in enumerate(pieces):
        found += line.feed(piece, number * apart_s)
    return found + line.tick(len(pieces) * apart_s + ESCAPE_S)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"1", ["1"]),
        (b"verify", list("verify")),
        (b"\r", [Key.ENTER]),
        (b"\n", [Key.ENTER]),
        (b"\x03", [Key.BREAK]),
        (b"\x04", [Key.BREAK]),
        (b"\x08", [Key.RUB_OUT]),
        (b"\x7f", [Key.RUB_OUT]),
        (b"\x15", [Key.RUB_LINE]),
        (b"\x0c", [Key.REDRAW]),
        (b"\x10\x0e", [Key.UP, Key.DOWN]),
        (b"\x1b", [Key.BACK]),
        (b"\x1b[A\x1b[B", [Key.UP, Key.DOWN]),
        (b"\x1bOA\x1bOB", [Key.UP, Key.DOWN]),
        (b"\x1b[1;5A", [Key.UP]),
        (b"\x1b[5~\x1b[6~", [Key.PAGE_UP, Key.PAGE_DOWN]),
        (b"\x1b[H\x1b[F\x1b[1~\x1b[4~", [Key.HOME, Key.END, Key.HOME, Key.END]),
    ],
)
def test_each_key_is_known_by_its_bytes(data: bytes, expected: list[Key | str]) -> None:
    assert keys(data) == expected
    assert keys(*(bytes([byte]) for byte in data)) == expected, "byte by byte"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\0",
        b"\xff\xfe",
        b"\x80",
        "ü€".encode(),
        b"\x11\x13",  # XON, XOFF
        b"\x1b[24;80R",  # late answers of a terminal
        b"\x1b[?1;2c",
        b"\x1b[?62;9H",
        b"\x1b[3~",  # keys without meaning here
        b"\x1bOP",
        b"\x1bx",
        b"\x1b[" + b"1" * 40 + b"\x18",
    ],
)
def test_what_is_no_key_is_dropped_and_hides_none_that_follows(rubbish: bytes) -> None:
    assert [key for key in keys(rubbish + b"y") if key != "1"] == ["y"]


@pytest.mark.parametrize("ends", [b"\r\n", b"\n\r", b"\r\r", b"\r\r\n\n", b"\r\0\r"])
def test_line_ends_that_come_at_once_are_one_enter(ends: bytes) -> None:
    assert keys(b"1" + ends + b"2" + ends) == ["1", Key.ENTER, "2", Key.ENTER]


def test_a_line_end_in_two_pieces_is_one_enter() -> None:
    assert keys(b"1\r", b"\n") == ["1", Key.ENTER]


def test_a_person_who_presses_enter_twice_is_heard_twice() -> None:
    assert keys(b"\r", b"\r", apart_s=2 * DOUBLED_S) == [Key.ENTER, Key.ENTER]


def test_enter_held_down_is_one_enter() -> None:
    assert keys(*[b"\r"] * 30, apart_s=0.033) == [Key.ENTER]


def test_a_sequence_that_ends_early_gives_no_key_and_no_escape() -> None:
    line = Keys()
    assert line.feed(b"\x1b[", 0.0) == []
    assert line.tick(ESCAPE_S) == []
    assert line.feed(b"A", ESCAPE_S + 0.1) == ["A"]


def test_an_arrow_in_pieces_is_an_arrow_where_they_come_in_time() -> None:
    line = Keys()
    assert line.feed(b"\x1b", 0.0) == []
    assert line.feed(b"[", 0.1) == []
    assert line.feed(b"A", 0.15) == [Key.UP]


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_any_bytes_in_any_pieces_give_only_keys_and_printable_characters(
    pieces: list[bytes],
) -> None:
    for key in keys(*pieces):
        assert isinstance(key, Key) or (len(key) == 1 and key.isascii() and key.isprintable())
