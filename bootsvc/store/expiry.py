"""How long signed metadata is good for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bootsvc.errors import FieldError

ROLES = ("root", "targets", "snapshot", "timestamp")
"""The kinds of metadata, from what is signed most rarely on."""


LONGEST_DAYS = 36500


@dataclass(frozen=True)
class Expiry:
    """How many days each kind of metadata is good for once it is signed, 1 to LONGEST_DAYS.

    Attributes:
        timestamp_days: for so long a mirror can hold machines back, and for so long the server that
            signs it may be down.
    """

    root_days: int = 1825
    targets_days: int = 730
    snapshot_days: int = 30
    timestamp_days: int = 7

    def __post_init__(self) -> None:
        """Refuse what cannot be. Raises FieldError."""
        for role in ROLES:
            days: int = getattr(self, f"{role}_days")
            if not 1 <= days <= LONGEST_DAYS:
                raise FieldError(
                    f"{role} metadata cannot be good for {days} days",
                    hint=f"from 1 to {LONGEST_DAYS} days",
                )

    def of(self, role: str) -> timedelta:
        """How long the metadata of ``role`` is good for."""
        days: int = getattr(self, f"{role}_days")
        return timedelta(days=days)
