"""A store is looked after: what nothing names is collected, what is damaged is found and named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bootsvc.errors import BootsvcError, FormatError
from bootsvc.formats.catalogue import (
    PACKS,
    RECIPES,
    StoredPack,
    VersionDocument,
    pack_key,
    parse_version,
    recipe_key,
    version_key,
)
from bootsvc.formats.pack import unpack_frame
from bootsvc.formats.tree import leaves_of
from bootsvc.sequence.staging import ShowWork, Work
from bootsvc.storage.image_area import no_tick
from bootsvc.store.objects import ObjectStore, StoredObject
from bootsvc.store.publish import Documents, DocumentSet, identities, read_versions
from bootsvc.store.stored_image import stored_image
from bootsvc.transfer.held import HeldImage
from bootsvc.transfer.layout import METADATA, TARGETS
from bootsvc.transfer.packs import Pack, read_digests, read_frames, read_pack
from bootsvc.transfer.plan import complete, make_plan
from bootsvc.transfer.remote import Remotes

FOLDERS = (RECIPES, PACKS, METADATA, TARGETS)


def unnamed(store: ObjectStore, documents: Documents, before_s: int) -> list[StoredObject]:
    """The files that no version needs and that were written at ``before_s`` or before, by name.

    Raises:
        StoreError, FormatError: the store cannot be read, or is damaged; nothing may be removed.
    """
    state = documents.state()
    needed = set(state.keys)
    for document in read_versions(state).values():
        needed.add(recipe_key(document.recipe_sha256))
        needed.update(pack_key(one.identity) for one in _packs_of(document))
    found = (one for folder in FOLDERS for one in store.list(folder))
    return sorted(
        (one for one in found if one.key not in needed and one.modified_s <= before_s),
        key=lambda one: one.key,
    )


def collect(store: ObjectStore, files: Iterable[StoredObject]) -> None:
    """Remove what ``unnamed`` found. Raises StoreError."""
    for one in files:
        store.delete(one.key)


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a store.

    Attributes:
        what: the file or version.
        problem: in words.
        versions: identities of those that it hurts.
    """

    what: str
    problem: str
    versions: tuple[bytes, ...]


def find_damage(store: ObjectStore, documents: Documents, show_work: ShowWork) -> list[Damage]:
    """Read every file that a version needs, and put every version together in thought.

    Raises:
        StoreError: the documents themselves cannot be read or do not fit their signatures.
    """
    state = documents.state()
    versions, damage = _readable_versions(state)
    packs = {one.identity: one for doc in versions.values() for one in _packs_of(doc)}
    users = {
        identity: tuple(
            version
            for version, document in versions.items()
            if any(pack.identity == identity for pack in _packs_of(document))
        )
        for identity in packs
    }
    bases = {delta.pack.identity: delta.base for doc in versions.values() for delta in doc.deltas}
    with show_work("read packs", sum(one.size for one in packs.values())) as work:
        for identity, stored in packs.items():
            base = versions.get(bases.get(identity, b""))
            problem = _problem_of_pack(store, stored, base, work)
            if problem:
                damage.append(Damage(pack_key(identity), problem, users[identity]))
    for identity, document in versions.items():
        try:
            remotes = Remotes([store])
            plan = make_plan(remotes, document, (), lambda _: None, by_delta=False)
            complete(plan, remotes, no_tick)
        except BootsvcError as exc:
            name = f"number {document.manifest.number}"
            damage.append(Damage(f"{name} ({identity.hex()[:12]})", str(exc), (identity,)))
    return damage


def _packs_of(document: VersionDocument) -> tuple[StoredPack, ...]:
    return (*document.packs, *(delta.pack for delta in document.deltas))


def _readable_versions(
    state: DocumentSet,
) -> tuple[dict[bytes, VersionDocument], list[Damage]]:
    versions: dict[bytes, VersionDocument] = {}
    damage: list[Damage] = []
    for identity in identities(state):
        key = version_key(identity)
        try:
            versions[identity] = parse_version(state.read(key), identity)
        except FormatError as exc:
            damage.append(Damage(key, str(exc), (identity,)))
    return versions, damage


def _problem_of_pack(
    store: ObjectStore, stored: StoredPack, base: VersionDocument | None, work: Work
) -> str:
    """What is wrong with a pack, "" for nothing; every frame is unpacked, every block hashed."""
    try:
        pack = read_pack(store, stored)
        old = stored_image(store, base) if base and pack.header.base else None
        for frame in range(len(pack.header.frames)):
            _check_frame(store, pack, frame, old)
            work.tick(len(pack.places[frame]))
    except BootsvcError as exc:
        return str(exc)
    return ""


def _check_frame(store: ObjectStore, pack: Pack, frame: int, old: HeldImage | None) -> None:
    runs = pack.header.frames[frame].reference
    if runs and old is None:
        return  # its base is no longer in the store: only machines that hold it can unpack it
    digests = read_digests(store, pack, range(frame, frame + 1))
    (data,) = read_frames(store, pack, range(frame, frame + 1))
    reference = b"".join(old.read(run) for run in runs) if old else b""
    content = unpack_frame(data, len(pack.header.blocks(frame)), pack.name, reference)
    if leaves_of(content) != digests:
        raise FormatError(f"frame {frame}: its blocks differ from their digests")
