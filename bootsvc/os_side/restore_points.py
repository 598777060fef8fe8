"""Restore points: earlier versions, kept in data as differences (DESIGN 7, S0.2).

    <data>/restore-points/versions/<identity>.json    a restore point is what has a document here
    <data>/restore-points/lineages/<zeros>.json       all of them, the oldest first: time, why
    <data>/restore-points/recipes/, packs/            their blocks, each stored once
    <data>/restore-points/<identity>.bimg             one of an earlier bootsvc, a whole image file

It is an image store without signed metadata (``store.documents.PlainDocuments``): what comes out of
it is believed by the signature and the digests of its manifest alone. Only whoever has the disk
locked for writing changes it. See ``keep_restore_point`` for how one is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.errors import BootsvcError, FormatError, ImageError, StorageError, UpdateError
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import Footer, Tick, no_tick
from bootsvc.storage.image_file import open_bimg

if TYPE_CHECKING:
    from bootsvc.formats.catalogue import Catalogue, VersionDocument
    from bootsvc.store.documents import PlainDocuments
    from bootsvc.store.local_objects import FolderObjects
    from bootsvc.store.objects import ObjectStore
    from bootsvc.trust.keys import PublicKey

FOLDER = "restore-points"
SUFFIX = ".bimg"

ALL = "00000000-0000-0000-0000-000000000000"
"""The one catalogue, whatever the lineages: its order is the order of keeping, which the clock of a
machine without a battery is not."""

_FOR_EVER = 1 << 62


@dataclass(frozen=True)
class RestorePoint:
    """A version in data; documents were read, and of an image file the footer.

    Attributes:
        size: bytes of the image file that it is equal to.
        own_size: bytes in data that nothing else needs; they are free once it is removed.
        kept_s: when it was kept, seconds since 1970 by the machine's clock.
        identity: 32 bytes; None where an image file's name is none.
        number, label: of the version; None where ``problem`` says why it is damaged.
        why: why it was kept, in words; "" where nobody wrote it down.
        path: the image file, where it is one.
    """

    size: int
    own_size: int
    kept_s: int
    identity: bytes | None
    number: int | None = None
    label: str | None = None
    why: str = ""
    problem: str = ""
    path: Path | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        identity = self.identity.hex()[:12] if self.identity else ""
        if self.number is None:
            return f"restore point {identity or (self.path.name if self.path else 'unknown')}"
        return f"restore point number {self.number} ({identity})"


def usable_data(run_dir: Path) -> Path | None:
    """The data file system of this start, or None where it has none that takes writes.

    Args:
        run_dir: what ``overlay.sh`` left of this start: /run/bootsvc.
    """
    try:
        facts = (run_dir / "overlay.env").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return run_dir / "data" if "BOOTSVC_DATA_USED=1" in facts.splitlines() else None


def _empty_catalogue() -> Catalogue:
    from bootsvc.formats.catalogue import Catalogue

    return Catalogue(ALL)


@dataclass(frozen=True)
class PointStore:
    """The files in data and what they say.

    Attributes:
        documents: of the versions that can be read, by identity.
        damaged: why the others cannot.
        catalogue: empty where it is damaged.
    """

    objects: FolderObjects
    files: PlainDocuments
    documents: Mapping[bytes, VersionDocument]
    damaged: Mapping[bytes, str]
    catalogue: Catalogue


def open_points(data: Path, check_room: Callable[[int], None] = no_tick) -> PointStore:
    """Read the documents of all restore points.

    Args:
        check_room: told how many bytes are about to be written; raises where there is no room.

    Raises:
        StoreError: their folder cannot be read.
    """
    from bootsvc.formats.catalogue import (
        MAX_CATALOGUE_SIZE,
        catalogue_key,
        parse_catalogue,
        parse_version,
        version_key,
    )
    from bootsvc.store.documents import PlainDocuments
    from bootsvc.store.local_objects import FolderObjects

    objects = FolderObjects(data / FOLDER, is_sole_writer=True, check_room=check_room)
    files = PlainDocuments(objects)
    state = files.state()
    documents: dict[bytes, VersionDocument] = {}
    damaged: dict[bytes, str] = {}
    for identity in _identities(state.names):
        try:
            documents[identity] = parse_version(state.read(version_key(identity)), identity)
            documents[identity].manifest  # noqa: B018  # which may be what is damaged
        except FormatError as exc:
            documents.pop(identity, None)
            damaged[identity] = str(exc)
    catalogue = _empty_catalogue()
    if catalogue_key(ALL) in state.names:
        try:
            catalogue = parse_catalogue(objects.read(catalogue_key(ALL), MAX_CATALOGUE_SIZE))
        except FormatError:
            catalogue = _empty_catalogue()  # times and reasons are lost; the versions are not
    return PointStore(objects, files, documents, damaged, catalogue)


def restore_points_in(data: Path) -> tuple[RestorePoint, ...]:
    """All restore points, the newest first; a damaged one is among them, with its problem.

    Raises:
        StoreError, StorageError: their folder cannot be read.
    """
    if not (data / FOLDER).exists():
        return ()
    return (*_stored_points(open_points(data)), *_image_files(data / FOLDER))


def find_point(points: Iterable[RestorePoint], text: str) -> RestorePoint:
    """The one that ``text`` means: number, label, beginning of the identity, or a file's name.

    Raises:
        UpdateError: none, or several.
    """
    found = [
        one
        for one in points
        if text in (str(one.number), one.label, one.path and one.path.name)
        or (one.identity and len(text) >= 6 and one.identity.hex().startswith(text.lower()))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.identity.hex()[:12] for one in found if one.identity)
        raise UpdateError(f"{text} means several restore points: {names}", hint="write identities")
    raise UpdateError(f"there is no restore point {text}", hint="see: bootsvc restore-point list")


@contextmanager
def open_point(data: Path, point: RestorePoint) -> Iterator[tuple[Device, Footer]]:
    """The image of a restore point, to be read like the image file that it is equal to, and its
    footer. Of one that is kept as a difference, each block is checked when it is read.

    Raises:
        FormatError, ImageError: it is damaged.
        StoreError, StorageError: it cannot be read.
    """
    if point.path is not None:
        with open_bimg(point.path) as (file, footer):
            yield file, footer
        return
    from bootsvc.store.stored_image import open_stored

    store = open_points(data)
    document = store.documents.get(point.identity or b"")
    if document is None:
        raise FormatError(f"{point.name}: {point.problem or 'it is gone'}")
    device, _ = open_stored(store.objects, document)
    yield device, footer_of(document)


def footer_of(document: VersionDocument) -> Footer:
    """The footer of the image that the document speaks of."""
    return Footer(document.locator, document.manifest, document.manifest_bytes)


def problem_of(
    data: Path, point: RestorePoint, keys: tuple[PublicKey, ...], tick: Tick = no_tick
) -> str:
    """Why a restore point is no use, "" if it is whole: all of it is read.

    Args:
        keys: the trusted keys; a retired one counts.
    """
    from bootsvc.sequence.checks import Site, verify_whole

    try:
        with open_point(data, point) as (device, footer):
            verify_whole(device, Site(keys, compatible=""), tick, footer)
            if footer.identity != point.identity:
                raise ImageError(f"it is image {footer.identity.hex()[:12]}, not as named")
    except BootsvcError as exc:
        return str(exc)
    return ""


def remove_points(data: Path, points: Collection[RestorePoint]) -> None:
    """Remove restore points, and then the blocks that no other one needs. Cut off at any moment,
    each of them is whole or gone, and what is left over goes with the next change.

    Raises:
        StoreError, StorageError: they cannot be removed.
    """
    from bootsvc.formats.catalogue import build_catalogue, catalogue_key, version_key
    from bootsvc.storage.files import flush_folder

    store = open_points(data)
    gone = {one.identity for one in points if one.path is None and one.identity}
    if gone:
        left = tuple(one for one in store.catalogue.versions if one.identity not in gone)
        catalogue = build_catalogue(replace(store.catalogue, versions=left)) if left else None
        versions = {version_key(one): None for one in gone}
        store.files.edit(lambda _: {**versions, catalogue_key(ALL): catalogue})
    for one in points:
        if one.path is not None:
            try:
                one.path.unlink(missing_ok=True)
                flush_folder(one.path.parent)
            except OSError as exc:
                raise StorageError(f"{one.path}: cannot be removed: {exc.strerror}") from exc
    collect_unnamed(store)


def freed_by(data: Path, points: Collection[RestorePoint]) -> int:
    """Bytes in data that are free once ``points`` are gone, all of them. Raises StoreError."""
    store = open_points(data)
    going = {one.identity for one in points if one.path is None}
    files: dict[str, int] = {}
    staying: set[str] = set()
    for identity, document in store.documents.items():
        files |= files_of(document)
        if identity not in going:
            staying |= files_of(document).keys()
    freed = sum(size for key, size in files.items() if key not in staying)
    return freed + sum(one.own_size for one in points if one.path is not None)


def collect_unnamed(store: PointStore) -> None:
    """Remove the files that no restore point needs. None while a document is damaged: nobody knows
    what that one needs.

    Raises:
        StoreError: a file cannot be removed.
    """
    from bootsvc.store.upkeep import collect, unnamed

    try:
        collect(store.objects, unnamed(store.objects, store.files, _FOR_EVER))
    except FormatError:
        return


# --- looking ------------------------------------------------------------------------------------


def _identities(names: Iterable[str]) -> list[bytes]:
    """Those of all documents; what is named otherwise is none of ours."""
    from bootsvc.formats.catalogue import VERSIONS

    found = []
    for name in sorted(names):
        folder, _, rest = name.partition("/")
        identity = _identity(rest.removesuffix(".json"))
        if folder == VERSIONS and identity is not None:
            found.append(identity)
    return found


def _stored_points(store: PointStore) -> list[RestorePoint]:
    """The newest first; those that the catalogue does not know are the oldest."""
    from bootsvc.formats.catalogue import VERSIONS, version_key

    written_s = {one.key: (one.modified_s, one.size) for one in store.objects.list(VERSIONS)}
    entries = {one.identity: one for one in store.catalogue.versions}
    identities = {*store.documents, *store.damaged}
    order = [one for one in entries if one in identities]
    users = Counter(key for one in store.documents.values() for key in files_of(one))
    points = []
    for identity in [*reversed(order), *sorted(identities - set(order))]:
        modified_s, own_size = written_s.get(version_key(identity), (0, 0))
        entry = entries.get(identity)
        kept_s, why = (entry.published_s, entry.why) if entry else (modified_s, "")
        document = store.documents.get(identity)
        if document is None:
            problem = store.damaged[identity]
            points.append(RestorePoint(0, own_size, kept_s, identity, why=why, problem=problem))
            continue
        files = files_of(document)
        own_size += sum(size for key, size in files.items() if users[key] == 1)
        manifest = document.manifest
        points.append(
            RestorePoint(
                size=document.locator.total_size,
                own_size=own_size,
                kept_s=kept_s,
                identity=identity,
                number=manifest.number,
                label=manifest.label,
                why=why,
                problem=_what_is_missing(store.objects, files),
            )
        )
    return points


def files_of(document: VersionDocument) -> dict[str, int]:
    """The files beside the document that a version needs, and their sizes."""
    from bootsvc.formats.catalogue import pack_key, recipe_key

    return {
        recipe_key(document.recipe_sha256): document.recipe_size,
        **{pack_key(one.identity): one.size for one in document.packs},
    }


def _what_is_missing(objects: ObjectStore, files: Mapping[str, int]) -> str:
    for key, size in files.items():
        found = objects.size(key)
        if found != size:
            return f"{key}: {'missing' if found is None else f'{found} bytes instead of {size}'}"
    return ""


def _image_files(folder: Path) -> list[RestorePoint]:
    """Those of an earlier bootsvc, the newest first."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix == SUFFIX]
    except OSError as exc:
        raise StorageError(f"{folder}: cannot be read: {exc.strerror}") from exc
    found = map(_look_at, paths)
    return sorted(found, key=lambda one: (-one.kept_s, str(one.path)))


def _look_at(path: Path) -> RestorePoint:
    size = kept_s = own_size = 0
    try:
        facts = path.stat()
        size, kept_s, own_size = facts.st_size, int(facts.st_mtime), facts.st_blocks * 512
        if not path.is_file():
            raise StorageError("not a file")
        with open_bimg(path) as (_, footer):
            manifest = footer.manifest
        if f"{footer.identity.hex()}{SUFFIX}" != path.name:
            raise ImageError(f"it is image {footer.identity.hex()[:12]}, not as named")
    except (BootsvcError, OSError) as exc:
        problem = str(exc.strerror if isinstance(exc, OSError) else exc).removeprefix(f"{path}: ")
        identity = _identity(path.stem)
        return RestorePoint(size, own_size, kept_s, identity, problem=problem, path=path)
    return RestorePoint(
        size, own_size, kept_s, footer.identity, manifest.number, manifest.label, path=path
    )


def _identity(text: str) -> bytes | None:
    """The identity that is written there."""
    try:
        identity = bytes.fromhex(text)
    except ValueError:
        return None
    return identity if len(identity) == 32 else None
