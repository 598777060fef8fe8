"""An image is fetched into staging, from wherever it is, block by verified block (DESIGN 4, 7).

Footer, manifest, signature and tree come first, each of a size that was checked before; from then
on every byte is known by its digest. The writing, the reading back and the order of the records are
those of ``bootsvc stage``. What staging holds already is compared and not fetched: that is how a
fetch goes on that was cut off at any moment, by anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bootsvc.boot.sources import open_source
from bootsvc.boot.verified_source import VerifiedSource
from bootsvc.boot.watch import Watch
from bootsvc.errors import SequenceError
from bootsvc.formats.boot_status import Area, BootStatus
from bootsvc.formats.tree import checked_leaves
from bootsvc.formats.url import is_url
from bootsvc.sequence.checks import Site, check_installable
from bootsvc.sequence.requests import check_stageable
from bootsvc.sequence.staging import StagedImage, UpdateRequest, fill_staging, write_staging
from bootsvc.storage.device import CHUNK_SIZE, Device
from bootsvc.storage.disk import Disk
from bootsvc.storage.image_area import CopyCounts, Footer
from bootsvc.storage.image_file import read_file_footer
from bootsvc.units import KIB, describe_size

FETCHED_CHUNK = 256 * KIB
"""Bytes compared and written at once where they come from afar: what a power cut loses at most, and
so small that progress moves on a slow line, too."""

Opener = Callable[[str, int, Watch], AbstractContextManager[Device]]


@dataclass(frozen=True)
class Fetched:
    """An image that stands in staging, read back in full. Sizes are bytes.

    Attributes:
        fetched: read from the source; ``copied``: taken from primary or backup.
        counts: what was written to staging, and what stood there already.
    """

    footer: Footer
    fetched: int
    copied: int
    counts: CopyCounts

    @property
    def summary(self) -> str:
        """One sentence."""
        manifest = self.footer.manifest
        return (
            f"number {manifest.number} ({manifest.label}) stands in staging, read back in full:"
            f" fetched {describe_size(self.fetched)}, taken from this machine"
            f" {describe_size(self.copied)}, there already {describe_size(self.counts.skipped)}"
        )


def largest_image(disk: Disk) -> int:
    """Bytes of the largest image file that fits into every area of ``disk``."""
    return min(area.size for area in disk.areas.values())


def read_offer(source: str, disk: Disk, watch: Watch, opened: Opener = open_source) -> Footer:
    """The footer of the image at ``source``; nothing of it is believed yet.

    Raises: as ``fetch_into_staging``.
    """
    with opened(source, largest_image(disk), watch) as file:
        return read_file_footer(file)


def fetch_into_staging(
    source: str,
    disk: Disk,
    status: BootStatus | None,
    site: Site,
    watch: Watch,
    request: UpdateRequest | None,
    *,
    opened: Opener = open_source,
) -> Fetched:
    """Put the image at ``source`` into staging and ask the next decision to install it.

    Args:
        source: see ``sources``.
        status: the record as it stands; None where it is lost: then nothing is recorded, and the
            sequence finds the image when it looks at the areas.
        request: None: the image is kept in staging and nothing is asked.

    Raises:
        SequenceError: an update is unfinished, or the record is of another disk.
        ImageError, FormatError: the image may not be installed here; which kind says why.
        NetworkError: the network or the server failed.
        StorageError, BootError: a disk failed, the source's or ours.
    """
    if status is not None:
        _check_ours(status, disk)
        check_stageable(status)
    again = request is not None and request.again
    with opened(source, largest_image(disk), watch) as file:
        footer = read_file_footer(file)
        check_installable(footer, site, status, disk.areas.values(), again=again)
        tree = _read_tree(file, footer, watch)
        leaves = checked_leaves(tree, footer.manifest.root, footer.manifest.size)
        neighbours = (disk.areas[Area.PRIMARY], disk.areas[Area.BACKUP])
        verified = VerifiedSource(file, footer, leaves, tree, neighbours, watch.say)
        image = StagedImage(verified, footer, leaves)
        chunk_size = FETCHED_CHUNK if is_url(source) else CHUNK_SIZE
        show = _shown_by(watch)
        if status is None:
            counts = fill_staging(disk, image, show, chunk_size=chunk_size)
        else:
            counts = write_staging(disk, status, image, request, show, chunk_size=chunk_size)
    return Fetched(footer, verified.fetched + len(tree), verified.copied, counts)


def _check_ours(status: BootStatus, disk: Disk) -> None:
    if status.layout_hash != disk.gpt.layout_hash():
        raise SequenceError(
            "the record belongs to another disk or partition table",
            hint="nothing is written to it; is it the disk of another machine?",
        )


def _read_tree(file: Device, footer: Footer, watch: Watch) -> bytes:
    """The digest tree; its size fits an area, as ``check_installable`` has made sure."""
    begin, size = file.size - footer.locator.footer_size, footer.locator.tree_size
    parts = []
    with _shown_by(watch)("read digests", size) as work:
        for at in range(0, size, CHUNK_SIZE):
            parts.append(file.read_at(begin + at, min(CHUNK_SIZE, size - at)))
            work.tick(len(parts[-1]))
    return b"".join(parts)


def _shown_by(watch: Watch) -> Callable[[str, int], AbstractContextManager[Watch]]:
    @contextmanager
    def show(work: str, total: int) -> Iterator[Watch]:
        watch.begin(work, total)
        try:
            yield watch
        finally:
            watch.end()

    return show
