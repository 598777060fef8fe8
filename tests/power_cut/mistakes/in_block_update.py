"""Mistakes in how a version of a store comes into staging."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from bootsvc.formats.boot_status import Area, BootStatus
from bootsvc.formats.pack import FRAME_BLOCKS
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of
from bootsvc.sequence.requests import kept_in_staging
from bootsvc.sequence.staging import Fill, ShowWork, StagedImage, UpdateRequest
from bootsvc.storage.disk import Disk
from bootsvc.storage.image_area import CopyCounts, ForEach, copy_image
from bootsvc.transfer import block_update, fetch
from bootsvc.transfer.assembly import Want
from bootsvc.units import BLOCK_SIZE
from tests.power_cut.mistakes.mutant import Effect, Mutant, shown_by, together
from tests.power_cut.scenarios import AS_BEFORE, BY_NAME, ONLY_BEGUN, StageImage

Patch = AbstractContextManager[object]

ASKED_ONCE = replace(
    BY_NAME["block-update"],
    name="block-update-once",
    about="v2 runs; the OS fetches v3 by blocks, and forgets that after a power cut",
    ask=StageImage("v3", by_blocks=True),
    fallbacks=(
        ONLY_BEGUN,
        replace(AS_BEFORE, name="fetched, and not asked for", staging="v3 VALID"),
        *BY_NAME["block-update"].fallbacks,
    ),
)


@shown_by(BY_NAME["block-update"], clause="settles")
def fetched_blocks_believed(effect: Effect) -> Patch:
    """What was fetched is neither held against its digest nor read back, whoever sent it."""
    right = fetch.fetch_blocks
    fetched: list[Want] = []

    def cut_out(content: bytes, want: Want, *_: object) -> bytes:
        effect.took_place()
        at = want.at % FRAME_BLOCKS * BLOCK_SIZE
        return content[at : at + want.count * BLOCK_SIZE]

    def fetch_noted(assembly: Any, wants: dict[Any, list[Want]], *more: Any) -> int:
        fetched[:] = [one for ones in wants.values() for one in ones]
        return right(assembly, wants, *more)

    def fill_staging(
        disk: Disk, image: StagedImage, show_work: ShowWork, *, each: ForEach
    ) -> CopyCounts:
        del show_work, each
        staging, leaves = disk.areas[Area.STAGING], bytearray(image.leaves)
        for one in fetched:
            there = staging.read_at(one.first * BLOCK_SIZE, one.count * BLOCK_SIZE)
            at = one.first * DIGEST_SIZE
            leaves[at : at + one.count * DIGEST_SIZE] = leaves_of(there)
        counts = CopyCounts()
        copy_image(image.source, staging, image.footer, bytes(leaves), counts)
        return counts

    return together(
        patch.object(fetch, "_cut_out", cut_out),
        patch.object(block_update, "fetch_blocks", fetch_noted),
        patch.object(block_update, "fill_staging", fill_staging),
    )


@shown_by(ASKED_ONCE, clause="same_end")
def recorded_before_fetched(effect: Effect) -> Patch:
    """The record says that staging holds the new version before it was fetched and read back."""

    def write_staging(
        disk: Disk,
        status: BootStatus,
        image: StagedImage,
        request: UpdateRequest | None,
        show_work: ShowWork,
        *,
        fill: Fill,
    ) -> CopyCounts:
        del request
        effect.took_place()
        disk.status.replace(kept_in_staging(status, image.record))
        return fill(disk, image, show_work)

    return patch.object(block_update, "write_staging", write_staging)


@shown_by(BY_NAME["block-update"], clause="settles")
def staging_looked_at_by_place_only(effect: Effect) -> Patch:
    """What a try before left in staging is taken for fetched wherever it is not zeros."""
    right = block_update._absent

    def absent(want: Want, leaves: bytes, staging: Any) -> Any:
        there = staging.read_at(want.first * BLOCK_SIZE, want.count * BLOCK_SIZE)
        if not any(there):
            yield from right(want, leaves, staging)
        else:
            effect.took_place()

    return patch.object(block_update, "_absent", absent)


IN_BLOCK_UPDATE: tuple[Mutant, ...] = (
    fetched_blocks_believed,
    recorded_before_fetched,
    staging_looked_at_by_place_only,
)
