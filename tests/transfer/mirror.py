"""A publisher with a store, and a mirror of it that can lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bootsvc.errors import ConnectionLostError, NotOnServerError
from bootsvc.image.keys import new_key_pair
from bootsvc.store.address import open_object_store
from bootsvc.store.expiry import Expiry
from bootsvc.store.metadata import init_metadata, publish_targets, refresh_timestamp, rotate
from bootsvc.store.objects import ObjectStore


class Mirror:
    """What a server gives: the publisher's files, or what an attacker puts in their place.

    Attributes:
        files: what it gives, by path; ``follow`` makes it the publisher's present files.
        asked: the paths that were asked for, in order.
        endless: paths whose files never end.
        is_dead: it does not answer.
        now: the publisher's time.
    """

    def __init__(self, folder: Path, *, days_ago: float = 0, expiry: Expiry | None = None) -> None:
        self.keys = folder / "keys"
        self.store: ObjectStore = open_object_store(str(folder / "store"), create=True)
        self.expiry = expiry
        self.days_ago(days_ago)
        self.root = init_metadata(self.store, self.keys, expiry=expiry, now=self._clock)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.endless: set[str] = set()
        self.is_dead = False
        self.follow()

    def fetch(self, path: str, largest: int) -> bytes:
        """A ``Fetch`` that trusts its server."""
        self.asked.append(path)
        if self.is_dead:
            raise ConnectionLostError("the server fell silent")
        if path in self.endless:
            return bytes(largest + 1)
        if path not in self.files:
            raise NotOnServerError(f"{path}: 404")
        return self.files[path]

    def follow(self) -> dict[str, bytes]:
        """Mirror what the publisher has now; gives it as well, to be replayed."""
        self.files = {one.key: self.store.read(one.key, one.size) for one in self.store.list()}
        return dict(self.files)

    def publish(self, **documents: bytes | None) -> dict[str, bytes]:
        """The publisher publishes NAME.json, and the mirror follows."""
        changes = {f"{name}.json": content for name, content in documents.items()}
        publish_targets(self.store, self.keys, changes, expiry=self.expiry, now=self._clock)
        return self.follow()

    def refresh(self) -> dict[str, bytes]:
        """The publisher's timer, and the mirror follows."""
        refresh_timestamp(self.store, self.keys, expiry=self.expiry, now=self._clock)
        return self.follow()

    def rotate(self, name: str) -> dict[str, bytes]:
        """The publisher replaces a key, and the mirror follows."""
        number = len([*self.keys.glob(f"{name}*.key")]) + 1
        new_key_pair(self.keys / f"{name}-{number}")
        rotate(self.store, self.keys, name, expiry=self.expiry, now=self._clock)
        return self.follow()

    def steal_keys(self) -> Path:
        """A thief's copy of the keys, without the publisher's memory."""
        copy = self.keys.with_name("stolen-keys")
        shutil.copytree(self.keys, copy, ignore=shutil.ignore_patterns("newest.json"))
        return copy

    def days_ago(self, days: float) -> None:
        """What the publisher does from now on, he did so many days ago."""
        self.now = datetime.now(UTC) - timedelta(days=days)

    @property
    def _clock(self) -> Callable[[], datetime]:
        return lambda: self.now
