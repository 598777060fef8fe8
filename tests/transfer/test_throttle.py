"""A fetch is held to its rate, whichever thread its bytes come through."""

from __future__ import annotations

from dataclasses import dataclass, field

from bootsvc.transfer.throttle import Throttle


@dataclass
class Clock:
    """Time that passes only where somebody sleeps."""

    now_s: float = 100.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def test_who_reads_faster_than_the_rate_waits_for_what_is_due() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock, clock.sleep)
    for _ in range(3):
        throttle.took(500)
    assert clock.slept == [0.5, 0.5, 0.5]
    assert throttle.total == 1500


def test_what_was_not_used_before_does_not_pile_up() -> None:
    clock = Clock()
    throttle = Throttle(1000, clock, clock.sleep)
    clock.now_s += 3600
    throttle.took(2000)
    assert clock.slept == [2.0]


def test_two_who_read_at_once_share_the_rate() -> None:
    clock = Clock()
    waits: list[float] = []
    throttle = Throttle(1000, clock, waits.append)  # nobody's time passes: both came at once
    throttle.took(500)
    throttle.took(500)
    assert waits == [0.5, 1.0]


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    throttle = Throttle(0, clock, clock.sleep)
    throttle.took(10**9)
    assert clock.slept == []
