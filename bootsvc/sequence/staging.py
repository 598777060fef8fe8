"""A new image is put into staging, by the running OS or at the console (S4.6, DESIGN 4).

Everything that may refuse the image comes before; see ``cli.stage``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bootsvc.formats.boot_status import Area, AreaRecord, AreaState, BootStatus
from bootsvc.sequence.requests import kept_in_staging, staging_begun, update_requested
from bootsvc.storage.device import CHUNK_SIZE, Device
from bootsvc.storage.disk import Disk
from bootsvc.storage.image_area import (
    CopyCounts,
    Footer,
    ForEach,
    copy_image,
    in_turn,
    verify_copy,
)


@dataclass(frozen=True)
class StagedImage:
    """A whole image outside the disk: its bytes, its footer, and its leaves as verified."""

    source: Device
    footer: Footer
    leaves: bytes

    @property
    def record(self) -> AreaRecord:
        """What the record says of staging once the image stands there."""
        manifest = self.footer.manifest
        return AreaRecord(AreaState.VALID, manifest.size, manifest.number, self.footer.identity)


@dataclass(frozen=True)
class UpdateRequest:
    """What is asked of the next start.

    Attributes:
        transaction: 16 bytes that name this update and no other.
        again: install the image although it failed here before.
    """

    transaction: bytes
    again: bool = False


class Work(Protocol):
    """Hears how far a piece of work is."""

    def tick(self, count: int) -> None:
        """``count`` more bytes are done."""


ShowWork = Callable[[str, int], AbstractContextManager[Work]]
"""Begins to show a piece of work: its name, its size in bytes."""

Fill = Callable[[Disk, StagedImage, ShowWork], CopyCounts]
"""Makes staging hold an image, whole and read back; see ``fill_staging``."""


def write_staging(
    disk: Disk,
    status: BootStatus,
    image: StagedImage,
    request: UpdateRequest | None,
    show_work: ShowWork,
    *,
    chunk_size: int = CHUNK_SIZE,
    fill: Fill | None = None,
) -> CopyCounts:
    """Record, write, read back, record: at each moment the record tells the truth of staging.

    Args:
        status: the record as it stands.
        request: what the next start shall do with the image; None: nothing, it is kept there.
        chunk_size: see ``copy_image``.
        fill: writes and reads back in the place of ``fill_staging``.

    Returns:
        What was read, written and left alone, in bytes.

    Raises:
        SequenceError: an update is unfinished; nothing was written.
        FailedBeforeError: the image failed here before, and ``request`` does not say again.
        StorageError, AlteredImageError: disk or source failed; nothing is asked of the next start.
    """
    begun = disk.status.replace(staging_begun(status))
    if fill is None:
        counts = fill_staging(disk, image, show_work, chunk_size=chunk_size)
    else:
        counts = fill(disk, image, show_work)
    disk.status.replace(_with_image_staged(begun, image.record, request))
    return counts


def fill_staging(
    disk: Disk,
    image: StagedImage,
    show_work: ShowWork,
    *,
    chunk_size: int = CHUNK_SIZE,
    each: ForEach = in_turn,
) -> CopyCounts:
    """Write and read back, and record nothing: for a machine whose record is lost, which will look
    at what staging holds (DESIGN 3). Arguments and errors are those of ``write_staging``.

    Args:
        each: goes through the chunks.
    """
    staging, size = disk.areas[Area.STAGING], image.footer.manifest.size
    counts = CopyCounts()
    with show_work("write staging", size) as work:
        copy_image(
            image.source, staging, image.footer, image.leaves, counts, work.tick,
            chunk_size=chunk_size, each=each,
        )  # fmt: skip
    with show_work("read staging back", size) as work:
        verify_copy(staging, image.footer, image.leaves, work.tick, each=each)
    return counts


def _with_image_staged(
    status: BootStatus, staged: AreaRecord, request: UpdateRequest | None
) -> BootStatus:
    if request is None:
        return kept_in_staging(status, staged)
    return update_requested(status, staged, request.transaction, again=request.again)
