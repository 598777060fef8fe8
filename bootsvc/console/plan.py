"""Which works a start is expected to do, so that progress can say "phase n of m". Pure.

The sequence decides anew after every work and knows no plan; this one only tells people how far
it is. Where something fails the works differ, and the numbers with them.
"""

from __future__ import annotations

from bootsvc.formats.boot_status import Area, BootStatus, Phase, Request

_CHECK, _INSTALL = ("verify staging",), ("copy", "verify")
_BACK_UP = ("verify primary", "backup", "verify")
_RESTORE = ("verify backup", "restore", "verify")
_UPDATE = _CHECK + _BACK_UP + _INSTALL
_WITH_BACKUP_READY = (*_CHECK, "verify backup", *_INSTALL)

_WORKS = {
    Phase.INSTALL: _CHECK + _INSTALL,
    Phase.BACKUP: _BACK_UP + _CHECK + _INSTALL,
    Phase.COPY: _WITH_BACKUP_READY,
    Phase.RESTORE: _RESTORE,
    Phase.ROLLBACK: _RESTORE,
    Phase.ROT: _RESTORE,
}


def works_of(status: BootStatus | None) -> tuple[str, ...]:
    """The names of the works, in order, that follow from the record where nothing fails."""
    if status is None:
        return ()
    if status.phase in _WORKS:
        return _WORKS[status.phase]
    if status.request is Request.UPDATE:
        return _UPDATE if status.boot_area is Area.PRIMARY else _WITH_BACKUP_READY
    if status.request is Request.ROLLBACK:
        return _RESTORE
    if status.phase is Phase.TRIAL and not status.tries_left:
        return _RESTORE
    return ()


def next_phase(works: tuple[str, ...], before: int, work: str) -> int:
    """Which phase of ``works``, from 1 on, ``work`` is when it follows phase ``before``; 0 where
    it is not among them. Work that is done over again gets its last number."""
    if work in works[before:]:
        return works.index(work, before) + 1
    if work in works:
        return len(works) - works[::-1].index(work)
    return 0
