"""A watch that remembers what it was told, and can break the work off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bootsvc.storage.image_area import CopyCounts


class BrokenOffError(Exception):
    """What the console raises when a person breaks the work off."""


@dataclass
class Watching:
    """Keeps sentences, waits and pieces of work."""

    said: list[str] = field(default_factory=list)
    waits: list[tuple[str, float | None, str]] = field(default_factory=list)
    works: list[tuple[str, int]] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    ticks: int = 0
    looks: int = 0
    breaks_off_after: int | None = None

    def say(self, text: str) -> None:
        self.said.append(text)

    def begin(self, work: str, total: int) -> None:
        self.works.append((work, total))

    def tick(self, count: int) -> None:
        self.ticks += 1
        if self.works:
            work = self.works[-1][0]
            self.done[work] = self.done.get(work, 0) + count
        self._maybe_break_off()

    def end(self, counts: CopyCounts | None = None) -> None:
        assert self.works, counts

    def wait(self, what: str, limit_s: float | None, then: str) -> Callable[[], None]:
        self.waits.append((what, limit_s, then))

        def looked() -> None:
            self.looks += 1
            self._maybe_break_off()

        return looked

    def _maybe_break_off(self) -> None:
        if self.breaks_off_after is not None and self.ticks + self.looks > self.breaks_off_after:
            raise BrokenOffError
