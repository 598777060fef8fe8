"""Messages on their way to a peer that may read slowly, or not at all. Pure.

Nobody waits for a peer: what does not fit is thrown away, progress first, and the peer is told how
much it missed once it reads again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from bootsvc.units import KIB

MOST_WAITING = 256 * KIB
"""Bytes that wait for a peer."""


class Outbox:
    """A queue of whole messages, bounded: those that wait, one that passes, one begun.

    Attributes:
        lost: messages thrown away that the peer was not told of yet.
    """

    def __init__(self, tell_lost: Callable[[int], bytes], most_waiting: int = MOST_WAITING) -> None:
        """``tell_lost`` makes the message that stands for so many lost ones."""
        self.lost = 0
        self._tell_lost = tell_lost
        self._most_waiting = most_waiting
        self._begun = b""  # what remains of a message whose beginning was sent
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._passing = b""  # comes after those that wait

    def put(self, data: bytes, *, is_passing: bool = False) -> None:
        """A message is to be sent.

        Args:
            data: the message, its end included.
            is_passing: it says how things stand just now, so any later message takes its place.
        """
        if is_passing:
            self._passing = data
            return
        self._passing = b""
        self._waiting.append(data)
        self._size += len(data)
        while self._size > self._most_waiting:
            self._size -= len(self._waiting.popleft())
            self.lost += 1

    def next_bytes(self) -> bytes:
        """What is to be sent now; empty where nothing waits."""
        if not self._begun:
            if self.lost:
                self._begun, self.lost = self._tell_lost(self.lost), 0
            elif self._waiting:
                self._begun = self._waiting.popleft()
                self._size -= len(self._begun)
            else:
                self._begun, self._passing = self._passing, b""
        return self._begun

    def sent(self, count: int) -> None:
        """So many of ``next_bytes`` went out."""
        self._begun = self._begun[count:]

    def forget(self) -> None:
        """Whoever was to read this is gone."""
        self._begun, self._passing, self._size, self.lost = b"", b"", 0, 0
        self._waiting.clear()
