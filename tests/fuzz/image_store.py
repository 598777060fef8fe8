"""What a server gives out of an image store: pack headers, frames, recipes, documents."""

from __future__ import annotations

import hashlib

from bootsvc.formats.catalogue import (
    Catalogue,
    CatalogueEntry,
    Mode,
    StoredDelta,
    StoredPack,
    VersionDocument,
    build_catalogue,
    build_version,
    parse_catalogue,
    parse_version,
)
from bootsvc.formats.compression import packed
from bootsvc.formats.pack import (
    Frame,
    PackHeader,
    build_frame,
    build_pack_header,
    parse_pack_header,
    unpack_frame,
)
from bootsvc.formats.recipe import Recipe, Run, build_recipe, parse_recipe
from bootsvc.transfer.assembly import pieces_of, wants_of
from bootsvc.units import BLOCK_SIZE
from tests.images import LINEAGE, make_image, random_blocks

IMAGE = make_image(random_blocks(3, 1), number=4)
PACK = StoredPack(b"p" * 32, 100, 5000)
FRAME_BLOCKS = 4
"""Of the frames that are fuzzed: small, so that the bound is near."""


def pack_header_repaired(data: bytes) -> None:
    header = parse_pack_header(data, hashlib.sha256(data).digest())
    assert build_pack_header(header) == data
    assert header.frame_places()[-1].stop == header.digests_at


def frame(data: bytes) -> None:
    assert len(unpack_frame(data, FRAME_BLOCKS, "frame")) == FRAME_BLOCKS * BLOCK_SIZE


def recipe_repaired(data: bytes) -> None:
    """Packed here: what a checksum would stop is let through to the parser behind it."""
    stored = packed(data, level=1)
    recipe = parse_recipe(stored, hashlib.sha256(stored).digest())
    if recipe.block_count < 10_000:
        pieces = pieces_of(recipe, ())
        assert sum(piece.count for piece in pieces) == recipe.block_count
        wanted = sum(want.count for ones in wants_of(pieces).values() for want in ones)
        assert wanted == sum(run.count for run in recipe.runs if run.pack is not None)


def catalogue(data: bytes) -> None:
    found = parse_catalogue(data)
    assert parse_catalogue(build_catalogue(found)) == found


def version(data: bytes) -> None:
    found = parse_version(data, IMAGE.identity)
    assert parse_version(build_version(found), IMAGE.identity) == found


def pack_headers() -> tuple[bytes, ...]:
    runs = (range(5, 9), range(32, 33))
    delta = PackHeader(300, (Frame(70, b"a" * 32, runs), Frame(9, b"b" * 32)), b"c" * 32)
    return tuple(map(build_pack_header, (PackHeader(2, (Frame(99, b"a" * 32),)), delta)))


def frames() -> tuple[bytes, ...]:
    content = random_blocks(1, 1) * FRAME_BLOCKS
    return (build_frame(content, 3), random_blocks(FRAME_BLOCKS, 2))


def recipes() -> tuple[bytes, ...]:
    import zstandard

    runs = (Run(0, 7, 2), Run(None, 0, 3), Run(1, 0, 300))
    built = build_recipe(Recipe((b"a" * 32, b"b" * 32), runs))
    return (zstandard.ZstdDecompressor().decompress(built),)


def catalogues() -> tuple[bytes, ...]:
    first = CatalogueEntry(b"i" * 32, None, 1, "1", "lab", Mode.RELEASED, 5, 6, 9, 8, "notes")
    second = CatalogueEntry(b"j" * 32, b"i" * 32, 2, "2", "lab", Mode.DRAFT, 7, 0, 9, 8)
    return (build_catalogue(Catalogue(LINEAGE, (first, second))),)


def versions() -> tuple[bytes, ...]:
    deltas = (StoredDelta(b"o" * 32, PACK),)
    signatures = IMAGE.locator.signatures
    document = VersionDocument(IMAGE.manifest_bytes, signatures, b"r" * 32, 77, (PACK,), deltas)
    return (build_version(document),)
