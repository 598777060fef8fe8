"""An image's blocks go into a store: those that are new in a pack of their own, and a recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from bootsvc.formats.catalogue import VersionDocument, recipe_key
from bootsvc.formats.compression import LEVEL
from bootsvc.formats.recipe import Recipe, build_recipe, runs_of
from bootsvc.formats.tree import DIGEST_SIZE, ZEROS_LEAF
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import Footer
from bootsvc.store.block_index import BlockIndex
from bootsvc.store.objects import ObjectStore
from bootsvc.store.packing import write_pack


@dataclass(frozen=True)
class Added:
    """A version whose blocks are in the store; nothing names it yet.

    Attributes:
        recipe: its own, which its document finds.
        new_blocks: how many the store had not.
        stored_size: bytes that these and the recipe took.
    """

    document: VersionDocument
    recipe: Recipe = field(repr=False)
    new_blocks: int
    stored_size: int


def add_version(
    store: ObjectStore,
    image: Device,
    footer: Footer,
    leaves: bytes,
    index: BlockIndex,
    show_work: ShowWork,
    *,
    level: int = LEVEL,
    anew: bool = False,
) -> Added:
    """Store what is new of ``image``, and its recipe; ``index`` then knows the new blocks, too.

    Cut off at any moment, it leaves objects that nothing names: ``collect`` removes them.

    Args:
        leaves: the digests of its blocks, checked up to the signed root.
        index: what the store holds already.
        level: of zstd.
        anew: files of the same names that the store has already are not trusted, and replaced.

    Raises: as ``packing.write_pack``.
    """
    places, new = _placed(leaves, index)
    stored_size = 0
    if new:
        stored = write_pack(store, image, leaves, new, level, show_work, anew=anew)
        index.add(stored, b"".join(leaves[n * DIGEST_SIZE :][:DIGEST_SIZE] for n in new))
        stored_size = stored.size
    used = sorted({place[0] for place in places if place is not None})
    renumbered = {pack: number for number, pack in enumerate(used)}
    packs = tuple(index.packs[one] for one in used)
    recipe = Recipe(
        tuple(one.identity for one in packs),
        runs_of(place and (renumbered[place[0]], place[1]) for place in places),
    )
    built = build_recipe(recipe)
    sha256 = hashlib.sha256(built).digest()
    if anew or store.size(recipe_key(sha256)) != len(built):
        store.write(recipe_key(sha256), built)
        stored_size += len(built)
    document = VersionDocument(
        manifest_bytes=footer.manifest_bytes,
        signatures=footer.locator.signatures,
        recipe_sha256=sha256,
        recipe_size=len(built),
        packs=packs,
    )
    return Added(document, recipe, len(new), stored_size)


def _placed(leaves: bytes, index: BlockIndex) -> tuple[list[tuple[int, int] | None], Sequence[int]]:
    """Where each block stands in the store, or will stand in its next pack; and which are new."""
    next_pack = len(index.packs)
    places: list[tuple[int, int] | None] = []
    new: list[int] = []
    numbers: dict[bytes, tuple[int, int]] = {}
    for block in range(len(leaves) // DIGEST_SIZE):
        digest = leaves[block * DIGEST_SIZE : (block + 1) * DIGEST_SIZE]
        if digest == ZEROS_LEAF:
            places.append(None)
            continue
        place = index.places.get(digest) or numbers.get(digest)
        if place is None:
            place = numbers[digest] = (next_pack, len(new))
            new.append(block)
        places.append(place)
    return places, new
