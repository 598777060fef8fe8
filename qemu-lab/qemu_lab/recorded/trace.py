"""QEMU's trace of the requests to a virtio disk: unlike the log of writes it shows reads.

A read is on one line when it is submitted and on another when it is complete; between them others
may be on their way. A request that is completed without having been seen as a read or write is a
flush: the trace has no line for its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qemu_lab.errors import WriteLogError

SECTOR = 512
MAX_LINES = 1_000_000

_LINE = re.compile(
    r"virtio_blk_(?:handle_(?P<kind>read|write)|req_complete) vdev (?P<disk>\S+) req (?P<req>\S+) "
    r"(?:sector (?P<sector>\d+) nsectors (?P<count>\d+)|status (?P<status>\d+))"
)


@dataclass(frozen=True)
class Request:
    """One request that the disk completed.

    Attributes:
        kind: read, write or flush.
        where: the bytes of the disk that it read or wrote; empty for a flush.
        submitted, completed: numbers of lines; a flush counts as submitted when complete.
    """

    kind: str
    where: range
    submitted: int
    completed: int


def options(path: Path) -> tuple[str, ...]:
    """QEMU's options that have it write the trace to ``path``."""
    events = ("virtio_blk_handle_read", "virtio_blk_handle_write", "virtio_blk_req_complete")
    return (*(word for event in events for word in ("-trace", f"enable={event}")), "-D", str(path))


def parse_trace(lines: Iterable[str]) -> list[Request]:
    """The requests to the disk that was written to, in the order in which they were completed.

    Raises:
        WriteLogError: more lines than any scenario makes, or two disks were written to.
    """
    begun: dict[tuple[str, str], tuple[str, range, int]] = {}
    done: list[tuple[str, Request]] = []
    for number, line in enumerate(lines):
        if number >= MAX_LINES:
            raise WriteLogError(f"the trace has more than {MAX_LINES} lines")
        found = _LINE.search(line)
        if found is None:
            continue
        disk, key = found["disk"], (found["disk"], found["req"])
        if found["kind"]:
            start = int(found["sector"]) * SECTOR
            begun[key] = found["kind"], range(start, start + int(found["count"]) * SECTOR), number
        elif found["status"] == "0":
            kind, where, submitted = begun.pop(key, ("flush", range(0), number))
            done.append((disk, Request(kind, where, submitted, number)))
        else:
            begun.pop(key, None)
    written = {disk for disk, one in done if one.kind == "write"}
    if len(written) > 1:
        raise WriteLogError(f"the trace shows writes to {len(written)} disks")
    return [one for disk, one in done if disk in written]
