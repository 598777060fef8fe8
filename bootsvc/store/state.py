"""A state of the store as it is read back: every file verified by the one before it.

A store is a foreign place, also for its publisher: nothing is built on what does not verify.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    T,
    TargetFile,
    Targets,
    Timestamp,
)

from bootsvc.errors import NoObjectError, ObjectTooLargeError, StoreDamagedError
from bootsvc.store.newest import NOTHING_SEEN, Versions
from bootsvc.store.objects import ObjectStore, checked_key
from bootsvc.transfer.layout import (
    LARGEST,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TARGETS_ROLE,
    TIMESTAMP,
    metadata_key,
    timestamp_key,
)


@dataclass(frozen=True)
class State:
    """What the metadata says.

    Attributes:
        seen: the word for the timestamp.json that it came from, if any.
        floor: what is signed next gets versions above these.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    seen: str | None
    floor: Versions = NOTHING_SEEN

    @property
    def versions(self) -> Versions:
        """Those of its metadata."""
        return Versions(self.timestamp.version, self.snapshot.version, self.targets.version)


@dataclass(frozen=True)
class Published:
    """A verified state of the store.

    Attributes:
        version: counts the changes of the documents.
        names: of all documents.
        keys: of all files in the store that this state needs, root metadata included.
    """

    version: int
    names: frozenset[str]
    keys: frozenset[str]
    _store: ObjectStore = field(repr=False)
    _state: State = field(repr=False)

    def read(self, name: str) -> bytes:
        """The content of a document.

        Raises:
            NoObjectError: this state has none of that name.
            StoreDamagedError: the store holds another content than was signed, or none.
        """
        info = self._state.targets.targets.get(name)
        if info is None:
            raise NoObjectError(f"{self._store.name}: no document {name} is published")
        key = target_key(info)
        try:
            content = self._store.read(key, info.length)
            info.verify_length_and_hashes(content)
        except (NoObjectError, ObjectTooLargeError, LengthOrHashMismatchError) as exc:
            raise damaged(self._store, key, exc) from exc
        return content

    def expiry_of(self, role: str) -> datetime:
        """When the metadata of ``role`` runs out."""
        signed: Signed = getattr(self._state, role)
        return signed.expires


def read_state(store: ObjectStore, root_bytes: bytes) -> State:
    """The store's state, each file verified by the one before, from the trusted root on."""
    root = _newest_root(store, root_bytes)
    try:
        data, seen = store.read_seen(timestamp_key(), LARGEST[TIMESTAMP])
    except NoObjectError as exc:
        raise NoObjectError(
            f"{store.name}: there is no image store", hint="make it: bootsvc store init"
        ) from exc
    timestamp = verified(store, timestamp_key(), data, Timestamp, root)
    snapshot = _read_named(store, timestamp.snapshot_meta, Snapshot, root)
    targets = _read_named(store, snapshot.meta[f"{TARGETS_ROLE}.json"], Targets, root)
    return State(root, timestamp, snapshot, targets, seen)


def _newest_root(store: ObjectStore, root_bytes: bytes) -> Root:
    root = verified(store, "root.json of the keys", root_bytes, Root, None)
    while True:
        key = metadata_key(ROOT, root.version + 1)
        try:
            data = store.read(key, LARGEST[ROOT])
        except NoObjectError:
            return root
        newer = verified(store, key, data, Root, root)
        verified(store, key, data, Root, None)
        if newer.version != root.version + 1:
            raise damaged(store, key, f"it says that it is version {newer.version}")
        root = newer


def _read_named(store: ObjectStore, meta: MetaFile, kind: type[T], root: Root) -> T:
    """The metadata that ``meta`` names."""
    key = metadata_key(kind.type, meta.version)
    try:
        data = store.read(key, LARGEST[kind.type])
        meta.verify_length_and_hashes(data)
    except (NoObjectError, ObjectTooLargeError, LengthOrHashMismatchError) as exc:
        raise damaged(store, key, exc) from exc
    signed = verified(store, key, data, kind, root)
    if signed.version != meta.version:
        raise damaged(store, key, f"it says that it is version {signed.version}")
    return signed


def verified(store: ObjectStore, key: str, data: bytes, kind: type[T], by: Root | None) -> T:
    """The metadata in ``data``, if ``by`` has it signed so; None: root metadata, by itself."""
    try:
        metadata = Metadata[T].from_bytes(data)
        signed = metadata.signed
        if not isinstance(signed, kind):
            raise damaged(store, key, f"it is {signed.type} metadata")
        judge = by if by is not None else signed
        if isinstance(judge, Root):
            judge.verify_delegate(kind.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as exc:
        raise damaged(store, key, exc) from exc
    return signed


def published(store: ObjectStore, state: State) -> Published:
    """The state as it is shown to others."""
    targets = state.targets.targets
    keys = {
        *(metadata_key(ROOT, version) for version in range(1, state.root.version + 1)),
        timestamp_key(),
        metadata_key(SNAPSHOT, state.snapshot.version),
        metadata_key(TARGETS_ROLE, state.targets.version),
        *map(target_key, targets.values()),
    }
    return Published(state.targets.version, frozenset(targets), frozenset(keys), store, state)


def target_key(info: TargetFile) -> str:
    """Where a document lies: its digest stands before the last part of its name."""
    return checked_key(f"{TARGETS}/{info.get_prefixed_paths()[0]}")


def damaged(store: ObjectStore, key: str, why: object) -> StoreDamagedError:
    """The error that a file of the store deserves."""
    return StoreDamagedError(
        f"{store.name}/{key}: does not fit the store's signatures: {why}",
        hint="bring it back from a backup or a mirror; nothing was changed",
    )
