"""A delta: the blocks that one version has and an earlier one has not, packed against that one."""

from __future__ import annotations

from collections.abc import Iterator

from bootsvc.formats.catalogue import StoredDelta, VersionDocument
from bootsvc.formats.tree import DIGEST_SIZE, ZEROS_LEAF
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.device import Device
from bootsvc.store.objects import ObjectStore
from bootsvc.store.packing import References, write_pack
from bootsvc.store.stored_image import stored_image
from bootsvc.transfer.assembly import with_delta
from bootsvc.transfer.held import HeldImage
from bootsvc.transfer.packs import read_recipe
from bootsvc.units import BLOCK_SIZE

LEVEL = 15
"""Of zstd: with a reference, the levels above take many times as long for a few per cent."""

_NO_IDENTITY = bytes(DIGEST_SIZE)


def add_delta(
    store: ObjectStore,
    document: VersionDocument,
    image: Device,
    leaves: bytes,
    base: VersionDocument,
    show_work: ShowWork,
    *,
    level: int = LEVEL,
) -> StoredDelta | None:
    """Store a delta for machines that hold the version ``base``; None where it has all blocks.

    Args:
        document: of the version that the delta leads to; ``image``, ``leaves``: it itself.
        level: of zstd.

    Raises:
        FormatError: the store is damaged.
        StoreError, StorageError: see ``packing.write_pack``.
    """
    from bootsvc.store.similarity import SimilarExtents  # needs numpy, which machines have not

    recipe, of_base = read_recipe(store, document), read_recipe(store, base)
    by_delta = with_delta(recipe, of_base, _NO_IDENTITY)
    blocks: dict[int, int] = {}
    at = 0
    for run in by_delta.runs:
        if run.pack == len(by_delta.packs) - 1:
            for number in range(run.count):
                blocks.setdefault(run.first + number, at + number)
        at += run.count
    if not blocks:
        return None
    old = stored_image(store, base)
    references = References(
        base.identity,
        SimilarExtents(_extents(old, show_work), old.block_count).choose,
        old.read,
    )
    wanted = [blocks[number] for number in sorted(blocks)]
    pack = write_pack(store, image, leaves, wanted, level, show_work, references)
    return StoredDelta(base.identity, pack)


def _extents(image: HeldImage, show_work: ShowWork) -> Iterator[tuple[int, bytes]]:
    """The extents of an image that are not all zeros."""
    from bootsvc.store.similarity import EXTENT_BLOCKS, blocks_of_extent

    with show_work("look for what is similar", image.block_count * BLOCK_SIZE) as work:
        for number in range(-(-image.block_count // EXTENT_BLOCKS)):
            blocks = blocks_of_extent(number, image.block_count)
            leaves = image.leaves[blocks.start * DIGEST_SIZE : blocks.stop * DIGEST_SIZE]
            if leaves != ZEROS_LEAF * len(blocks):
                yield number, image.read(blocks)
            work.tick(len(blocks) * BLOCK_SIZE)
