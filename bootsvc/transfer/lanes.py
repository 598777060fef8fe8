"""Work in several threads, results in the order of the items: one reads while another computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from bootsvc.storage.image_area import ForEach, in_turn

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _nothing() -> None:
    """Nobody has to be told."""


def lanes(
    count: int,
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    on_failure: Callable[[], None] = _nothing,
) -> Generator[_Result, None, None]:
    """The results of ``work``, of which so many are under way at once; no more are begun before
    the first one was taken. To be closed by whoever does not take all.

    Args:
        on_failure: told of a failure before the work under way is waited for, that of whoever takes
            the results too (Ctrl-C).

    Raises: what ``work`` raises, of the first one that fails.
    """
    with ThreadPoolExecutor(count) as pool:
        running: deque[Future[_Result]] = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) == count:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BaseException:
            on_failure()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def in_lanes(count: int) -> ForEach:
    """A ``ForEach`` with so many threads."""

    def each(
        work: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Generator[_Result, None, None]:
        return lanes(count, work, items)

    return each if count > 1 else in_turn
