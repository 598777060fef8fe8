"""What qcow2 files say in their first cluster: headers, extensions, check information."""

from __future__ import annotations

import struct
import zlib
from dataclasses import astuple

from bootsvc.chains.qcow2_file import read_head
from bootsvc.formats import qcow2
from bootsvc.formats.check_information import (
    SIZE,
    CheckInformation,
    build_information,
    parse_information,
)
from bootsvc.formats.qcow2 import Header
from tests.formats.heads import FORMAT, OTHER, by_hand

OURS = CheckInformation(b"o" * 32, b"p" * 32, b"i" * 32, b"n" * 32, is_last=False)


def qcow2_header(data: bytes) -> None:
    """Read, then given our extension: all others, name and size stay as they were."""
    found = read_head(data, "input")
    assert found.header.used_to <= min(found.header.cluster_size, qcow2.MAX_HEADER_SIZE)
    content = build_information(OURS)
    after = qcow2.applied(data, qcow2.ours_set(data, content))
    assert len(after) == len(data)
    again = read_head(after, "output")
    assert (again.information, again.place) == (OURS, "extension")
    assert _of_others(again.header) == _of_others(found.header)
    without = qcow2.applied(after, qcow2.ours_removed(after))
    assert _of_others(qcow2.parse_header(without)) == _of_others(found.header)


def check_information(data: bytes) -> None:
    found = parse_information(data)
    built = build_information(found)
    assert astuple(parse_information(built)) == astuple(found)


def check_information_repaired(data: bytes) -> None:
    body = data.ljust(SIZE, b"\0")[: SIZE - 4]
    check_information(body + struct.pack("<I", zlib.crc32(body)))


def heads() -> tuple[bytes, ...]:
    ours = (qcow2.OUR_TYPE, build_information(OURS))
    return (
        by_hand(FORMAT, OTHER, name=b"base.qcow2", bits=12),
        by_hand(ours, OTHER, bits=10, version=2),
        by_hand(FORMAT, ours, name=b"base", name_at=2000, bits=12),
    )


def informations() -> tuple[bytes, ...]:
    base = CheckInformation(b"o" * 32, None, None, b"n" * 32, is_last=True)
    return (build_information(OURS), build_information(base))


def _of_others(header: Header) -> tuple[object, ...]:
    kept = [
        one
        for one in header.extensions
        if not (one.kind == qcow2.OUR_TYPE and one.content.startswith(qcow2.OUR_MAGIC))
    ]
    return kept, header.backing_name, header.size, header.snapshots
