"""Recipes and packs are read from a remote piece by piece, and checked before they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from bootsvc.errors import FormatError
from bootsvc.formats.catalogue import StoredPack, VersionDocument, pack_key, recipe_key
from bootsvc.formats.pack import PackHeader, check_page, parse_pack_header
from bootsvc.formats.recipe import Recipe, parse_recipe
from bootsvc.transfer.remote import Remote

_PAGES_AT_ONCE = 128
"""1 MiB of digests."""


@dataclass(frozen=True)
class Pack:
    """A pack whose header was read and checked.

    Attributes:
        stored: which one.
        places: where each frame lies in the object, in bytes.
    """

    stored: StoredPack
    header: PackHeader
    places: tuple[range, ...]

    def place(self, frames: range) -> range:
        """Where neighbouring frames lie in the object, in bytes."""
        return range(self.places[frames[0]].start, self.places[frames[-1]].stop)

    @property
    def key(self) -> str:
        """Its name in a store."""
        return pack_key(self.stored.identity)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"pack {self.stored.identity.hex()[:12]}"


def read_recipe(remote: Remote, document: VersionDocument) -> Recipe:
    """The recipe of a version.

    Raises:
        FormatError: it is damaged, of another image, or counts other packs than the document.
        BootsvcError: the remote failed.
    """
    data = remote.read_range(recipe_key(document.recipe_sha256), 0, document.recipe_size)
    recipe = parse_recipe(data, document.recipe_sha256)
    if recipe.packs != tuple(one.identity for one in document.packs):
        raise FormatError("recipe: its packs are not those of the version's document")
    return recipe


def read_pack(remote: Remote, stored: StoredPack) -> Pack:
    """The header of a pack, and where its frames lie.

    Raises:
        FormatError: it is damaged, or the pack has another size than was published.
        BootsvcError: the remote failed.
    """
    key, name = pack_key(stored.identity), f"pack {stored.identity.hex()[:12]}"
    at = stored.size - stored.header_size
    if at < 0:
        raise FormatError(f"{name}: its header is larger than the pack")
    header = parse_pack_header(remote.read_range(key, at, stored.header_size), stored.identity)
    if header.object_size != stored.size:
        raise FormatError(
            f"{name}: {stored.size} bytes were published, its header makes {header.object_size}"
        )
    return Pack(stored, header, tuple(header.frame_places()))


def read_digests(remote: Remote, pack: Pack, frames: range) -> bytes:
    """The digests of the blocks of neighbouring frames, 32 bytes each.

    Raises:
        ChecksumError: they are damaged.
        BootsvcError: the remote failed.
    """
    header = pack.header
    first, last = header.page_place(frames[0]), header.page_place(frames[-1])
    data = remote.read_range(pack.key, header.digests_at + first.start, last.stop - first.start)
    for frame in frames:
        place = header.page_place(frame)
        page = data[place.start - first.start : place.stop - first.start]
        check_page(page, header, frame, pack.name)
    return data


def read_all_digests(remote: Remote, pack: Pack, tick: Callable[[int], None]) -> bytes:
    """The digests of all blocks of a pack; see ``read_digests``.

    Args:
        tick: told the bytes read.
    """
    parts = []
    count = len(pack.header.frames)
    for first in range(0, count, _PAGES_AT_ONCE):
        frames = range(first, min(first + _PAGES_AT_ONCE, count))
        parts.append(read_digests(remote, pack, frames))
        tick(len(parts[-1]))
    return b"".join(parts)


def read_frames(remote: Remote, pack: Pack, frames: range) -> list[memoryview]:
    """Neighbouring frames as they are stored; nothing of them is checked yet.

    Raises:
        BootsvcError: the remote failed.
    """
    place = pack.place(frames)
    data = memoryview(remote.read_range(pack.key, place.start, len(place)))
    ends = [pack.places[one].stop - place.start for one in frames]
    return [data[start:end] for start, end in pairwise([0, *ends])]
