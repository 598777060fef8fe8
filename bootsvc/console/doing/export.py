"""All that is known of a machine, in one JSON document: on the screen, or on a stick."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.console.actions import LOOK, Outcome
from bootsvc.console.doing.disks import named_or_numbered
from bootsvc.console.facts import Facts
from bootsvc.console.messages import facts_document
from bootsvc.errors import BootsvcError, StorageError
from bootsvc.formats.boot_status import RECORD_SIZE
from bootsvc.storage.disk import Disk
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.console.perform import Session

SCHEMA = 1
"""Version of the document; raised when a field changes its meaning or goes."""

SCREEN = "screen"
PAST_STARTS = 20
"""Starts before this one that are exported, where data keeps them."""


def export(session: Session, answers: Mapping[str, str]) -> Outcome:
    """Show the document, list where it could be left, or leave it there."""
    answer = answers["to"]
    if answer == LOOK:
        return _look_around(session)
    text = json.dumps(document_of(session), indent=1, default=str)
    if answer == SCREEN:
        return Outcome(is_done=True, lines=tuple(text.splitlines()))
    return _leave(session, named_or_numbered(session, "export", answer), text.encode("ascii"))


def document_of(session: Session) -> dict[str, object]:
    """The document: record (raw and decoded), this start, past starts, hardware."""
    from bootsvc.boot.hardware import hardware

    facts = session.facts()
    disk = session.runner.disk if session.runner else None
    return {
        "schema": SCHEMA,
        "bootsvc": facts.bootsvc,
        "made_at_s": facts.clock_s,
        "facts": facts_document(facts),
        "record": _copies(disk) if disk else [],
        "start": session.reporter.entries,
        "past_starts": _past_starts(disk) if disk else [],
        "hardware": hardware(),
    }


def _copies(disk: Disk) -> list[dict[str, object]]:
    """Both copies of the record as their bytes stand on the disk."""
    found: list[dict[str, object]] = []
    states = disk.status.copies()
    for offset, state in zip(COPY_OFFSETS, states, strict=True):
        copy: dict[str, object] = {"offset": offset, "problem": state.problem}
        try:
            data = disk.status.device.read_at(offset, RECORD_SIZE)
            copy["base64"] = base64.b64encode(data).decode("ascii")
        except StorageError as exc:
            copy["problem"] = str(exc)
        found.append(copy)
    return found


def _past_starts(disk: Disk) -> list[dict[str, object]]:
    """What data keeps of past starts; a sentence in their place where it cannot be read."""
    from bootsvc.boot import media
    from bootsvc.boot.disks import partition_node
    from bootsvc.os_side.start_log import past_starts

    try:
        with media.mounted(partition_node(disk, "data")) as data:
            return [dict(vars(one)) for one in past_starts(data, PAST_STARTS)]
    except (BootsvcError, OSError) as exc:
        return [{"problem": str(exc)}]


def _look_around(session: Session) -> Outcome:
    from bootsvc.boot.stick import places

    found = [str(one) for one in places(_own_node(session))]
    session.listed["export"] = tuple(found)
    lines = [f"{number}: {node}" for number, node in enumerate(found, 1)]
    lines = lines or [
        "No disk with a file system (vfat, ext4) but the machine's own is plugged in."
    ]
    return Outcome(is_done=True, lines=tuple(lines), facts=(("places", found),))


def _leave(session: Session, node: str, content: bytes) -> Outcome:
    from bootsvc.boot.stick import leave

    name = file_name(session.facts(), time.gmtime())
    leave(Path(node), name, content, _own_node(session))
    line = f"{name} ({describe_size(len(content))}) was written to {node} and read back."
    return Outcome(
        is_done=True, lines=(line, "The disk can be taken out."), facts=(("file", name),)
    )


def file_name(facts: Facts, now: time.struct_time) -> str:
    """``bootsvc-lab-20261122-063000.json``: which machine type, and when. Pure."""
    when = time.strftime("%Y%m%d-%H%M%S", now) if facts.clock_s else "undated"
    kind = "".join(one if one.isalnum() and one.isascii() else "-" for one in facts.compatible)
    return f"bootsvc-{kind[:24]}-{when}.json"


def _own_node(session: Session) -> str:
    return session.runner.disk.device.name if session.runner else ""
