"""The records of past starts, kept in data by the running OS (DESIGN 9).

    <data>/starts/<number, 8 digits>.json    what the updater observed, decided and did once

Each is the updater's own ``start.json`` with two fields more: ``kept_at_s`` (seconds since 1970 by
the machine's clock) and ``boot_id`` (the kernel's own name for this start, so that none is kept
twice). A start whose OS never came up leaves no record here; what became of it stands in the last
failure.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootsvc.errors import FieldError, StorageError
from bootsvc.storage.files import flush_folder, replace_file
from bootsvc.units import KIB

FOLDER = "starts"
KEPT = 100
"""Starts that are kept; the oldest go first."""

MAX_SIZE = 256 * KIB
"""Of one record; a start writes a few lines for each phase, so a larger one is none of ours."""

_NAME = re.compile(r"([0-9]{8})\.json")


@dataclass(frozen=True)
class PastStart:
    """One start as it was kept.

    Attributes:
        number: counts the starts that were kept on this machine, from 1.
        kept_at_s: seconds since 1970, 0 where the machine's clock was not set.
        handover: the facts that the OS was given, as ``boot.handover`` names them.
        entries: what the updater did, each with ``at_s``, seconds since the kernel began, or with
            ``seconds`` that a piece of work took.
        problem: why the file is no use; everything else is empty then.
    """

    number: int
    kept_at_s: int = 0
    handover: dict[str, str] | None = None
    entries: tuple[dict[str, object], ...] = ()
    problem: str = ""


def keep(start_file: Path, boot_id: str, now_s: int, data: Path) -> int | None:
    """Keep the record of this start; its number, or None where it is kept already.

    Args:
        start_file: what the updater left: /run/bootsvc/start.json.
        boot_id: the kernel's name for this start.
        now_s: seconds since 1970, 0 where the clock is not to be believed.
        data: the data file system.

    Raises:
        FieldError: the updater's record cannot be read as one.
        StorageError, OSError: data cannot be written; what was kept before still stands.
    """
    document = _read(start_file)
    folder = data / FOLDER
    if not folder.is_dir():
        folder.mkdir()
        flush_folder(data)
    numbers = _numbers_in(folder)
    if numbers:
        with suppress(FieldError):
            if _read(folder / _name(numbers[-1])).get("boot_id") == boot_id:
                return None
    number = numbers[-1] + 1 if numbers else 1
    kept = {**document, "boot_id": boot_id, "kept_at_s": now_s}
    replace_file(folder / _name(number), json.dumps(kept).encode())
    for old in [*numbers, number][:-KEPT]:
        (folder / _name(old)).unlink(missing_ok=True)
    return number


def past_starts(data: Path, most: int) -> tuple[PastStart, ...]:
    """The last ``most`` starts, the newest first; a damaged record is among them, with its problem.

    Raises:
        StorageError: their folder cannot be read.
    """
    folder = data / FOLDER
    try:
        numbers = _numbers_in(folder)
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise StorageError(f"{folder}: cannot be read: {exc.strerror}") from exc
    newest = reversed(numbers[-most:]) if most else ()
    return tuple(_past_start(folder, number) for number in newest)


def past_start(data: Path, number: int) -> PastStart | None:
    """The start ``number``; None where it is not kept (any more)."""
    path = data / FOLDER / _name(number)
    return _past_start(path.parent, number) if path.exists() else None


def _past_start(folder: Path, number: int) -> PastStart:
    try:
        return _parsed(number, _read(folder / _name(number)))
    except FieldError as exc:
        return PastStart(number, problem=str(exc))


def _parsed(number: int, document: dict[str, object]) -> PastStart:
    kept_at_s, handover = document.get("kept_at_s", 0), document.get("handover", {})
    entries = document.get("entries", [])
    if not isinstance(kept_at_s, int) or not isinstance(handover, dict):
        raise FieldError("no record of a start: kept_at_s or handover is of another type")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise FieldError("no record of a start: entries are no list of objects")
    words = {str(key): str(value) for key, value in handover.items()}
    return PastStart(number, kept_at_s, words, tuple(entries))


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SIZE + 1)
        if len(text) > MAX_SIZE:
            raise FieldError(f"{path}: larger than the record of a start can be")
        document = json.loads(text)
    except OSError as exc:
        raise FieldError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise FieldError(f"{path}: no record of a start: {exc}") from exc
    if not isinstance(document, dict):
        raise FieldError(f"{path}: no record of a start")
    return document


def _numbers_in(folder: Path) -> list[int]:
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def _name(number: int) -> str:
    return f"{number:08d}.json"
