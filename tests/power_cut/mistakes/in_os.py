"""Mistakes in what the running OS does: staging and confirming."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

from bootsvc.formats.boot_status import Area, AreaState, BootStatus, Phase
from bootsvc.sequence import requests, staging
from bootsvc.sequence.records import enter
from bootsvc.sequence.requests import Started, update_requested
from bootsvc.sequence.staging import ShowWork, StagedImage, UpdateRequest
from bootsvc.storage.disk import Disk
from bootsvc.storage.image_area import CopyCounts, copy_image, no_tick
from tests.power_cut import world
from tests.power_cut.mistakes.mutant import Effect, Mutant, shown_by
from tests.power_cut.mistakes.situations import STAGED_TWICE
from tests.power_cut.scenarios import BY_NAME

Patch = AbstractContextManager[object]


@shown_by(BY_NAME["update"], clause="update_goes_on")
def update_asked_before_staged(effect: Effect) -> Patch:
    """The update is asked for first, and the image is written to staging afterwards."""

    def write_staging(
        disk: Disk,
        status: BootStatus,
        image: StagedImage,
        request: UpdateRequest,
        show_work: ShowWork,
        *,
        chunk_size: int,
    ) -> CopyCounts:
        del show_work
        effect.took_place()
        disk.status.replace(update_requested(status, image.record, request.transaction))
        counts = CopyCounts()
        copy_image(
            image.source, disk.areas[Area.STAGING], image.footer, image.leaves, counts, no_tick,
            chunk_size=chunk_size,
        )  # fmt: skip
        return counts

    return patch.object(world, "write_staging", write_staging)


@shown_by(STAGED_TWICE, clause="same_end")
def staging_overwritten_while_offered(effect: Effect) -> Patch:
    """Staging is overwritten while the record still says that the image before it is whole."""

    def staging_begun(status: BootStatus) -> BootStatus:
        effect.took_place()
        return status

    return patch.object(staging, "staging_begun", staging_begun)


@shown_by(BY_NAME["hanging-image-no-restore"], clause="only_the_tried_confirms")
def wrong_os_confirms(effect: Effect) -> Patch:
    """Whatever OS runs confirms the image in primary, without its area being looked at."""
    right = requests.confirmed

    def confirmed(status: BootStatus, started: Started, floor: int) -> BootStatus:
        if started.area is Area.PRIMARY:
            return right(status, started, floor)
        effect.took_place()
        primary = replace(status.primary, state=AreaState.CONFIRMED)
        return enter(status, Phase.IDLE, primary=primary)

    return patch.object(requests, "confirmed", confirmed)


@shown_by(BY_NAME["update"], clause="same_end")
def staging_never_consumed(effect: Effect) -> Patch:
    """A confirmed image stays in staging as one that is still to be installed."""
    right = requests.confirmed

    def confirmed(status: BootStatus, started: Started, floor: int) -> BootStatus:
        effect.took_place()
        return replace(right(status, started, floor), staging=status.staging)

    return patch.object(requests, "confirmed", confirmed)


IN_OS: tuple[Mutant, ...] = (
    update_asked_before_staged,
    staging_overwritten_while_offered,
    wrong_os_confirms,
    staging_never_consumed,
)
