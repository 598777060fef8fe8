"""Mistakes in how the boot-status record is written, read and repaired."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

from bootsvc.errors import DeviceError
from bootsvc.formats import boot_status
from bootsvc.formats._codec import crc32
from bootsvc.formats.boot_status import RECORD_SIZE, BootStatus, build, parse
from bootsvc.sequence.actions import Write
from bootsvc.sequence.runner import Runner
from bootsvc.storage import status_store
from bootsvc.storage.device import Window
from bootsvc.storage.status_store import COPY_OFFSETS, CopyState, StatusStore
from tests.formats import decoder
from tests.power_cut import view
from tests.power_cut.mistakes.mutant import Effect, Mutant, shown_by
from tests.power_cut.mistakes.situations import (
    ROT_ON_WORN_RECORD,
    SECOND_COPY_LOST,
    SECOND_COPY_STALE,
    STALE_RECORD,
    RefusingRecord,
    WornRecord,
)
from tests.power_cut.scenarios import BY_NAME

Patch = AbstractContextManager[object]


# --- how it is written ----------------------------------------------------------------------------


@shown_by(BY_NAME["hanging-image"], clause="unproven_only_on_trial")
def try_not_flushed(effect: Effect) -> Patch:
    """The write that pays for a try is left to the kernel's cache when the image is started."""
    right = Runner._write

    def write(self: Runner, action: Write) -> None:
        if not action.takes_try:
            return right(self, action)
        effect.took_place()
        with patch.object(Window, "flush", lambda _: None):
            return right(self, action)

    return patch.object(Runner, "_write", write)


@shown_by(BY_NAME["hanging-image"], clause="unproven_only_on_trial")
def flushed_before_instead_of_after(effect: Effect) -> Patch:
    """The disk is flushed before each copy of the record is written, as a barrier, not after."""

    def write_block(self: StatusStore, offset: int, data: bytes) -> None:
        effect.took_place()
        self.device.flush()
        self.device.write_at(offset, data)

    return patch.object(StatusStore, "_write_block", write_block)


@shown_by(BY_NAME["hanging-image"], clause="sequence_never_goes_back")
def both_copies_in_one_epoch(effect: Effect) -> Patch:
    """Both copies of the record are written, and then flushed once."""

    def replace_both(self: StatusStore, status: BootStatus) -> BootStatus:
        effect.took_place()
        written = _next(self, status)
        for offset in COPY_OFFSETS:
            self.device.write_at(offset, _padded(self, written))
        self.device.flush()
        return written

    return patch.object(StatusStore, "replace", replace_both)


@shown_by(BY_NAME["update"], clause="record_names_whole_image")
def second_copy_left_to_next_start(effect: Effect) -> Patch:
    """Only the first copy of the record is written; the next start's repair makes the second."""

    def replace_first(self: StatusStore, status: BootStatus) -> BootStatus:
        effect.took_place()
        written = _next(self, status)
        self._write_block(COPY_OFFSETS[0], _padded(self, written))
        return written

    return patch.object(StatusStore, "replace", replace_first)


def _next(store: StatusStore, status: BootStatus) -> BootStatus:
    known = [state.status.sequence for state in store.copies() if state.status]
    return replace(status, sequence=max((status.sequence, *known)) + 1)


def _padded(store: StatusStore, status: BootStatus) -> bytes:
    return build(status) + bytes(store.device.sector_size - RECORD_SIZE)


# --- which copy is believed -----------------------------------------------------------------------


@shown_by(BY_NAME["update"], clause="same_end")
def crc_not_compared(effect: Effect) -> Patch:
    """The record's CRC is computed when it is written and never compared when it is read."""

    def parse_anyway(sector: bytes) -> BootStatus:
        body = sector[: RECORD_SIZE - 4]
        sealed = body + crc32(body).to_bytes(4, "little")
        if sealed != sector[:RECORD_SIZE]:
            effect.took_place()
        return parse(sealed)

    return patch.object(status_store, "parse", parse_anyway)


@shown_by(BY_NAME["hanging-image"], clause="sequence_never_goes_back")
def sequence_outside_crc(effect: Effect) -> Patch:
    """The CRC leaves the sequence out, so that it need not be computed anew for each write.

    It is a mistake in the format, so the judge reads the same format.
    """
    place = slice(16, 24)

    def parse_other(sector: bytes) -> BootStatus:
        return parse(sector)  # a function of its own: what parsers remember belongs to them

    def without_sequence(body: bytes) -> int:
        effect.took_place()
        return zlib.crc32(body[: place.start] + bytes(8) + body[place.stop :])

    @contextmanager
    def other_format() -> Iterator[None]:
        with (
            patch.object(boot_status, "crc32", without_sequence),
            patch.object(status_store, "parse", parse_other),
            patch.object(decoder, "zlib", SimpleNamespace(crc32=without_sequence)),
        ):
            view.forget_records()
            yield
        view.forget_records()

    return other_format()


@shown_by(BY_NAME["repair-stale-copy"], clause="sequence_never_goes_back")
def older_copy_wins(effect: Effect) -> Patch:
    """Of two whole copies of the record, the one with the lower sequence is believed."""

    right = status_store.newest

    def oldest(copies: tuple[CopyState, ...]) -> BootStatus:
        first, second = (state.status for state in copies)
        if first is None or second is None or first.sequence == second.sequence:
            return right(copies)
        effect.took_place()
        return min(first, second, key=lambda status: status.sequence)

    return patch.object(status_store, "newest", oldest)


@shown_by(SECOND_COPY_LOST, clause="sequence_never_goes_back")
def no_repair_before_work(effect: Effect) -> Patch:
    """A bad copy of the record is left to the next write instead of being repaired first."""

    def repair(self: StatusStore, status: BootStatus) -> bool:
        if any(state.status != status for state in self.copies()):
            effect.took_place()
        return False

    return patch.object(StatusStore, "repair", repair)


@shown_by(SECOND_COPY_STALE, clause="sequence_never_goes_back")
def older_copy_not_repaired(effect: Effect) -> Patch:
    """Only a copy of the record that cannot be parsed is repaired, not one that is older."""
    right = StatusStore.repair

    def repair(self: StatusStore, status: BootStatus) -> bool:
        if all(state.status for state in self.copies()):
            effect.took_place()
            return False
        return right(self, status)

    return patch.object(StatusStore, "repair", repair)


@shown_by(BY_NAME["repair-first-copy"], clause="sequence_never_goes_back")
def repair_writes_good_copy_first(effect: Effect) -> Patch:
    """Repairing the first copy of the record writes both, beginning with the good one."""

    def repair(self: StatusStore, status: BootStatus) -> bool:
        first, second = self.copies()
        if first.status == second.status:
            return False
        for offset in COPY_OFFSETS if first.status == status else reversed(COPY_OFFSETS):
            effect.took_place()
            self._write_block(offset, _padded(self, status))
        return True

    return patch.object(StatusStore, "repair", repair)


@shown_by(STALE_RECORD, clause="sequence_never_goes_back")
def sequence_starts_again(effect: Effect) -> Patch:
    """The next sequence is counted from the record to be written, not from those on the disk."""

    def copies(_: StatusStore) -> tuple[CopyState, CopyState]:
        effect.took_place()
        return CopyState(None), CopyState(None)

    right = StatusStore.replace

    def replace_blindly(self: StatusStore, status: BootStatus) -> BootStatus:
        with patch.object(StatusStore, "copies", copies):
            return right(self, status)

    return patch.object(StatusStore, "replace", replace_blindly)


# --- disks that wear out --------------------------------------------------------------------------


@shown_by(ROT_ON_WORN_RECORD, clause="sequence_never_goes_back", disk=WornRecord)
def record_read_back_from_cache(effect: Effect) -> Patch:
    """The record is read back from the cache, which holds what was written and not what stuck."""

    def write_block(self: StatusStore, offset: int, data: bytes) -> None:
        self.device.write_at(offset, data)
        self.device.flush()
        if self.device.read_at(offset, len(data)) != data:
            effect.took_place()

    return patch.object(StatusStore, "_write_block", write_block)


@shown_by(ROT_ON_WORN_RECORD, clause="sequence_never_goes_back", disk=RefusingRecord)
def stale_copy_after_io_error(effect: Effect) -> Patch:
    """A second copy of the record that cannot be written is left as it is, and work goes on."""
    right = StatusStore._write_copy

    def write_copy(self: StatusStore, offset: int, sector: bytes) -> None:
        try:
            right(self, offset, sector)
        except DeviceError:
            if offset == COPY_OFFSETS[0]:
                raise
            effect.took_place()

    return patch.object(StatusStore, "_write_copy", write_copy)


IN_RECORD: tuple[Mutant, ...] = (
    try_not_flushed,
    flushed_before_instead_of_after,
    both_copies_in_one_epoch,
    second_copy_left_to_next_start,
    crc_not_compared,
    sequence_outside_crc,
    older_copy_wins,
    no_repair_before_work,
    older_copy_not_repaired,
    repair_writes_good_copy_first,
    sequence_starts_again,
    record_read_back_from_cache,
    stale_copy_after_io_error,
)
