"""The image of an area becomes a restore point: its new blocks in a pack, the rest by reference.

    new pack, recipe        written beside the others, flushed, read back, then named
    all of the image        read back out of the store, up to the signed root of its digests
    document                from now on there is a restore point; then its entry in the catalogue
    beyond the limit        the oldest go, then whatever no restore point needs

A power cut at any moment leaves it whole or absent; what nothing names goes with the next change.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bootsvc.errors import BootsvcError, ImageError, NoRoomError, StorageError
from bootsvc.formats.catalogue import (
    Catalogue,
    CatalogueEntry,
    Mode,
    build_catalogue,
    build_version,
    catalogue_key,
    version_key,
)
from bootsvc.formats.tree import DIGEST_SIZE, ZEROS_LEAF
from bootsvc.os_side.restore_points import (
    ALL,
    FOLDER,
    PointStore,
    RestorePoint,
    collect_unnamed,
    freed_by,
    open_points,
    problem_of,
    remove_points,
    restore_points_in,
)
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.device import Device
from bootsvc.storage.files import flush_folder
from bootsvc.storage.image_area import (
    Footer,
    check_signature,
    no_tick,
    read_footer,
    read_leaves,
    verify_content,
)
from bootsvc.store.add_version import Added, add_version
from bootsvc.store.block_index import BlockIndex
from bootsvc.store.stored_image import open_stored
from bootsvc.transfer.packs import read_all_digests, read_pack
from bootsvc.trust.keys import PublicKey
from bootsvc.units import BLOCK_SIZE, describe_size

LEVEL = 3
"""Of zstd: what is packed on a machine at work is packed quickly."""

FREE_SHARE = 10
"""One part in so many of the data file system stays free, for what the machine itself writes."""

_OLD_PARTS = ".*.part"
"""Image files that an earlier bootsvc had not finished."""


@dataclass(frozen=True)
class Keeping:
    """How a restore point is kept.

    Attributes:
        why: in words, for lists.
        limit: how many there may be, this one included; of more, the oldest go.
        now_s: seconds since 1970.
        spared: identities of restore points that do not go, whatever the limit.
    """

    why: str
    limit: int
    now_s: int
    spared: frozenset[bytes] = frozenset()


@dataclass(frozen=True)
class Kept:
    """What keeping came to.

    Attributes:
        is_new: False: it was there already, and whole.
        removed: those that went for it.
        trouble: what went wrong once it was kept, in words; "" for nothing.
    """

    point: RestorePoint
    is_new: bool
    removed: tuple[RestorePoint, ...] = ()
    trouble: str = ""


def keep(
    area: Device,
    identity: bytes,
    keys: tuple[PublicKey, ...],
    data: Path,
    keeping: Keeping,
    show_work: ShowWork,
) -> Kept:
    """Keep the image in ``area`` as a restore point; nothing is written where it is one already.

    Takes memory for each block of the image and of those it shares with. The caller has the disk
    locked for writing.

    Args:
        identity: the image that the record names there.
        keys: the trusted keys; a retired one counts.
        data: the data file system.

    Raises:
        ImageError, FormatError: the image in ``area`` is another one, or does not verify.
        NoRoomError: there is no room, even without those that may go; none of them went.
        StorageError, StoreError: area or data cannot be read or written.
    """
    footer = read_footer(area)
    if footer.identity != identity:
        raise ImageError(
            f"{area.name} holds image {footer.identity.hex()[:12]}, "
            f"the record names {identity.hex()[:12]}"
        )
    check_signature(footer, keys, installing=False)
    leaves = read_leaves(area, footer)
    _make_folder(data / FOLDER)
    there = _point_of(data, identity)
    if there is not None and not there.problem:
        with show_work("check restore point", there.size) as work:
            problem = problem_of(data, there, keys, work.tick)
        if not problem:
            _complete_catalogue(data, there, footer, keeping)
            return Kept(there, is_new=False)
    try:
        added, removed = _write_where_room_is(area, footer, leaves, keys, data, keeping, show_work)
        _name(open_points(data), footer, added, keeping)
    except BaseException:
        with suppress(BootsvcError):
            collect_unnamed(open_points(data))
        raise
    try:
        removed += _remove_superfluous(data, identity, keeping)
        collect_unnamed(open_points(data))
        trouble = ""
    except BootsvcError as exc:
        trouble = str(exc)
    point = _point_of(data, identity)
    if point is None:
        raise StorageError(f"{data / FOLDER}: what was written is not there")
    return Kept(point, True, tuple(removed), trouble)


def _point_of(data: Path, identity: bytes) -> RestorePoint | None:
    """The restore point of a version: one that is a difference is preferred to an image file."""
    found = (one for one in restore_points_in(data) if one.identity == identity)
    return next(found, None)


# --- writing ------------------------------------------------------------------------------------


def _write_where_room_is(
    area: Device,
    footer: Footer,
    leaves: bytes,
    keys: tuple[PublicKey, ...],
    data: Path,
    keeping: Keeping,
    show_work: ShowWork,
) -> tuple[Added, list[RestorePoint]]:
    """Write it; where there is no room, the oldest ones go, if that is certain to make enough."""
    removed: list[RestorePoint] = []
    evictable: list[RestorePoint] | None = None
    while True:
        store = open_points(data, partial(_check_room, data / FOLDER))
        collect_unnamed(store)
        try:
            return _write(area, footer, leaves, store, show_work), removed
        except NoRoomError:
            if evictable is None:
                evictable = _evictable(data, footer.identity, keys, keeping, show_work)
            if not evictable or _room(data, evictable) < _most_needed(leaves):
                raise
        oldest = evictable.pop()
        remove_points(data, [oldest])
        removed.append(oldest)


def _write(
    area: Device, footer: Footer, leaves: bytes, store: PointStore, show_work: ShowWork
) -> Added:
    """Write what is new, and read all of it back; where that fails for what was there before,
    everything is new."""
    index = _index(store, leaves, show_work)
    while True:
        is_shared = bool(index.packs)
        added = add_version(
            store.objects, area, footer, leaves, index, show_work, level=LEVEL, anew=True
        )
        try:
            device, stored_leaves = open_stored(store.objects, added.document)
            with show_work("read restore point back", footer.manifest.size) as work:
                verify_content(device, stored_leaves, work.tick)
        except BootsvcError:
            if not is_shared:
                raise
            index = BlockIndex()
        else:
            return added


def _index(store: PointStore, leaves: bytes, show_work: ShowWork) -> BlockIndex:
    """The blocks that may be shared.

    A pack of which this image needs less than half is left to the others: so what one restore point
    needs never grows beyond twice its image, however many versions go by.
    """
    wanted = {leaves[at : at + DIGEST_SIZE] for at in range(0, len(leaves), DIGEST_SIZE)}
    index = BlockIndex()
    packs = {pack.identity: pack for one in store.documents.values() for pack in one.packs}
    with show_work("look at restore points", sum(one.size for one in packs.values())) as work:
        for stored in packs.values():
            try:
                pack = read_pack(store.objects, stored)
                digests = read_all_digests(store.objects, pack, no_tick)
            except BootsvcError:
                digests = b""  # damaged: its blocks are stored anew
            starts = range(0, len(digests), DIGEST_SIZE)
            used = sum(digests[at : at + DIGEST_SIZE] in wanted for at in starts)
            if used and 2 * used >= len(starts):
                index.add(stored, digests)
            work.tick(stored.size)
    return index


def _name(store: PointStore, footer: Footer, added: Added, keeping: Keeping) -> None:
    catalogue = _with_entry(store, footer, added.stored_size, keeping)
    store.files.edit(
        lambda _: {
            version_key(footer.identity): build_version(added.document),
            catalogue_key(ALL): build_catalogue(catalogue),
        }
    )


def _complete_catalogue(data: Path, point: RestorePoint, footer: Footer, keeping: Keeping) -> None:
    """A power cut may have come between the document and the catalogue."""
    store = open_points(data)
    if point.path is None and store.catalogue.entry(footer.identity) is None:
        catalogue = _with_entry(store, footer, point.own_size, keeping)
        store.files.edit(lambda _: {catalogue_key(ALL): build_catalogue(catalogue)})


def _with_entry(store: PointStore, footer: Footer, stored_size: int, keeping: Keeping) -> Catalogue:
    """The catalogue with the restore point as its newest."""
    manifest = footer.manifest
    entry = CatalogueEntry(
        identity=footer.identity,
        parent=manifest.parent,
        number=manifest.number,
        label=manifest.label,
        compatible=manifest.compatible,
        mode=Mode.DRAFT,
        published_s=keeping.now_s,
        released_s=0,
        size=manifest.size,
        stored_size=stored_size,
        notes=manifest.notes,
        why=keeping.why,
    )
    others = tuple(one for one in store.catalogue.versions if one.identity != footer.identity)
    return replace(store.catalogue, versions=(*others, entry))


# --- limits -------------------------------------------------------------------------------------


def _remove_superfluous(data: Path, identity: bytes, keeping: Keeping) -> list[RestorePoint]:
    """What the limit does not allow beside the new one, and image files of what it replaces."""
    points = restore_points_in(data)
    replaced = [one for one in points if one.path and one.identity == identity]
    others = [one for one in points if one.identity != identity]
    count = max(len(others) + 1 - keeping.limit, 0)
    gone = _oldest_last(others, keeping.spared)[::-1][:count]
    if replaced or gone:
        remove_points(data, [*replaced, *gone])
    return gone


def _oldest_last(points: Collection[RestorePoint], spared: frozenset[bytes]) -> list[RestorePoint]:
    """Those that may go, last the one that goes first: a damaged one, then the oldest."""
    may_go = [one for one in points if one.identity not in spared]
    return sorted(may_go, key=lambda one: bool(one.problem))


def _evictable(
    data: Path,
    identity: bytes,
    keys: tuple[PublicKey, ...],
    keeping: Keeping,
    show_work: ShowWork,
) -> list[RestorePoint]:
    """Those that may go to make room, last the one that goes first: never the newest that
    verifies, for the one that is to be kept is not there yet."""
    points = [one for one in restore_points_in(data) if one.identity != identity]
    spared = set(keeping.spared)
    for one in points:
        with show_work(f"check {one.name}", one.size) as work:
            problem = problem_of(data, one, keys, work.tick)
        if not problem and one.identity is not None:
            spared.add(one.identity)
            break
    return _oldest_last(points, frozenset(spared))


def _check_room(folder: Path, needed: int) -> None:
    """Raise NoRoomError unless ``needed`` more bytes leave enough of the file system free."""
    free, reserve = _free(folder)
    if free < needed + reserve:
        raise NoRoomError(
            f"{folder}: no room: {describe_size(reserve)} of this file system stay free,"
            f" {describe_size(free)} are",
            hint="see what may go: bootsvc restore-point list; bootsvc restore-point remove",
        )


def _room(data: Path, evictable: Collection[RestorePoint]) -> int:
    """Bytes that could be written once ``evictable`` are gone."""
    free, reserve = _free(data / FOLDER)
    return free + freed_by(data, evictable) - reserve


def _free(folder: Path) -> tuple[int, int]:
    """Bytes of the file system that are free, and that stay free."""
    try:
        facts = os.statvfs(folder)
    except OSError as exc:
        raise StorageError(f"{folder}: {exc.strerror}") from exc
    return facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize // FREE_SHARE


def _most_needed(leaves: bytes) -> int:
    """Bytes that an image takes if nothing of it is shared, and nothing can be packed."""
    blocks = {leaves[at : at + DIGEST_SIZE] for at in range(0, len(leaves), DIGEST_SIZE)}
    # Digest, place in the recipe, and more than is needed for the rest of a block's share.
    return len(blocks - {ZEROS_LEAF}) * (BLOCK_SIZE + 128) + 64 * 1024


def _make_folder(folder: Path) -> None:
    """An image may hold secrets that its own file permissions guard: the folder is root's alone."""
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            flush_folder(folder.parent)
        for part in folder.glob(_OLD_PARTS):
            part.unlink()
    except OSError as exc:
        raise StorageError(f"{exc.filename or folder}: {exc.strerror}") from exc
