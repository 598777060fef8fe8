"""What a fuzz target is, and what counts as a finding.

A target feeds bytes to one parser as the product does. It may raise the errors that the parser
documents and nothing else, ends within its time and stays within its memory.
"""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from bootsvc.units import KIB

LONGEST = 4 * KIB
"""Bytes of an input where a target does not say otherwise."""


class HangError(Exception):
    """A target did not end in its time."""


class MemoryBoundError(Exception):
    """A target took more memory than it states."""


@dataclass(frozen=True)
class Target:
    """One parser and what it may do with any bytes.

    Attributes:
        name: what the command line calls it.
        run: gives the bytes to the parser; an AssertionError is a finding like any other.
        allowed: the errors that the parser documents.
        memory: the most that one run may allocate, in bytes.
        seeds: sound inputs, from which the fuzzer begins.
        corpus: the folder of inputs in ``corpus/``; variants of one format share it.
        longest: bytes of the longest input that is made up.
        seconds: after this time an input counts as a hang.
        words: what the format is made of, for the fuzzer to put together.
    """

    name: str
    run: Callable[[bytes], None]
    allowed: tuple[type[Exception], ...]
    memory: int
    seeds: Callable[[], tuple[bytes, ...]]
    corpus: str
    longest: int = LONGEST
    seconds: int = 5
    words: tuple[bytes, ...] = ()

    def try_input(self, data: bytes) -> str:
        """Run on ``data``: the name of the allowed error that it raised, or empty.

        Raises:
            Exception: any other error, which is a finding.
        """
        try:
            self.run(data)
        except self.allowed as exc:
            return type(exc).__name__
        return ""

    def try_within_bounds(self, data: bytes) -> str:
        """As ``try_input``, with the bounds enforced.

        Raises:
            HangError, MemoryBoundError: a bound was passed.
            Exception: as ``try_input``.
        """
        with _time_limit(self.seconds):
            return self.try_within_memory(data)

    def try_within_memory(self, data: bytes) -> str:
        """As ``try_within_bounds``, for where somebody else watches the time."""
        tracemalloc.start()
        try:
            outcome = self.try_input(data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if peak > self.memory:
            raise MemoryBoundError(f"{self.name}: {peak} bytes of memory, at most {self.memory}")
        return outcome


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise HangError(f"no end within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
