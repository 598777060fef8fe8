"""Several threads work; whoever takes the results has them in the order of the items."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.transfer.lanes import in_lanes, lanes

WAIT_S = 10.0
"""After which a test that waits for a thread has failed."""


@given(count=st.integers(1, 5), items=st.lists(st.integers(), max_size=20))
def test_results_come_in_the_order_of_the_items(count: int, items: list[int]) -> None:
    assert list(in_lanes(count)(lambda item: 2 * item, items)) == [2 * item for item in items]


def test_a_later_item_that_is_done_first_waits_for_the_earlier_one() -> None:
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(WAIT_S), "nobody worked beside the first one"
        else:
            second_is_done.set()
        return item

    assert list(lanes(2, work, range(2))) == [0, 1]


def noting(items: Iterable[int], begun: list[int]) -> Iterator[int]:
    """The items; notes each one as it is taken."""
    for item in items:
        begun.append(item)
        yield item


def test_of_endless_work_no_more_is_begun_than_there_are_lanes() -> None:
    begun: list[int] = []
    with closing(lanes(3, abs, noting(range(1_000_000), begun))) as results:
        next(results)
        assert begun == [0, 1, 2]
        next(results)
        assert begun == [0, 1, 2, 3]


def test_one_lane_is_no_thread() -> None:
    assert set(in_lanes(1)(lambda _: threading.current_thread(), range(3))) == {
        threading.current_thread()
    }


class Told:
    """Two pieces of work: the second one goes on until it is told of a failure."""

    def __init__(self, *, first_fails: bool) -> None:
        self._first_fails = first_fails
        self._second_has_begun = threading.Event()
        self.tell = threading.Event()
        self.was_told = False

    def work(self, item: int) -> None:
        if item:
            self._second_has_begun.set()
            self.was_told = self.tell.wait(WAIT_S)
            return
        assert self._second_has_begun.wait(WAIT_S), "nobody worked beside the first one"
        if self._first_fails:
            raise ValueError("the first one")


def test_a_failure_is_told_before_the_other_work_is_waited_for() -> None:
    told = Told(first_fails=True)
    with pytest.raises(ValueError, match="the first one"):
        list(lanes(2, told.work, range(2), on_failure=told.tell.set))
    assert told.was_told


def test_whoever_stops_taking_tells_it_too() -> None:
    told = Told(first_fails=False)
    with closing(lanes(2, told.work, range(2), on_failure=told.tell.set)) as results:
        next(results)
    assert told.was_told
