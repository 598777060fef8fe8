"""Whom long work tells how it goes: what waits says for what, since when and until when (N13)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bootsvc.storage.image_area import CopyCounts

STEP_S = 0.2
"""The longest that anything here waits without a sign of life: the watchdog hears it, and whoever
broke the work off is heard."""


class Watch(Protocol):
    """The console's reporter is one. What ``tick`` and the function of ``wait`` raise ends the
    work: that is how a person breaks it off."""

    def say(self, text: str) -> None:
        """One plain sentence."""

    def begin(self, work: str, total: int) -> None:
        """Work on ``total`` bytes begins."""

    def tick(self, count: int) -> None:
        """``count`` bytes of it are done; 0: there is life, nothing more."""

    def end(self, counts: CopyCounts | None = None) -> None:
        """It ended."""

    def wait(self, what: str, limit_s: float | None, then: str) -> Callable[[], None]:
        """``what`` is waited for, for ``limit_s`` seconds; gives what to call while it is."""
