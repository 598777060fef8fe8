"""The documents of a store, of the two kinds that there are: vouched for, and plain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.formats.catalogue import LINEAGES, MAX_DOCUMENT_SIZE, VERSIONS
from bootsvc.store.objects import ObjectStore

if TYPE_CHECKING:
    from bootsvc.store.publish import Changes, DocumentSet
    from bootsvc.store.state import Published


class SignedDocuments:
    """Documents that a publisher vouches for with signed metadata (``store.metadata``)."""

    def __init__(self, store: ObjectStore, keys_folder: Path) -> None:
        """Nothing is read yet.

        Args:
            keys_folder: has root.json, and for ``edit`` the keys.
        """
        self._store = store
        self._keys_folder = keys_folder

    def state(self) -> Published:
        """See ``Documents``."""
        from bootsvc.store.metadata import read_targets  # needs what only publishers have

        return read_targets(self._store, self._keys_folder)

    def edit(self, edit: Callable[[DocumentSet], Changes]) -> Published:
        """See ``Documents``."""
        from bootsvc.store.metadata import edit_targets

        return edit_targets(self._store, self._keys_folder, edit)


class PlainDocuments:
    """Documents as they are, for a store that nobody else writes: the restore points of a machine.

    New versions are there before a catalogue names them, and gone after none does any more.
    """

    def __init__(self, store: ObjectStore) -> None:
        """Nothing is read yet."""
        self._store = store

    def state(self) -> PlainDocumentSet:
        """See ``Documents``."""
        return PlainDocumentSet(self._store)

    def edit(self, edit: Callable[[DocumentSet], Changes]) -> PlainDocumentSet:
        """See ``Documents``."""
        changes = edit(self.state())

        def place(name: str) -> int:
            if name.startswith(f"{LINEAGES}/"):
                return 1
            return 0 if changes[name] is not None else 2

        for name in sorted(changes, key=place):
            content = changes[name]
            if content is None:
                self._store.delete(name)
            else:
                self._store.write(name, content)
        return self.state()


class PlainDocumentSet:
    """The documents that a store held when this was made.

    Attributes:
        names: of all of them; they are their own keys.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.names = frozenset(
            one.key for folder in (LINEAGES, VERSIONS) for one in store.list(folder)
        )

    @property
    def keys(self) -> frozenset[str]:
        """The files of the store that hold them."""
        return self.names

    def read(self, name: str) -> bytes:
        """See ``DocumentSet``."""
        return self._store.read(name, MAX_DOCUMENT_SIZE)
