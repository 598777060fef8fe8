"""What a block update will do, before anything is done: where each block comes from, and how many
bytes cross the network (S2.18). Reading it costs recipe and pack headers, some kilobytes each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from bootsvc.errors import BootsvcError, FieldError
from bootsvc.formats.catalogue import StoredPack, VersionDocument
from bootsvc.formats.pack import FRAME_BLOCKS
from bootsvc.formats.recipe import Recipe
from bootsvc.formats.tree import DIGEST_SIZE
from bootsvc.storage.image_area import Footer, footer_parts
from bootsvc.transfer.assembly import (
    Held,
    Packed,
    Piece,
    Want,
    found_by_digest,
    leaves_from,
    neighbouring,
    pieces_of,
    wants_of,
    with_delta,
)
from bootsvc.transfer.held import HeldImage
from bootsvc.transfer.packs import Pack, read_digests, read_pack, read_recipe
from bootsvc.transfer.remote import Remotes
from bootsvc.units import BLOCK_SIZE

DocumentOf = Callable[[bytes], VersionDocument | None]
"""Finds the document of a version by its identity; None: the store knows no such version."""


@dataclass(frozen=True)
class Plan:
    """One way to make an image here.

    Attributes:
        document: of the version that is to be made.
        held: images of this machine that give blocks.
        recipes: theirs, as far as anybody knows them.
        pieces: what each block comes from.
        packs: those that are fetched from, by their index in the recipe.
        base: what the frames are packed against, where this is the way by a delta.
    """

    document: VersionDocument
    held: tuple[HeldImage, ...]
    recipes: tuple[Recipe | None, ...] = field(repr=False)
    pieces: tuple[Piece, ...] = field(repr=False)
    packs: dict[int, Pack] = field(repr=False)
    base: HeldImage | None = None

    @property
    def footer(self) -> Footer:
        """The image's footer, as its manifest makes it."""
        document = self.document
        return Footer(document.locator, document.manifest, document.manifest_bytes)

    @property
    def fetch_size(self) -> int:
        """Bytes that are still to be fetched: digests and frames."""
        frames = sum(len(self.packs[pack].places[frame]) for pack, frame in wants_of(self.pieces))
        return self.digests_size + frames

    @property
    def digests_size(self) -> int:
        """Bytes of the digests that are still to be fetched."""
        return sum(
            len(self.packs[pack].header.page_place(frame)) for pack, frame in wants_of(self.pieces)
        )

    @property
    def local_size(self) -> int:
        """Bytes that are copied from images of this machine."""
        blocks = sum(piece.count for piece in self.pieces if isinstance(piece.origin, Held))
        return blocks * BLOCK_SIZE


@dataclass(frozen=True)
class Assembly:
    """A plan with all digests, which lead to the signed root.

    Attributes:
        leaves: the digests of the image's blocks.
        footer: all bytes of the image's footer, in parts; the leaves are one of them.
        pieces: what each block comes from, what was found by its digest among them.
        wants: what is to be fetched, by pack and frame, see ``assembly.wants_of``.
    """

    plan: Plan
    leaves: bytes = field(repr=False)
    footer: tuple[bytes, ...] = field(repr=False)
    pieces: tuple[Piece, ...] = field(repr=False)

    @property
    def wants(self) -> dict[tuple[int, int], list[Want]]:
        """What is to be fetched of each frame."""
        return wants_of(self.pieces)


def make_plan(
    remotes: Remotes,
    document: VersionDocument,
    held: Sequence[HeldImage],
    document_of: DocumentOf,
    *,
    by_delta: bool = True,
) -> Plan:
    """The way that fetches least.

    Args:
        held: images of this machine, those preferred first.
        document_of: finds the documents of those.
        by_delta: a delta may be used, where the store has one for an image held.

    Raises:
        FormatError: the store is damaged.
        BootsvcError: no remote answered.
    """
    recipe = remotes.right(partial(read_recipe, document=document))
    of_identity = {
        identity: _recipe_of(identity, remotes, document_of)
        for identity in {one.identity for one in held}
    }
    recipes = tuple(of_identity[one.identity] for one in held)
    plans = [_plan(remotes, document, recipe, document.packs, held, recipes, None)]
    index_of = {one.identity: index for index, one in reversed(list(enumerate(held)))}
    for delta in document.deltas if by_delta and plans[0].packs else ():
        base = recipes[index_of[delta.base]] if delta.base in index_of else None
        if base is not None:
            plans.append(
                _plan(
                    remotes,
                    document,
                    with_delta(recipe, base, delta.pack.identity),
                    (*document.packs, delta.pack),
                    held,
                    recipes,
                    held[index_of[delta.base]],
                )
            )
    return min(plans, key=lambda one: one.fetch_size)


def _recipe_of(identity: bytes, remotes: Remotes, document_of: DocumentOf) -> Recipe | None:
    """The recipe of an image that is held; None where the store does not know it any more."""
    try:
        document = document_of(identity)
        if document is None:
            return None
        return remotes.right(partial(read_recipe, document=document))
    except BootsvcError:
        return None


def _plan(
    remotes: Remotes,
    document: VersionDocument,
    recipe: Recipe,
    stored: Sequence[StoredPack],
    held: Sequence[HeldImage],
    recipes: tuple[Recipe | None, ...],
    base: HeldImage | None,
) -> Plan:
    known = [
        one if one and one.block_count == image.block_count else None
        for one, image in zip(recipes, held, strict=True)
    ]
    pieces = pieces_of(recipe, known)
    packs: dict[int, Pack] = {}
    for index in sorted({one.origin.pack for one in pieces if isinstance(one.origin, Packed)}):
        wanted = stored[index]
        packs[index] = remotes.right(partial(read_pack, stored=wanted))
    for piece in pieces:
        _check_piece(piece, packs)
    return Plan(document, tuple(held), tuple(known), pieces, packs, base)


def _check_piece(piece: Piece, packs: dict[int, Pack]) -> None:
    origin = piece.origin
    if isinstance(origin, Packed):
        count = packs[origin.pack].header.block_count
        if origin.first + piece.count > count:
            raise FieldError(
                f"recipe: blocks to {origin.first + piece.count} of a pack that has {count}"
            )


def complete(plan: Plan, remotes: Remotes, tick: Callable[[int], None]) -> Assembly:
    """Fetch the digests of what is to be fetched, and find the rest of what this machine holds.

    Args:
        tick: told the bytes read.

    Raises:
        AlteredImageError, SizeMismatchError: the store makes another image than was signed.
        FormatError: a pack's digests are damaged.
        BootsvcError: no remote answered.
    """
    frames: dict[int, list[int]] = {}
    for of_pack, frame in sorted(wants_of(plan.pieces)):
        frames.setdefault(of_pack, []).append(frame)
    pages: dict[tuple[int, int], bytes] = {}
    for index, numbers in frames.items():
        pack = plan.packs[index]
        for run in neighbouring(numbers):
            data = remotes.right(partial(read_digests, pack=pack, frames=run))
            tick(len(data))
            for position, frame in enumerate(run):
                at = position * FRAME_BLOCKS * DIGEST_SIZE
                pages[index, frame] = data[at : at + FRAME_BLOCKS * DIGEST_SIZE]
    leaves, levels = leaves_from(
        plan.pieces, [one.leaves for one in plan.held], pages, plan.footer.manifest
    )
    strangers = [
        (index, one.leaves)
        for index, (one, recipe) in enumerate(zip(plan.held, plan.recipes, strict=True))
        if recipe is None
    ]
    pieces = found_by_digest(plan.pieces, leaves, strangers) if strangers else plan.pieces
    return Assembly(plan, leaves, footer_parts(plan.footer, levels), pieces)
