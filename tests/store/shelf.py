"""Small stores with versions in them, in a folder, for tests of what is read from stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bootsvc.formats.catalogue import VersionDocument
from bootsvc.formats.tree import leaves_of
from bootsvc.storage.image_area import Footer
from bootsvc.store.add_version import Added, add_version
from bootsvc.store.address import open_object_store
from bootsvc.store.block_index import BlockIndex
from bootsvc.store.objects import ObjectStore
from tests.images import Image, padded
from tests.storage.memory import MemoryDevice


class Silent:
    """Shows no work."""

    def tick(self, count: int) -> None:
        """Ignored."""


@contextmanager
def unseen(_work: str, _total: int) -> Iterator[Silent]:
    """Work that nobody watches."""
    yield Silent()


def footer_of(image: Image) -> Footer:
    return Footer(image.locator, image.manifest, image.manifest_bytes)


def leaves(image: Image) -> bytes:
    return leaves_of(padded(image.content))


@dataclass
class Shelf:
    """A store in ``folder`` and the documents of what was added."""

    folder: Path
    index: BlockIndex = field(default_factory=BlockIndex)
    documents: dict[bytes, VersionDocument] = field(default_factory=dict)

    @property
    def store(self) -> ObjectStore:
        return open_object_store(str(self.folder), create=True)

    def add(self, image: Image) -> Added:
        """Add a version, packed quickly."""
        added = add_version(
            self.store,
            MemoryDevice(padded(image.content)),
            footer_of(image),
            leaves(image),
            self.index,
            unseen,
            level=1,
        )
        self.documents[image.identity] = added.document
        return added

    @property
    def files(self) -> Mapping[str, Path]:
        """What a web server would show of it."""
        return {
            str(path.relative_to(self.folder)): path
            for path in self.folder.rglob("*")
            if path.is_file()
        }
