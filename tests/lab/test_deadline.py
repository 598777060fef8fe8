"""One deadline, passed down."""

from __future__ import annotations

import pytest

from qemu_lab.deadline import PATIENCE_VARIABLE, Deadline, patience


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_runs_out_on_its_clock() -> None:
    clock = _Clock()
    deadline = Deadline.after(5, clock)
    seen = []
    for now in (100.0, 104.5, 105.0, 200.0):
        clock.now = now
        seen.append((deadline.remaining, deadline.expired))
    assert seen == [(5, False), (0.5, False), (0, True), (0, True)]


def test_a_deadline_that_is_passed_down_stays_the_same() -> None:
    deadline = Deadline.after(5)
    assert Deadline.of(deadline) is deadline


def test_patience_stretches_seconds_but_not_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "4")
    assert Deadline.of(10).seconds == 40
    assert Deadline.of(Deadline.after(10)).seconds == 10


@pytest.mark.parametrize("text", ["soon", "0", "-1", "1000", "nan"])
def test_patience_that_makes_no_sense_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=PATIENCE_VARIABLE):
        patience({PATIENCE_VARIABLE: text})


def test_patience_is_one_by_default() -> None:
    assert patience({}) == 1.0
