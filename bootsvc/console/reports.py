"""What a start reports while it works, as values. Pure.

The reporter makes them and hands them to whoever listens: printed as plain lines (``render``),
shown on a person's screen (``pages``), sent to programs as JSON (``protocol``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Staged:
    """A phase of work began, with what the record says meanwhile."""

    name: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """One plain sentence about what goes on."""

    text: str


@dataclass(frozen=True)
class Progress:
    """Work on a known number of bytes.

    Attributes:
        work: its name: verify primary, backup, copy, restore ...
        done, total: bytes.
        seconds: since it began.
        phase, phases: it is phase n of m; 0 where it stands alone.
    """

    work: str
    done: int
    total: int
    seconds: float
    phase: int = 0
    phases: int = 0

    @property
    def percent(self) -> int:
        """0 to 100, rounded down."""
        return 100 * self.done // max(self.total, 1)

    @property
    def rate(self) -> float:
        """Bytes a second since it began; 0 where nothing is known yet."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that remain at this rate; None where nobody can tell."""
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass(frozen=True)
class Worked:
    """Work ended, well or not; sizes are bytes."""

    work: str
    seconds: float
    read: int = 0
    written: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Wait:
    """Something is waited for (REQUIREMENTS N13).

    Attributes:
        what: completes "waiting for ...": the disk, an address by DHCP on eth0, ...
        since_s: seconds that it took so far.
        left_s: seconds until it is given up; None where it never is.
        then: completes "then ...": what happens when the time is over.
    """

    what: str
    since_s: float
    left_s: float | None
    then: str


Report = Staged | Said | Progress | Worked | Wait
