"""Who signs metadata and writes it into the store.

Every change writes new files beside the old ones and ends with one compare-and-set of
timestamp.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, T, TargetFile, Targets, Timestamp

from bootsvc.errors import (
    ObjectTooLargeError,
    StoreBusyError,
    StoreDamagedError,
    WrongKeyError,
)
from bootsvc.store.expiry import Expiry
from bootsvc.store.newest import read_newest, remember_newest
from bootsvc.store.objects import ObjectStore, checked_key
from bootsvc.store.signing_keys import (
    KEY_OF,
    SigningKeys,
    has_root_file,
    read_root_file,
    write_root_file,
)
from bootsvc.store.state import State, read_state, target_key, verified
from bootsvc.transfer.layout import (
    LARGEST,
    LARGEST_TARGET,
    ROOT,
    SIGNED_AT,
    SNAPSHOT,
    TARGETS_ROLE,
    TIMESTAMP,
    check_clock,
    metadata_key,
    timestamp_key,
)

Changes = Mapping[str, bytes | None]
"""New content of documents by name; None removes one."""

_TRIES = 20
"""How often a publisher begins anew because others were first."""

_VERSIONS_TRIED = 1000
"""Versions of a metadata file that publishers who died may have left behind in a row."""


@dataclass(frozen=True)
class Publisher:
    """Who signs and writes.

    Attributes:
        next_root: what is signed must be believed by this one as well.
        is_restored: the store may hold an older state than this publisher saw; what is signed gets
            versions above those that machines may have seen.
    """

    store: ObjectStore
    keys: SigningKeys
    expiry: Expiry
    now: Callable[[], datetime]
    next_root: Root | None = None
    is_restored: bool = False

    def begin(self) -> bytes:
        """The first metadata of a store. See ``init_metadata``."""
        root_bytes = self._first_root()
        write_root_file(self.keys.folder, root_bytes)
        root = verified(self.store, metadata_key(ROOT, 1), root_bytes, Root, None)
        state = self._with_targets(State(root, Timestamp(), Snapshot(), Targets(), None), {})
        made = self._committed(self._with_snapshot(state))
        if made is None:
            raise _others_first(self.store)
        remember_newest(self.keys.folder, made.versions)
        return root_bytes

    def insist(self, attempt: Callable[[State], State | None]) -> State:
        """Have ``attempt`` change the present state until no other publisher was first."""
        for _ in range(_TRIES):
            changed = attempt(self._present_state())
            if changed is not None:
                remember_newest(self.keys.folder, changed.versions)
                return changed
        raise _others_first(self.store)

    def change(self, state: State, changes: Changes) -> State | None:
        """The state with ``changes``; None where another publisher was first."""
        documents = dict(state.targets.targets)
        for name, content in changes.items():
            if content is None:
                documents.pop(name, None)
                continue
            info = _target_of(name, content)
            if documents.get(name) != info:
                self.store.write(target_key(info), content)
            documents[name] = info
        if documents == state.targets.targets:
            return state
        return self._committed(self._with_snapshot(self._with_targets(state, documents)))

    def vouch(self, state: State) -> State | None:
        """The state with a new timestamp, and what else is due; None where another publisher was
        first."""
        is_due = self._is_due(state.targets) and self.keys.can_sign(state.root, TARGETS_ROLE)
        if is_due or self.is_restored:
            return self._sign_anew(state, TARGETS_ROLE)
        if self._is_due(state.snapshot):
            state = self._with_snapshot(state)
        return self._committed(state)

    def renew_root(self) -> None:
        """The root metadata with more time, if that is due and its keys are here."""
        old = self._present_state().root
        if self._is_due(old) and self.keys.can_sign(old, ROOT):
            root = deepcopy(old)
            root.version += 1
            root.expires = self._end_of(ROOT)
            self._commit_root(old, root)

    def rotate(self, key_name: str) -> bytes:
        """See ``rotate``."""
        old = self._present_state().root
        root = self._rotated(old, key_name)
        if key_name != ROOT:
            both = replace(self, next_root=root)
            both.insist(lambda state: both._sign_anew(state, key_name))  # noqa: SLF001  # its own
        return self._commit_root(old, root)

    def _present_state(self) -> State:
        """What the store holds, if this publisher may build on it."""
        # Before the state: another publisher may commit, and remember it, at any time.
        newest = read_newest(self.keys.folder)
        state = read_state(self.store, read_root_file(self.keys.folder))
        check_clock(self.now(), state.timestamp.unrecognized_fields.get(SIGNED_AT))
        if state.versions.is_behind(newest) and not self.is_restored:
            raise StoreDamagedError(
                f"{self.store.name}: holds an older state ({state.versions}) than was published"
                f" ({newest})",
                hint="who brought it back? if it was you, from a backup: bootsvc store refresh"
                " --restored, where targets.key is, then publish again what is missing",
            )
        return replace(state, floor=state.versions.at_least(newest))

    def _sign_anew(self, state: State, key_name: str) -> State | None:
        """The same state, its metadata from that of ``key_name`` on signed anew; None where another
        publisher was first."""
        if key_name == TARGETS_ROLE:
            state = self._with_targets(state, state.targets.targets)
        return self._committed(self._with_snapshot(state))

    def _first_root(self) -> bytes:
        """Version 1 of the root metadata: made now, or by an ``init`` that was broken off."""
        key = metadata_key(ROOT, 1)
        root = Root()
        for role, name in KEY_OF.items():
            for signer in self.keys.named(name):
                root.add_key(signer.public_key, role)
        if self.store.size(key) is not None:
            data = self.store.read(key, LARGEST[ROOT])
            found = verified(self.store, key, data, Root, None)
            if found.roles != root.roles:
                raise WrongKeyError(
                    f"{self.store.name}: was begun with other keys than those in"
                    f" {self.keys.folder}",
                    hint="give those keys, or choose another place",
                )
            return data
        if has_root_file(self.keys.folder):
            raise WrongKeyError(
                f"{self.keys.folder}: these keys belong to another store already",
                hint="name a new folder: each store has keys of its own",
            )
        root.expires = self._end_of(ROOT)
        data = self.keys.sign(root, ROOT, (root,))
        if not self.store.write_if(key, data, None):
            raise _others_first(self.store)
        return data

    def _commit_root(self, old: Root, root: Root) -> bytes:
        data = self.keys.sign(root, ROOT, (old, root))
        if not self.store.write_if(metadata_key(ROOT, root.version), data, None):
            raise _others_first(self.store)
        write_root_file(self.keys.folder, data)
        return data

    def _rotated(self, old: Root, key_name: str) -> Root:
        """The root metadata after ``old``, with the new keys called ``key_name`` alone."""
        root = deepcopy(old)
        roles = [role for role, name in KEY_OF.items() if name == key_name]
        known = {keyid for role in roles for keyid in old.roles[role].keyids}
        new = [one for one in self.keys.named(key_name) if one.public_key.keyid not in known]
        if not new:
            raise WrongKeyError(
                f"{self.keys.folder}: no new {key_name} key to take the place of the present one",
                hint=f"make it: bootsvc key new {self.keys.folder / key_name}-{old.version + 1}",
            )
        for role in roles:
            for keyid in old.roles[role].keyids:
                root.revoke_key(keyid, role)
            for signer in new:
                root.add_key(signer.public_key, role)
        root.version = old.version + 1
        root.expires = self._end_of(ROOT)
        return root

    def _with_targets(self, state: State, documents: Mapping[str, TargetFile]) -> State:
        """The state with these documents, whose list is signed and stored."""
        targets = Targets(targets=dict(documents))
        meta = self._stored(state.root, targets, TARGETS_ROLE, state.floor.targets)
        snapshot = Snapshot(state.snapshot.version, meta={f"{TARGETS_ROLE}.json": meta})
        return replace(state, targets=targets, snapshot=snapshot)

    def _with_snapshot(self, state: State) -> State:
        """The state with its snapshot signed and stored."""
        snapshot = Snapshot(meta=state.snapshot.meta)
        meta = self._stored(state.root, snapshot, SNAPSHOT, state.floor.snapshot)
        timestamp = Timestamp(state.timestamp.version, snapshot_meta=meta)
        return replace(state, snapshot=snapshot, timestamp=timestamp)

    def _stored(self, root: Root, signed: T, role: str, above: int) -> MetaFile:
        """Sign and store metadata under the first free version ``above`` that of the state.

        Versions that a publisher left who was second, or died, are stepped over: they are in no
        state, and nothing may change what has a version.
        """
        signed.expires = self._end_of(role)
        for version in range(above + 1, above + 1 + _VERSIONS_TRIED):
            signed.version = version
            data = self._sign(root, signed, role)
            if len(data) > LARGEST[role]:
                raise ObjectTooLargeError(
                    f"{self.store.name}: {len(data)} bytes of {role} metadata, machines take"
                    f" {LARGEST[role]}",
                    hint="remove old versions from the store",
                )
            if self.store.write_if(metadata_key(role, version), data, None):
                return MetaFile(version, len(data), {"sha256": sha256(data).hexdigest()})
        raise StoreDamagedError(
            f"{self.store.name}: {_VERSIONS_TRIED} files {metadata_key(role, above + 1)} and on are"
            " in no state of the store",
            hint="look at who writes there; bootsvc store gc removes them",
        )

    def _committed(self, state: State) -> State | None:
        """Make the state the store's; None where another publisher was first."""
        timestamp = Timestamp(
            state.floor.timestamp + 1,
            expires=self._end_of(TIMESTAMP),
            snapshot_meta=state.timestamp.snapshot_meta,
            unrecognized_fields={SIGNED_AT: int(self.now().timestamp())},
        )
        data = self._sign(state.root, timestamp, TIMESTAMP)
        if not self.store.write_if(timestamp_key(), data, state.seen):
            return None
        return replace(state, timestamp=timestamp)

    def _sign(self, root: Root, signed: T, role: str) -> bytes:
        roots = (root,) if self.next_root is None else (root, self.next_root)
        return self.keys.sign(signed, role, roots)

    def _is_due(self, signed: Signed) -> bool:
        """Whether half of its time is over."""
        return signed.expires - self.now() < self.expiry.of(signed.type) / 2

    def _end_of(self, role: str) -> datetime:
        return self.now() + self.expiry.of(role)


def _target_of(name: str, content: bytes) -> TargetFile:
    if len(content) > LARGEST_TARGET:
        raise ObjectTooLargeError(
            f"{name}: {len(content)} bytes, a document has at most {LARGEST_TARGET}"
        )
    return TargetFile(len(content), {"sha256": sha256(content).hexdigest()}, checked_key(name))


def _others_first(store: ObjectStore) -> StoreBusyError:
    return StoreBusyError(
        f"{store.name}: another publisher was first, again and again",
        hint="try again when it is done",
    )
