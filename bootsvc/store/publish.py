"""A version is published: blocks, recipe and deltas first, at last the documents that name them.

A reader sees a version whole or not at all (``Documents.edit`` is atomic); a publisher that was cut
off leaves objects that nothing names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from bootsvc.errors import PublishError
from bootsvc.formats.catalogue import (
    LINEAGES,
    MAX_CATALOGUE_SIZE,
    VERSIONS,
    Catalogue,
    CatalogueEntry,
    Mode,
    StoredDelta,
    VersionDocument,
    build_catalogue,
    build_version,
    catalogue_key,
    parse_catalogue,
    parse_version,
    version_key,
)
from bootsvc.formats.compression import LEVEL
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import Footer
from bootsvc.store.add_version import Added, add_version
from bootsvc.store.block_index import read_index
from bootsvc.store.delta import add_delta
from bootsvc.store.objects import ObjectStore

DELTAS = 2
"""To so many earlier versions of the lineage a delta is made, unless said otherwise."""


class DocumentSet(Protocol):
    """The documents of a store as they are at one moment."""

    @property
    def names(self) -> frozenset[str]:
        """Those that there are."""
        ...

    @property
    def keys(self) -> frozenset[str]:
        """All files of the store that they need."""
        ...

    def read(self, name: str) -> bytes:
        """One of them. Raises StoreError."""
        ...


Changes = Mapping[str, bytes | None]
"""New contents by name; None removes."""


class Documents(Protocol):
    """The documents of a store, and the one way to change them."""

    def state(self) -> DocumentSet:
        """What they are now. Raises StoreError."""
        ...

    def edit(self, edit: Callable[[DocumentSet], Changes]) -> DocumentSet:
        """Change them, all at once; ``edit`` is asked again where another publisher was first."""
        ...


@dataclass(frozen=True)
class PublishOptions:
    """How a version is published.

    Attributes:
        mode: who is offered it.
        released_s: not before this time, seconds since 1970.
        deltas: how many earlier versions of the lineage get a delta to this one.
        level: of zstd.
        now_s: seconds since 1970.
    """

    mode: Mode = Mode.DRAFT
    released_s: int = 0
    deltas: int = DELTAS
    level: int = LEVEL
    now_s: int = 0


@dataclass(frozen=True)
class PublishedVersion:
    """What publishing came to.

    Attributes:
        entry: in the catalogue.
        is_new: False: the store had this very version.
        new_blocks: how many the store had not.
        deltas: those that were made, and their sizes, by identity of the base.
    """

    entry: CatalogueEntry
    is_new: bool
    new_blocks: int = 0
    deltas: tuple[StoredDelta, ...] = ()


def publish(
    store: ObjectStore,
    documents: Documents,
    image: Device,
    footer: Footer,
    leaves: bytes,
    options: PublishOptions,
    show_work: ShowWork,
) -> PublishedVersion:
    """Publish the image; of one that is published already, nothing changes.

    Args:
        leaves: the digests of its blocks; its signature and all blocks were verified.

    Raises:
        PublishError: the lineage has another version of the same number.
        StoreError, FormatError: the store cannot be read or written, or is damaged.
    """
    state = documents.state()
    lineage = footer.manifest.lineage
    catalogue = read_catalogue(state, lineage)
    known = catalogue.entry(footer.identity)
    if known is not None:
        return PublishedVersion(known, is_new=False)
    _check_number(catalogue, footer)
    of_store = read_versions(state)
    index = read_index(store, of_store.values(), show_work)
    added = add_version(store, image, footer, leaves, index, show_work, level=options.level)
    deltas = _deltas(store, catalogue, added, of_store, image, leaves, options, show_work)
    document = replace(added.document, deltas=deltas)
    entry = _entry(footer, added, deltas, options)

    def edit(state: DocumentSet) -> Changes:
        newest = read_catalogue(state, lineage)
        _check_number(newest, footer)
        return {
            version_key(footer.identity): build_version(document),
            catalogue_key(lineage): build_catalogue(
                replace(newest, versions=(*newest.versions, entry))
            ),
        }

    documents.edit(edit)
    return PublishedVersion(entry, True, added.new_blocks, deltas)


def read_catalogue(state: DocumentSet, lineage: str) -> Catalogue:
    """The catalogue of a lineage; an empty one where nothing of it was published.

    Raises:
        FormatError, StoreError: it cannot be read.
    """
    key = catalogue_key(lineage)
    if key not in state.names:
        return Catalogue(lineage)
    data = state.read(key)
    if len(data) > MAX_CATALOGUE_SIZE:
        raise PublishError(f"the catalogue of lineage {lineage} has {len(data)} bytes")
    return parse_catalogue(data)


def read_versions(state: DocumentSet) -> dict[bytes, VersionDocument]:
    """The documents of all versions of a store, by identity. Raises as ``read_catalogue``."""
    return {
        identity: parse_version(state.read(version_key(identity)), identity)
        for identity in identities(state)
    }


def identities(state: DocumentSet) -> list[bytes]:
    """The identities of all versions that have a document."""
    return [bytes.fromhex(name) for name in _names_in(VERSIONS, state)]


def set_mode(documents: Documents, identity: bytes, mode: Mode, released_s: int) -> CatalogueEntry:
    """Change who is offered a version, and from when on.

    Raises:
        PublishError: there is no such version.
        StoreError, FormatError: the store cannot be read or written.
    """
    changed: list[CatalogueEntry] = []

    def edit(state: DocumentSet) -> Changes:
        catalogue, entry = find_version(state, identity)
        changed[:] = [replace(entry, mode=mode, released_s=released_s)]
        versions = tuple(changed[0] if one == entry else one for one in catalogue.versions)
        key = catalogue_key(catalogue.lineage)
        return {key: build_catalogue(replace(catalogue, versions=versions))}

    documents.edit(edit)
    return changed[0]


def remove_version(documents: Documents, identity: bytes) -> CatalogueEntry:
    """Take a version out of its catalogue; its blocks stay until they are collected.

    Raises: as ``set_mode``.
    """
    removed: list[CatalogueEntry] = []

    def edit(state: DocumentSet) -> Changes:
        catalogue, entry = find_version(state, identity)
        removed[:] = [entry]
        versions = tuple(one for one in catalogue.versions if one != entry)
        key = catalogue_key(catalogue.lineage)
        return {
            version_key(identity): None,
            key: build_catalogue(replace(catalogue, versions=versions)) if versions else None,
        }

    documents.edit(edit)
    return removed[0]


def find_version(state: DocumentSet, identity: bytes) -> tuple[Catalogue, CatalogueEntry]:
    """The version with that identity. Raises PublishError: there is none."""
    for catalogue in read_catalogues(state):
        entry = catalogue.entry(identity)
        if entry is not None:
            return catalogue, entry
    raise PublishError(
        f"the store has no version {identity.hex()[:12]}", hint="see: bootsvc store list"
    )


def read_catalogues(state: DocumentSet) -> list[Catalogue]:
    """The catalogues of all lineages. Raises as ``read_catalogue``."""
    return [read_catalogue(state, name) for name in _names_in(LINEAGES, state)]


def _names_in(folder: str, state: DocumentSet) -> list[str]:
    return [
        name.removeprefix(f"{folder}/").removesuffix(".json")
        for name in sorted(state.names)
        if name.startswith(f"{folder}/")
    ]


def _check_number(catalogue: Catalogue, footer: Footer) -> None:
    """Two contents under one number is how a fleet comes to differ unseen (S2.2)."""
    number = footer.manifest.number
    for one in catalogue.versions:
        if one.number == number and one.identity != footer.identity:
            raise PublishError(
                f"number {number} of this lineage is published already, with other content:"
                f" {one.identity.hex()[:12]}, label {one.label}",
                hint="make the image with a higher --number",
            )


def _deltas(
    store: ObjectStore,
    catalogue: Catalogue,
    added: Added,
    of_store: Mapping[bytes, VersionDocument],
    image: Device,
    leaves: bytes,
    options: PublishOptions,
    show_work: ShowWork,
) -> tuple[StoredDelta, ...]:
    """Deltas from the latest versions of the lineage."""
    deltas = []
    for entry in catalogue.versions[-options.deltas :] if options.deltas else ():
        base = of_store[entry.identity]
        delta = add_delta(store, added.document, image, leaves, base, show_work)
        if delta is not None:
            deltas.append(delta)
    return tuple(deltas)


def _entry(
    footer: Footer, added: Added, deltas: tuple[StoredDelta, ...], options: PublishOptions
) -> CatalogueEntry:
    manifest = footer.manifest
    return CatalogueEntry(
        identity=footer.identity,
        parent=manifest.parent,
        number=manifest.number,
        label=manifest.label,
        compatible=manifest.compatible,
        mode=options.mode,
        published_s=options.now_s,
        released_s=options.released_s,
        size=manifest.size,
        stored_size=added.stored_size + sum(one.pack.size for one in deltas),
        notes=manifest.notes,
    )
