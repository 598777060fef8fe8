"""Step 1 of an update: a version of the store becomes the image in staging (S0.4-S0.7, DESIGN 7).

    plan       recipe and pack headers: what comes from where
    digests    of what must be fetched; all digests must lead to the signed root
    fetch      frames, several at a time; each block compared with its digest, then written to the
               places in staging where it belongs; what stands there already is not fetched
    fill       everything else from images of this machine; footer last; all of it read back

The record says before the first write that staging is being written, and after the last reading
what it holds: the writes and their order are those of ``sequence.staging``. Cut off at any moment,
by anything, the next run begins with whatever then verifies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootsvc.errors import AlteredImageError, BootsvcError
from bootsvc.formats.boot_status import Area, BootStatus
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of
from bootsvc.sequence.staging import (
    ShowWork,
    StagedImage,
    UpdateRequest,
    fill_staging,
    write_staging,
)
from bootsvc.storage.device import Device
from bootsvc.storage.disk import Disk
from bootsvc.storage.image_area import CopyCounts
from bootsvc.transfer.assembled_image import AssembledImage
from bootsvc.transfer.assembly import Want
from bootsvc.transfer.fetch import fetch_blocks
from bootsvc.transfer.lanes import in_lanes
from bootsvc.transfer.plan import Assembly, Plan
from bootsvc.transfer.remote import Remotes
from bootsvc.units import BLOCK_SIZE


@dataclass(frozen=True)
class AtOnce:
    """How much of an update is done at the same time. Where several write, one may do so before
    another or after it.

    Attributes:
        connections: requests under way, each by a thread: one alone waits for the line's delay
            again and again.
        threads: that go through staging: one has the disk read while another computes digests.
    """

    connections: int = 4
    threads: int = 2


USUAL = AtOnce()
IN_TURN = AtOnce(connections=1, threads=1)


@dataclass(frozen=True)
class Updated:
    """An image that a block update put into staging. Sizes are bytes.

    Attributes:
        counts: what was written to staging, and what stood there already.
        local: copied from images of this machine; ``resumed``: found in staging from a try before.
    """

    plan: Plan
    counts: CopyCounts
    fetched: int
    local: int
    resumed: int


def update_staging(
    disk: Disk,
    status: BootStatus,
    assembly: Assembly,
    remotes: Remotes,
    request: UpdateRequest | None,
    show_work: ShowWork,
    *,
    at_once: AtOnce = USUAL,
) -> Updated:
    """Make staging hold the image of ``assembly``.

    Args:
        status: the record as it stands.
        request: see ``sequence.staging.write_staging``.

    Raises:
        RottenHereError: an image of this machine gave wrong blocks: plan again without it. What
            was written stays.
        StoreDamagedError: a remote gives wrong blocks, and no other gives right ones.
        NetworkError: no remote answers.
        SequenceError, FailedBeforeError, StorageError: see ``write_staging``.
    """
    staging = disk.areas[Area.STAGING]
    resumed = fetched = 0

    def fill(disk: Disk, image: StagedImage, show_work: ShowWork) -> CopyCounts:
        nonlocal resumed, fetched
        wants, resumed = _missing(assembly, staging, show_work)
        fetched = fetch_blocks(assembly, wants, staging, remotes, show_work, at_once.connections)
        try:
            return fill_staging(disk, image, show_work, each=in_lanes(at_once.threads))
        except AlteredImageError:
            source.blame()
            raise

    source = AssembledImage(assembly)
    image = StagedImage(source, assembly.plan.footer, assembly.leaves)
    counts = write_staging(disk, status, image, request, show_work, fill=fill)
    remotes.spool.end()
    return Updated(assembly.plan, counts, fetched, source.copied, resumed)


# --- what staging holds already -----------------------------------------------------------------


def _missing(
    assembly: Assembly, staging: Device, show_work: ShowWork
) -> tuple[dict[tuple[int, int], list[Want]], int]:
    """What must be fetched, without the blocks that a try before has put into staging; and how
    many bytes those are."""
    missing: dict[tuple[int, int], list[Want]] = {}
    present = 0
    wants = assembly.wants
    total = sum(want.count for ones in wants.values() for want in ones) * BLOCK_SIZE
    with show_work("look at staging", total) as work:
        for frame, ones in wants.items():
            for want in ones:
                left = list(_absent(want, assembly.leaves, staging))
                present += (want.count - sum(one.count for one in left)) * BLOCK_SIZE
                if left:
                    missing.setdefault(frame, []).extend(left)
                work.tick(want.count * BLOCK_SIZE)
    return missing, present


def _absent(want: Want, leaves: bytes, staging: Device) -> Iterator[Want]:
    """The parts of ``want`` that staging does not hold."""
    try:
        found = leaves_of(staging.read_at(want.first * BLOCK_SIZE, want.count * BLOCK_SIZE))
    except BootsvcError:
        yield want
        return
    if found == leaves[want.first * DIGEST_SIZE : (want.first + want.count) * DIGEST_SIZE]:
        return
    start = -1
    for number in range(want.count + 1):
        here = slice(number * DIGEST_SIZE, (number + 1) * DIGEST_SIZE)
        there = (want.first + number) * DIGEST_SIZE
        is_absent = number < want.count and found[here] != leaves[there : there + DIGEST_SIZE]
        if is_absent and start < 0:
            start = number
        elif not is_absent and start >= 0:
            yield Want(want.first + start, number - start, want.at + start)
            start = -1
