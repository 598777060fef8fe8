"""What has arrived and does not stand in its place yet, kept on this machine while a version is
fetched: a fetch that was cut off, by anything, goes on at the next byte.

    SPOOL/GOAL/KEY-OFFSET-LENGTH.REMOTE    the first bytes of one range of one object of a remote

    GOAL    beginning of the identity of the version that is fetched; another one's files are
            removed before the first is made
    KEY     beginning of the SHA-256 of the object's name; REMOTE: of the remote's

Nothing of it is believed: who asks for a range compares it with its digest, as if it had just
arrived. A file is removed once its range stands in staging, all of them with the end of the fetch;
so they hold digests, recipes, and the few frames that are under way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from bootsvc.units import MIB

ROOM = 16 * MIB
"""Bytes that stay free on the file system; with less nothing is kept."""

SYNC_S = 0.1
"""How much of what arrives a power cut may take away: what came in so many seconds."""


class SpooledRange:
    """The beginning of one range, as far as it arrived; a context manager that closes its file.

    Attributes:
        data: what a fetch before this one left of it.
    """

    def __init__(self, path: Path | None, length: int) -> None:
        """Read what there is.

        Args:
            path: its file; None: nothing is kept.
            length: bytes of the range.
        """
        self.data = b""
        self._file: IO[bytes] | None = None
        self._synced_at = time.monotonic()
        if path is None:
            return
        try:
            self._file = path.open("a+b", buffering=0)
            self._file.seek(0)
            self.data = self._file.read(length)
        except OSError:
            self._close()  # behind what cannot be read nothing may be appended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def append(self, piece: bytes) -> None:
        """The next bytes have arrived. A disk that does not take them is no reason to stop."""
        if self._file is None:
            return
        try:
            if self._file.write(piece) != len(piece):
                self._close()  # full: what comes next would stand at the wrong place
            elif time.monotonic() - self._synced_at >= SYNC_S:
                os.fdatasync(self._file.fileno())
                self._synced_at = time.monotonic()
        except OSError:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Spool:
    """The files of one machine; threads may use it at the same time."""

    def __init__(self, folder: Path | None = None) -> None:
        """Nothing is kept before ``begin``.

        Args:
            folder: its own; None: nothing is ever kept.
        """
        self._folder = folder
        self._goal: Path | None = None
        self._of_thread = threading.local()

    def begin(self, goal: bytes) -> None:
        """Keep what arrives for the version with the identity ``goal``, and for no other."""
        if self._folder is None:
            return
        self._goal = self._folder / goal.hex()[:16]
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            for other in self._folder.iterdir():
                if other != self._goal:
                    shutil.rmtree(other)
            self._goal.mkdir(exist_ok=True)

    def end(self) -> None:
        """The version stands in staging: remove all."""
        if self._goal is not None:
            shutil.rmtree(self._goal, ignore_errors=True)
            self._goal = None

    def range(self, remote: str, key: str, offset: int, length: int) -> SpooledRange:
        """A range of an object of a remote, as far as it is here."""
        goal = self._goal
        if goal is None or not _has_room(goal, length):
            return SpooledRange(None, length)
        name = f"{_range_name(key, offset, length)}.{_short(remote)}"
        spooled = SpooledRange(goal / name, length)
        if spooled.data:
            self._of_thread.resumed = self.resumed_here + 1
        return spooled

    @property
    def resumed_here(self) -> int:
        """How many ranges this thread was given that were not empty."""
        return int(getattr(self._of_thread, "resumed", 0))

    def drop(self, key: str, offset: int, length: int) -> None:
        """A range stands in its place, whichever remote gave it."""
        self._remove(f"{_range_name(key, offset, length)}.*")

    def distrust(self, remote: str) -> None:
        """Something of a remote was wrong: forget all that it gave."""
        self._remove(f"*.{_short(remote)}")

    def _remove(self, pattern: str) -> None:
        """What cannot be removed cannot be opened for writing either, and is not read then."""
        if self._goal is not None:
            with suppress(OSError):
                for path in self._goal.glob(pattern):
                    path.unlink(missing_ok=True)


def _range_name(key: str, offset: int, length: int) -> str:
    return f"{_short(key)}-{offset}-{length}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _has_room(folder: Path, length: int) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= length + ROOM
