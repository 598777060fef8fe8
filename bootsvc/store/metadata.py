"""The store's signed metadata, from the publisher's side (The Update Framework).

Every change writes new files beside the old ones and ends with one compare-and-set of
timestamp.json. So a reader at any moment finds a whole old or a whole new state, and of two
publishers at once the second sees that the first was there, and begins anew on its state.

What is read back from the store is verified from the publisher's own root metadata on: a store is
a foreign place.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bootsvc.errors import StoreAccessError
from bootsvc.store.expiry import Expiry
from bootsvc.store.objects import ObjectStore
from bootsvc.store.publisher import Changes, Publisher
from bootsvc.store.signing_keys import load_keys, make_missing_keys, read_root_file
from bootsvc.store.state import Published, State, published, read_state
from bootsvc.transfer.layout import check_clock, timestamp_key


def utc_now() -> datetime:
    """The present time."""
    return datetime.now(UTC)


def init_metadata(
    store: ObjectStore,
    keys_folder: Path,
    *,
    expiry: Expiry | None = None,
    now: Callable[[], datetime] = utc_now,
) -> bytes:
    """Make the metadata of a new store, and the keys that are missing.

    One that was broken off is gone on with.

    Returns:
        The root metadata, which machines get; ``root.json`` beside the keys holds the same.

    Raises:
        StoreAccessError: the store has metadata already.
        WrongKeyError: the keys are another store's: a state of one could be shown as the other's.
        ClockNotSetError: this machine's clock cannot be right.
    """
    if store.size(timestamp_key()) is not None:
        raise StoreAccessError(
            f"{store.name}: is an image store already",
            hint="publish into it, or choose another place",
        )
    check_clock(now())
    keys = make_missing_keys(keys_folder)
    return Publisher(store, keys, expiry or Expiry(), now).begin()


def read_targets(store: ObjectStore, keys_folder: Path) -> Published:
    """The store's present state, verified from ``root.json`` in ``keys_folder`` on.

    Raises:
        StoreDamagedError: it does not fit its signatures and digests.
        NoObjectError: there is no metadata.
        WrongKeyError: no root.json.
    """
    return published(store, read_state(store, read_root_file(keys_folder)))


def publish_targets(
    store: ObjectStore,
    keys_folder: Path,
    changes: Changes,
    *,
    expiry: Expiry | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Published:
    """As ``edit_targets``, with changes that do not depend on what is there."""
    return edit_targets(store, keys_folder, lambda _: changes, expiry=expiry, now=now)


def edit_targets(
    store: ObjectStore,
    keys_folder: Path,
    edit: Callable[[Published], Changes],
    *,
    expiry: Expiry | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Published:
    """Add, replace and remove documents, all of them at once or none.

    Args:
        edit: gives the changes to a state; asked again, with the newer state, each time another
            publisher was first. Where it changes nothing, nothing is written.

    Returns:
        The new state.

    Raises:
        StoreDamagedError: what lies in the store does not fit its signatures, or is older than what
            this publisher saw; nothing was changed.
        StoreBusyError: others were first, again and again.
        WrongKeyError: the targets key or the online key of this store is missing.
        ObjectTooLargeError, ObjectKeyError: a document that cannot be one.
        ClockNotSetError: this machine's clock cannot be right.
    """
    publisher = Publisher(store, load_keys(keys_folder), expiry or Expiry(), now)

    def attempt(state: State) -> State | None:
        return publisher.change(state, edit(published(store, state)))

    return published(store, publisher.insist(attempt))


def refresh_timestamp(
    store: ObjectStore,
    keys_folder: Path,
    *,
    is_restored: bool = False,
    expiry: Expiry | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Published:
    """Vouch anew, with the online key alone, that the present state is the newest.

    For a timer on the server, several times within ``timestamp_days``. Other metadata is signed
    anew as well once half its time is over, root and targets only where their keys are.

    Args:
        is_restored: the store was brought back from a backup. Its older state is signed anew, the
            targets as well, with versions above those that machines may have seen.

    Raises:
        Errors: see ``edit_targets``.
    """
    publisher = Publisher(
        store, load_keys(keys_folder), expiry or Expiry(), now, is_restored=is_restored
    )
    publisher.renew_root()
    return published(store, publisher.insist(publisher.vouch))


def rotate(
    store: ObjectStore,
    keys_folder: Path,
    key_name: str,
    *,
    expiry: Expiry | None = None,
    now: Callable[[], datetime] = utc_now,
) -> bytes:
    """Let the keys ``key_name``-... in ``keys_folder`` take the place of those used so far.

    The folder must hold the old key and the new one, ``online-2.key`` beside ``online.key``, say.
    What the old key signed is signed by both first, and only then the new root metadata tells it to
    machines, so that a reader at any moment believes what he finds. The old key may be removed
    from the folder afterwards.

    Args:
        key_name: root, targets or online.

    Returns:
        The new root metadata, which also replaces ``root.json`` beside the keys.

    Raises:
        WrongKeyError: there is no new key, or an old one that is needed is missing.
        Others: see ``edit_targets``.
    """
    publisher = Publisher(store, load_keys(keys_folder), expiry or Expiry(), now)
    return publisher.rotate(key_name)
