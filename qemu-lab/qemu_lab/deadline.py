"""One deadline on the monotonic clock, made once and passed down.

A wait that calls other waits hands them the same `Deadline`; there are no timeouts inside
timeouts, so "within 60 seconds" means 60 seconds however many steps the wait has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE_VARIABLE = "BOOTSVC_LAB_PATIENCE"
"""Environment variable: factor (0.1 to 100) on every number of seconds given to a wait."""


def patience(environment: dict[str, str] | None = None) -> float:
    """Factor for slow hosts, from `BOOTSVC_LAB_PATIENCE`; 1.0 when unset.

    Raises:
        ValueError: the variable is not a number from 0.1 to 100.
    """
    text = (os.environ if environment is None else environment).get(PATIENCE_VARIABLE, "")
    if not text:
        return 1.0
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0.1 <= factor <= 100:
        raise ValueError(f"{PATIENCE_VARIABLE}={text!r}: give a number from 0.1 to 100")
    return factor


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock.

    Attributes:
        at: the moment, in seconds of `clock`.
        seconds: how long it was when made, for messages.
        clock: source of time; tests give their own.
    """

    at: float
    seconds: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(clock() + seconds, seconds, clock)

    @classmethod
    def of(cls, value: Deadline | float) -> Deadline:
        """A deadline as it is; a number of seconds times the host's `patience()` from now."""
        if isinstance(value, Deadline):
            return value
        return cls.after(value * patience())

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        """True from the moment itself on."""
        return self.clock() >= self.at
