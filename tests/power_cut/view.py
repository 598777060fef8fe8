"""How the judge sees a disk: the record by ``struct``, areas compared byte by byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from tests.formats.decoder import Value, decode
from tests.power_cut.truth import NOBODY, End, Truth

RECORD_SIZE = 512
PHASES = (
    "UNKNOWN", "INSTALL", "IDLE", "CHECK", "BACKUP", "COPY", "VERIFY", "TRIAL", "CONFIRM",
    "RESTORE", "DEGRADED", "ROLLBACK", "ROT", "HALT",
)  # fmt: skip
AREAS = ("none", "primary", "backup", "staging")
STATES = ("EMPTY", "WRITING", "VALID", "CONFIRMED", "BAD")
REQUESTS = ("none", "update", "rollback", "backup once", "staging once")


class RawDisk(Protocol):
    """Bytes to look at."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``."""


@dataclass(frozen=True)
class Record:
    """A whole copy of the boot-status record, in words: states by area, identities in hex."""

    sequence: int
    code: int
    phase: str
    boot: str
    request: str
    tries_left: int
    transaction: str
    floor: int
    states: Mapping[str, str]
    identities: Mapping[str, str]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A disk as the judge sees it: the newest record (``None``: lost), whether its two copies are
    the same, and which image each area holds from the first byte to the last."""

    record: Record | None
    has_equal_copies: bool
    holds: Mapping[str, str]


@lru_cache(maxsize=4096)
def _record_in(sector: bytes) -> Record | None:
    fields = decode(sector)
    if fields is None:
        return None
    numbers = {name: int(str(value)) for name, value in fields.items() if isinstance(value, int)}
    areas = {name: _group(fields[name]) for name in AREAS[1:]}
    failed = fields["failed"]
    assert isinstance(failed, list)
    return Record(
        sequence=numbers["sequence"],
        code=numbers["status_code"],
        phase=_word(PHASES, numbers["phase"]),
        boot=_word(AREAS, numbers["boot_area"]),
        request=_word(REQUESTS, numbers["request"]),
        tries_left=numbers["tries_left"],
        transaction=str(fields["transaction"]),
        floor=numbers["version_floor"],
        states={name: _word(STATES, int(area["state"])) for name, area in areas.items()},
        identities={name: str(area["identity"]) for name, area in areas.items()},
        failed=tuple(one for one in failed if one.strip("0")),
    )


def forget_records() -> None:
    """Decode every sector anew: for whoever changes the decoder."""
    _record_in.cache_clear()


def _word(words: Sequence[str], number: int) -> str:
    return words[number] if number < len(words) else NOBODY


def _group(value: Value) -> dict[str, int | str]:
    assert isinstance(value, dict)
    return value


def newest_record(truth: Truth, disk: RawDisk) -> Record | None:
    """The whole copy with the higher sequence; two that differ at one sequence are none."""
    first, second = (disk.read(at, RECORD_SIZE) for at in truth.copies)
    one, other = _record_in(first), _record_in(second)
    if one is None or other is None:
        return one or other
    if one.sequence == other.sequence:
        return one if first == second else None
    return max(one, other, key=lambda record: record.sequence)


def held(truth: Truth, disk: RawDisk, area: str) -> str:
    """The image whose every byte stands in ``area``, or ``NOBODY``."""
    where = truth.parts[area]
    for image in truth.images:
        footer_at = where.stop - len(image.footer)
        if disk.read(footer_at, len(image.footer)) == image.footer:
            is_whole = disk.read(where.start, len(image.content)) == image.content
            return image.name if is_whole else NOBODY
    return NOBODY


def look(truth: Truth, disk: RawDisk) -> View:
    """The disk as it is, with nothing believed that was not compared byte by byte."""
    first, second = (disk.read(at, RECORD_SIZE) for at in truth.copies)
    holds = {area: held(truth, disk, area) for area in AREAS[1:]}
    return View(newest_record(truth, disk), first == second, holds)


def end_of(truth: Truth, view: View, *, starts: bool) -> End:
    """The documented end that ``view`` is, or one without a name."""
    record = view.record
    if record is None:
        return End("record lost", 0, "", "none", "", "", starts=starts)
    seen = End(
        name="",
        code=record.code,
        phase=record.phase,
        boot=record.boot,
        primary=_area_text(truth, view, record, "primary"),
        backup=_area_text(truth, view, record, "backup"),
        staging=_area_text(truth, view, record, "staging"),
        request=record.request,
        floor=record.floor,
        failed=tuple(truth.name_of(one) for one in record.failed),
        starts=starts,
    )
    return next((end for end in truth.ends() if end == seen), seen)


def _area_text(truth: Truth, view: View, record: Record, area: str) -> str:
    state = record.states[area]
    if state in ("EMPTY", "WRITING"):
        return state
    name, holds = truth.name_of(record.identities[area]), view.holds[area]
    return f"{name} {state}" + ("" if holds == name else f", holds {holds}")


def proven_now(truth: Truth, record: Record | None) -> frozenset[str]:
    """The images that have proved themselves: before the beginning, or by the record since."""
    if record is None or record.states["primary"] != "CONFIRMED":
        return truth.proven
    return truth.proven | {truth.name_of(record.identities["primary"])}
