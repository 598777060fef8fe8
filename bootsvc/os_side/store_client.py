"""What the machine's image store offers, as far as its publisher vouches for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.boot.watch import Watch
from bootsvc.errors import NotPublishedError, SettingsError, StorageError, UpdateError
from bootsvc.formats.boot_status import BootStatus
from bootsvc.formats.catalogue import (
    MAX_CATALOGUE_SIZE,
    MAX_DOCUMENT_SIZE,
    Catalogue,
    CatalogueEntry,
    Mode,
    VersionDocument,
    catalogue_key,
    parse_catalogue,
    parse_version,
    version_key,
)
from bootsvc.transfer.fresh_documents import FreshDocuments
from bootsvc.transfer.remote import HttpRemote, Remotes
from bootsvc.transfer.spool import Spool
from bootsvc.transfer.throttle import Throttle

if TYPE_CHECKING:
    from bootsvc.transfer.freshness import Freshness

ROOT_PATH = Path("/etc/bootsvc/root.json")
"""The store's root metadata, which ``bootsvc store init`` made."""

FOLDER = "store"
"""In data: what this machine has seen of its store."""

SPOOL_FOLDER = "spool"
"""In data: what has arrived of a version and does not stand in its place yet."""


@dataclass(frozen=True)
class StoreClient:
    """A store's documents, verified, and its remotes.

    Attributes:
        remotes: where recipes and packs are read.
        fresh: gives documents that the publisher vouches for.
        throttle: counts what is fetched.
    """

    remotes: Remotes
    fresh: FreshDocuments
    throttle: Throttle

    def catalogue(self, lineage: str) -> Catalogue:
        """The versions of a lineage.

        Raises:
            NotPublishedError: the store has none.
            FreshnessError, NetworkError: see ``transfer.freshness``.
            FormatError: the publisher's own tools wrote something else.
        """
        return parse_catalogue(self.fresh.target(catalogue_key(lineage), MAX_CATALOGUE_SIZE))

    def document(self, identity: bytes) -> VersionDocument | None:
        """How a version is put together; None where the store has no such version."""
        try:
            data = self.fresh.target(version_key(identity), MAX_DOCUMENT_SIZE)
        except NotPublishedError:
            return None
        return parse_version(data, identity)


@contextmanager
def open_store(
    addresses: str,
    root_path: Path,
    data: Path,
    bytes_per_s: int,
    watch: Watch,
) -> Iterator[StoreClient]:
    """The machine's store; nothing is asked yet.

    Args:
        addresses: the setting ``stores``.
        root_path: the root metadata that the machine was given.
        data: what the machine has seen of the store is kept there, and what has arrived.
        bytes_per_s: the most that is fetched; 0 = no limit.
        watch: hears of waits and of what is tried again.

    Raises:
        SettingsError: no address is set.
        StorageError: there is no root metadata.
    """
    if not addresses:
        raise SettingsError(
            "no image store is set",
            hint='write stores = "http://SERVER/PATH" into /etc/bootsvc/bootsvc.toml',
        )
    try:
        root = root_path.read_bytes()
    except OSError as exc:
        raise StorageError(
            f"{root_path}: the store's root metadata cannot be read: {exc.strerror}",
            hint="copy root.json there from the publisher's keys",
        ) from exc
    stop = threading.Event()
    throttle = Throttle(bytes_per_s, sleep=stop.wait)
    spool = Spool(data / SPOOL_FOLDER)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                HttpRemote(address.strip(), watch, throttle.took, spool=spool, stop=stop)
            )
            for address in addresses.split(",")
        ]
        remotes = Remotes(servers, spool, stop)

        def fetch(path: str, largest: int) -> bytes:
            return remotes.right(lambda remote: remote.read(path, largest))

        def open_freshness() -> Freshness:
            from bootsvc.transfer.freshness import Freshness  # 20 MiB of libraries

            return Freshness(data / FOLDER, root, fetch, say=watch.say)

        fresh = stack.enter_context(FreshDocuments(open_freshness, throttle))
        yield StoreClient(remotes, fresh, throttle)


def offered(
    entries: Iterable[CatalogueEntry],
    compatible: str,
    now_s: int,
    status: BootStatus,
    *,
    takes_tests: bool,
) -> CatalogueEntry:
    """The version that this machine should have: the highest number that it is offered.

    Args:
        compatible: the machine type.
        now_s: seconds since 1970.
        status: the record: the floor, and what failed here.

    Raises:
        UpdateError: it is offered none.
    """
    modes = {Mode.RELEASED, Mode.TEST} if takes_tests else {Mode.RELEASED}
    fitting = [
        one
        for one in entries
        if one.compatible == compatible
        and one.mode in modes
        and one.released_s <= now_s
        and one.number >= status.version_floor
        and one.identity not in status.failed
    ]
    if not fitting:
        raise UpdateError(
            f"the store offers no version for machine type {compatible!r} that may be installed"
            " here",
            hint="see on the server: bootsvc store list; failed here: bootsvc status",
        )
    return max(fitting, key=lambda one: one.number)
