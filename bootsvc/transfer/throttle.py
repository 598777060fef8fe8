"""Holds a fetch to so many bytes a second, whichever thread they come through."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Counts bytes as they arrive, and makes who reads too fast wait.

    Attributes:
        total: bytes so far.
    """

    def __init__(
        self,
        bytes_per_s: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Start to count.

        Args:
            bytes_per_s: 0 = no limit.
            sleep: waits so many seconds; returns sooner where the fetch was told to stop.
        """
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()
        self.total = 0

    def took(self, count: int) -> None:
        """``count`` bytes have arrived; returns when the next ones may."""
        with self._lock:
            self.total += count
            if not self._bytes_per_s:
                return
            now = self._clock()
            # What was not used before does not pile up: no burst follows a silence.
            self._free_at = max(self._free_at, now) + count / self._bytes_per_s
            wait_s = self._free_at - now
        self._sleep(wait_s)
