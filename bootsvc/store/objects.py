"""The files of an image store, wherever they lie.

Files are named by keys: plain ASCII, relative, parts separated by ``/``. Whoever reads sees a file
whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bootsvc.errors import ObjectKeyError
from bootsvc.storage.image_area import Tick, no_tick

S3_SCHEME = "s3://"
"""Begins the address of a store in a bucket."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_LONGEST_KEY = 512


@dataclass(frozen=True)
class StoredObject:
    """A file of a store: its key, its size in bytes, when it was written (seconds since 1970)."""

    key: str
    size: int
    modified_s: int


class Arriving(Protocol):
    """A new file that gets its key when all of it was written: until then nobody sees it."""

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        ...

    def name(self, key: str, tick: Tick = no_tick) -> None:
        """Give it its key, once; when this returns, no power cut takes it away.

        Args:
            tick: told the bytes that are done, together as many as the file has.
        """
        ...


class ObjectStore(Protocol):
    """The files of one store.

    Every method may raise ``StoreAccessError``: the store cannot be reached, read or written; and
    ``ObjectKeyError``: a key that is none.

    Attributes:
        name: what messages call it: a path, or ``s3://bucket/prefix``.
    """

    name: str

    def read(self, key: str, largest: int) -> bytes:
        """The whole file.

        Raises:
            NoObjectError: there is none.
            ObjectTooLargeError: it has more than ``largest`` bytes.
        """
        ...

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``.

        Raises:
            NoObjectError: there is no such file.
            StoreAccessError: it ends before.
        """
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write a file, whole or not at all; once this returns, no power cut takes it away."""
        ...

    def arriving(self) -> AbstractContextManager[Arriving]:
        """A new file of any size; left without a key, it is gone."""
        ...

    def read_seen(self, key: str, largest: int) -> tuple[bytes, str]:
        """As ``read``, and a word for the state it is in, for ``write_if``."""
        ...

    def write_if(self, key: str, data: bytes, seen: str | None) -> bool:
        """As ``write``, but only where nobody wrote the file since ``read_seen`` gave ``seen``, or
        ever, for None. Tells whether it was written. Of two who try at once, one is told no.

        A key that is written so must never be written by ``write``.
        """
        ...

    def size(self, key: str) -> int | None:
        """The file's size in bytes; None where there is none."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """All files below the folder ``prefix``, in no order."""
        ...

    def delete(self, key: str) -> None:
        """Remove a file; one that is not there is no error."""
        ...


def checked_key(key: str) -> str:
    """``key``, if it is one.

    Raises:
        ObjectKeyError: it is absolute, hidden, climbs out, or has other characters.
    """
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise ObjectKeyError(
            f"{key[:80]!r} cannot be the name of a file in an image store",
            hint="letters, digits and . _ + - in parts separated by /; no part begins with a dot",
        )
    return key
