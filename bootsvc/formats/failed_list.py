"""The images that failed on this machine, as they are remembered in data (DESIGN 3).

The record holds the last four; data holds them as well, for the day when both copies of the record
are lost. A text file that a technician can read, one identity in hexadecimal a line, newest first.
Every line that is none is passed over: the list only keeps an image from being tried where there is
another, so a damaged one costs a failed try and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable

from bootsvc.formats.boot_status import NO_IDENTITY

NAME = "failed-images"
"""The file's name in data."""

KEPT = 16
"""Identities that are remembered; more than the record's four, since data has room."""

MAX_SIZE = 4096
"""Bytes that are looked at: the longest list, its heading, and some more."""

_HEADING = (
    "# Images that failed on this machine, newest first; kept for a lost boot-status record.\n"
)


def build(identities: Iterable[bytes]) -> bytes:
    """The file that remembers the first KEPT of ``identities``."""
    lines = [f"{one.hex()}\n" for one in identities]
    return (_HEADING + "".join(lines[:KEPT])).encode("ascii")


def parse(data: bytes) -> tuple[bytes, ...]:
    """The identities (32 bytes each) in ``data``, each once, at most KEPT."""
    found = (_identity(line) for line in data[:MAX_SIZE].splitlines())
    return tuple(dict.fromkeys(one for one in found if one is not None))[:KEPT]


def merged(
    recorded: Iterable[bytes], remembered: Iterable[bytes], good: bytes
) -> tuple[bytes, ...]:
    """What is to be remembered from now on, newest first.

    Args:
        recorded: the record's own list, newest first.
        remembered: what data holds already.
        good: the confirmed image, which proved itself whatever came before; or NO_IDENTITY.
    """
    every = dict.fromkeys((*recorded, *remembered))
    return tuple(one for one in every if one != good)[:KEPT]


def _identity(line: bytes) -> bytes | None:
    try:
        identity = bytes.fromhex(line.decode("ascii"))
    except ValueError:
        return None
    return identity if len(identity) == len(NO_IDENTITY) and any(identity) else None
