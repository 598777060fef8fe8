"""The gate of a locked console, with a clock that the test turns."""

from __future__ import annotations

import pytest

from bootsvc.console.lock import LONGEST_WAIT_S, Gate, Verdict
from bootsvc.trust.password import NOBODY, hash_password

PASSWORD = "open sesame"
STORED = hash_password(PASSWORD, bytes(16))


def test_without_a_password_everybody_is_let_in() -> None:
    gate = Gate("")
    assert not gate.is_locked
    assert gate.answer("", 0).verdict is Verdict.RIGHT


def test_the_right_password_opens_at_once() -> None:
    gate = Gate(STORED)
    assert gate.is_locked
    answer = gate.answer(PASSWORD, 0)
    assert (answer.verdict, answer.wait_s) == (Verdict.RIGHT, 0)


def test_each_wrong_try_doubles_the_wait_up_to_a_minute() -> None:
    gate, now_s, waits = Gate(STORED), 1000.0, []
    for _ in range(9):
        answer = gate.answer("wrong password", now_s)
        assert answer.verdict is Verdict.WRONG
        waits.append(answer.wait_s)
        now_s += answer.wait_s
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert gate.wrong == 9


def test_a_try_too_soon_is_not_looked_at_even_if_it_is_right() -> None:
    gate = Gate(STORED)
    for at_s in (0.0, 1.0):
        gate.answer("wrong password", at_s)
    answer = gate.answer(PASSWORD, 1.5)
    assert (answer.verdict, answer.wait_s) == (Verdict.TOO_SOON, 1.5)
    assert gate.wrong == 2
    assert gate.wait_s(3.0) == 0
    assert gate.answer(PASSWORD, 3.0).verdict is Verdict.RIGHT


def test_the_right_password_forgives_the_wrong_ones() -> None:
    gate = Gate(STORED)
    gate.answer("wrong password", 0)
    gate.answer(PASSWORD, 1)
    assert gate.wrong == 0
    assert gate.answer("wrong password", 2).wait_s == 1


def test_a_long_night_of_tries_overflows_nothing() -> None:
    gate = Gate(STORED)
    gate.wrong = 5000
    assert gate.answer("wrong password", 0).wait_s == LONGEST_WAIT_S


@pytest.mark.parametrize("stored", [NOBODY, "scrypt$1$1$1$00$00", "garbage"])
def test_where_nothing_can_be_checked_nobody_is_let_in_and_the_reason_is_said(stored: str) -> None:
    gate = Gate(stored)
    answer = gate.answer(stored, 0)
    assert answer.verdict is Verdict.NOBODY
    assert answer.why
