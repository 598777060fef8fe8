"""Where a store's signed metadata lies, and how large it may be (The Update Framework, 1.0.31).

metadata/N.root.json       who may sign what; N counts from 1, each is signed by the one before
metadata/timestamp.json    the newest snapshot; the only file that changes under its name
metadata/N.snapshot.json   the newest targets.json
metadata/N.targets.json    digest and size of every document
targets/SHA256.NAME        the documents; ``SHA256.`` stands before the last part of the name
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bootsvc.errors import ClockNotSetError
from bootsvc.units import KIB, MIB

METADATA = "metadata"
TARGETS = "targets"

ROOT, TIMESTAMP, SNAPSHOT, TARGETS_ROLE = "root", "timestamp", "snapshot", "targets"

LARGEST = {ROOT: 512 * KIB, TIMESTAMP: 16 * KIB, SNAPSHOT: 2 * MIB, TARGETS_ROLE: 5 * MIB}
"""Bytes that each kind of metadata may have at most."""

LARGEST_TARGET = 16 * MIB
"""Bytes that a document may have at most."""

SIGNED_AT = "x-bootsvc-signed-s"
"""Field of timestamp.json: when it was signed, in seconds since 1970. Metadata cannot run out on a
machine whose clock stands still in the past; this tells that it does."""

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock of a machine that has this code shows an earlier time, if it is set."""

_CLOCKS_DIFFER = timedelta(days=1)


def timestamp_key() -> str:
    """The key of the one metadata file that changes under its name."""
    return f"{METADATA}/{TIMESTAMP}.json"


def metadata_key(role: str, version: int) -> str:
    """The key of a metadata file that never changes."""
    return f"{METADATA}/{version}.{role}.json"


def check_clock(now: datetime, signed_at: object = None) -> None:
    """Refuse to judge by a clock that cannot be right.

    Args:
        now: what the clock shows.
        signed_at: ``SIGNED_AT`` of metadata, which came from another clock; anything that is no
            time says nothing.

    Raises:
        ClockNotSetError: it shows a time before this code, or before the metadata was signed.
    """
    earliest = EARLIEST
    if isinstance(signed_at, int) and 0 < signed_at < 2**33:
        earliest = max(earliest, datetime.fromtimestamp(signed_at, UTC) - _CLOCKS_DIFFER)
    if now < earliest:
        raise ClockNotSetError(
            f"the clock shows {words(now)}, which cannot be: it was {words(earliest)} already",
            hint="set the clock (timedatectl set-ntp true, or: date -s); without it nobody can tell"
            " new from old",
        )


def words(time: datetime) -> str:
    """``2026-11-26 12:34 UTC``."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
