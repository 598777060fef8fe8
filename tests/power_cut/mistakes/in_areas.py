"""Mistakes in how images are copied, read back and believed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

from bootsvc.formats.boot_status import Area, Phase, Reason
from bootsvc.formats.tree import leaves_of
from bootsvc.sequence import checks, runner, staging
from bootsvc.sequence.records import restore_retried
from bootsvc.sequence.runner import Runner
from bootsvc.sequence.states import CopyFailure
from bootsvc.storage import image_area
from bootsvc.storage.device import Device, Window
from bootsvc.storage.image_area import (
    CopyCounts,
    Footer,
    ForEach,
    Tick,
    in_turn,
    no_tick,
    read_footer,
    read_leaves,
    verify_content,
)
from bootsvc.units import BLOCK_SIZE, SECTOR_SIZE
from tests.power_cut.mistakes.mutant import Effect, Mutant, shown_by, together
from tests.power_cut.mistakes.situations import (
    RESTORE_BEGUN,
    ROT_SAME_STAGED,
    ROTTEN_BACKUP,
    ROTTEN_PRIMARY,
    UPDATE_ON_WORN_DISK,
    WornPrimary,
)
from tests.power_cut.scenarios import BY_NAME

Patch = AbstractContextManager[object]


@shown_by(RESTORE_BEGUN, clause="record_names_whole_image")
def no_flush_before_record(effect: Effect) -> Patch:
    """An area is not flushed before the record that names it is written."""
    right = Window.flush

    def flush(self: Window) -> None:
        if "status" in self.name:
            right(self)
        else:
            effect.took_place()

    return patch.object(Window, "flush", flush)


@shown_by(UPDATE_ON_WORN_DISK, clause="boots_whole_image", disk=WornPrimary)
def copy_not_read_back(effect: Effect) -> Patch:
    """A finished copy of an image is believed without being read back."""

    def verify_copy(*_: object, each: ForEach = in_turn) -> None:
        del each
        effect.took_place()

    return together(
        patch.object(runner, "verify_copy", verify_copy),
        patch.object(staging, "verify_copy", verify_copy),
    )


@shown_by(BY_NAME["update"], clause="update_goes_on")
def resumes_from_remembered_offset(effect: Effect) -> Patch:
    """A copy notes in the record how far it is, and goes on from there after a power cut."""
    right = Runner._copy
    working: list[Runner] = []

    def copy_area(self: Runner, source: Area, target: Area) -> None:
        working[:] = [self]
        right(self, source, target)

    def copy_image(
        source: Device,
        target: Device,
        footer: Footer,
        leaves: bytes,
        counts: CopyCounts,
        tick: Tick,
        *,
        chunk_size: int,
    ) -> None:
        (self,) = working
        if _progress(self):
            effect.took_place()
        for at in range(_progress(self) * BLOCK_SIZE, footer.manifest.size, chunk_size):
            expected = leaves[at // BLOCK_SIZE * 32 : (at + chunk_size) // BLOCK_SIZE * 32]
            counts.add(image_area._copy_chunk(source, target, at, chunk_size, expected))
            tick(chunk_size)
            _remember(self, (at + chunk_size) // BLOCK_SIZE)
        image_area._copy_footer(source, target, footer, counts)

    return together(
        patch.object(Runner, "_copy", copy_area), patch.object(runner, "copy_image", copy_image)
    )


def _progress(self: Runner) -> int:
    return self.status.progress if self.status else 0


def _remember(self: Runner, blocks: int) -> None:
    if self.status is not None:
        written = self.disk.status.replace(replace(self.status, progress=blocks))
        self.seen = replace(self.seen, status=written)


@shown_by(BY_NAME["first-installation"], clause="update_goes_on")
def blocks_compared_by_first_sector(effect: Effect) -> Patch:
    """A block counts as copied when its first sector is the same."""

    def copy_chunk(
        source: Device, target: Device, at: int, length: int, expected: bytes
    ) -> CopyCounts:
        counts = CopyCounts()
        old, new = target.read_at(at, length), source.read_at(at, length)
        for start in range(0, length, BLOCK_SIZE):
            block = slice(start, start + BLOCK_SIZE)
            sector = slice(start, start + SECTOR_SIZE)
            if old[sector] != new[sector]:
                target.write_at(at + start, new[block])
                counts.written += BLOCK_SIZE
            elif old[block] != new[block]:
                effect.took_place()
        assert leaves_of(new) == expected
        return counts

    return patch.object(image_area, "_copy_chunk", copy_chunk)


@shown_by(ROT_SAME_STAGED, clause="same_end")
def blocks_skipped_by_old_tree(effect: Effect) -> Patch:
    """A copy reads the target's digest tree instead of its blocks, and skips what that says is
    there."""
    right = image_area._copy_chunk

    def copy_chunk(
        source: Device, target: Device, at: int, length: int, expected: bytes
    ) -> CopyCounts:
        claimed = read_leaves(target, read_footer(target))
        present = claimed[at // BLOCK_SIZE * 32 : (at + length) // BLOCK_SIZE * 32]
        if present == expected:
            effect.took_place()
            return CopyCounts(skipped=length)
        return right(source, target, at, length, expected)

    return patch.object(image_area, "_copy_chunk", copy_chunk)


@shown_by(RESTORE_BEGUN, clause="update_goes_on")
def power_cuts_use_up_retries(effect: Effect) -> Patch:
    """A restore that begins costs a retry, whatever ended the one before."""
    right = Runner._copy

    def copy_area(self: Runner, source: Area, target: Area) -> None:
        status = self.status
        if status is None or status.phase is not Phase.RESTORE:
            return right(self, source, target)
        effect.took_place()
        if not status.restore_retries:
            failure = CopyFailure(Reason.IO_ERROR, target)
            self.seen = replace(self.seen, copy_failure=failure)
            return None
        written = self.disk.status.replace(restore_retried(self.seen))
        self.seen = replace(self.seen, status=written)
        return right(self, source, target)

    return patch.object(Runner, "_copy", copy_area)


def _unread(effect: Effect, area: str) -> Patch:
    """The content of ``area`` counts as verified without being read."""

    def verify(device: Device, leaves: bytes, tick: Tick = no_tick) -> None:
        if area in device.name:
            effect.took_place()
        else:
            verify_content(device, leaves, tick)

    return patch.object(checks, "verify_content", verify)


@shown_by(ROTTEN_BACKUP, clause="record_names_whole_image")
def backup_trusted_unread(effect: Effect) -> Patch:
    """The backup is believed by its footer; its blocks are not read before it is relied upon."""
    return _unread(effect, "backup")


@shown_by(ROTTEN_PRIMARY, clause="never_without_image")
def primary_backed_up_unread(effect: Effect) -> Patch:
    """The backup is overwritten from primary without reading primary first."""
    return _unread(effect, "primary")


IN_AREAS: tuple[Mutant, ...] = (
    no_flush_before_record,
    copy_not_read_back,
    resumes_from_remembered_offset,
    blocks_compared_by_first_sector,
    blocks_skipped_by_old_tree,
    power_cuts_use_up_retries,
    backup_trusted_unread,
    primary_backed_up_unread,
)
