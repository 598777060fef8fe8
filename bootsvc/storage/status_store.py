"""The two copies of the boot-status record and the order in which they are written (DESIGN 3).

The invariant of DESIGN 4 rests on this order: copy 0, flush, read back; only then copy 1, flush,
read back. Both copies are never in one flush epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bootsvc.errors import (
    DeviceError,
    FormatError,
    ReadBackError,
    StatusLostError,
    StorageError,
)
from bootsvc.formats.boot_status import RECORD_SIZE, BootStatus, build, parse
from bootsvc.storage.device import Device
from bootsvc.units import BLOCK_SIZE, MIB

COPY_OFFSETS = (0, 2 * MIB)
"""Where the copies stand in the status partition; each has a 4 KiB block of its own."""


@dataclass(frozen=True)
class CopyState:
    """One copy as read: the record, or why there is none; ``is_unreadable`` on an I/O error."""

    status: BootStatus | None
    problem: str = ""
    is_unreadable: bool = False


class StatusStore:
    """The record on a status partition."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def copies(self) -> tuple[CopyState, CopyState]:
        """Both copies as they stand on the medium."""
        first, second = (self._read_copy(offset) for offset in COPY_OFFSETS)
        return first, second

    def read(self) -> BootStatus:
        """The newest valid record.

        Raises:
            StatusLostError: neither copy is valid, or two valid copies of one sequence differ.
        """
        return newest(self.copies())

    def repair(self, status: BootStatus) -> bool:
        """Make both copies hold ``status``, the newest record; True where something was written.

        Only the copy that differs is written, so the good one is never at risk.

        Raises:
            DeviceError, ReadBackError: a copy cannot be written; the other is untouched.
        """
        states = self.copies()
        stale = [
            offset
            for offset, state in zip(COPY_OFFSETS, states, strict=True)
            if state.status != status
        ]
        if len(stale) == len(COPY_OFFSETS):
            raise StatusLostError(f"{self.device.name}: the record vanished between two reads")
        for offset in stale:
            self._write_copy(offset, build(status))
        return bool(stale)

    def replace(self, status: BootStatus) -> BootStatus:
        """Write ``status`` as the newest record and return it with its new sequence.

        The sequence is one above the highest found in any readable copy, so an old record can
        never win against the new one.

        Raises:
            DeviceError, ReadBackError: the record may not be believed; boot the backup.
        """
        known = [state.status.sequence for state in self.copies() if state.status]
        written = replace(status, sequence=max((status.sequence, *known)) + 1)
        sector = build(written)
        for offset in COPY_OFFSETS:
            self._write_copy(offset, sector)
        return written

    def reconstruct(self, status: BootStatus) -> BootStatus:
        """Write a first record over copies that hold none.

        A copy that gave an I/O error is overwritten and read back before the new record counts:
        an old record with a high sequence must not come back (DESIGN 3).
        """
        for offset, state in zip(COPY_OFFSETS, self.copies(), strict=True):
            if state.is_unreadable:
                self._write_block(offset, bytes(BLOCK_SIZE))
        return self.replace(status)

    def _read_copy(self, offset: int) -> CopyState:
        try:
            return CopyState(parse(self.device.read_at(offset, RECORD_SIZE)))
        except DeviceError as exc:
            return CopyState(None, str(exc), is_unreadable=True)
        except (FormatError, StorageError) as exc:
            return CopyState(None, str(exc))

    def _write_copy(self, offset: int, sector: bytes) -> None:
        self._write_block(offset, sector + bytes(self.device.sector_size - RECORD_SIZE))

    def _write_block(self, offset: int, data: bytes) -> None:
        self.device.write_at(offset, data)
        self.device.flush()
        if self.device.read_at(offset, len(data)) != data:
            raise ReadBackError(
                f"{self.device.name}: the record at byte {offset} reads back differently",
                hint="the disk is failing; replace it",
            )


def newest(copies: tuple[CopyState, ...]) -> BootStatus:
    """The valid record with the highest sequence.

    Raises:
        StatusLostError: none is valid, or two of the same sequence differ (corruption).
    """
    valid = [state.status for state in copies if state.status is not None]
    if not valid:
        problems = "; ".join(dict.fromkeys(state.problem for state in copies))
        raise StatusLostError(f"no valid copy of the boot-status record ({problems})")
    best = max(valid, key=lambda status: status.sequence)
    if any(status != best for status in valid if status.sequence == best.sequence):
        raise StatusLostError("two copies of the boot-status record differ at one sequence")
    return best
