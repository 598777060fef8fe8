"""First clusters of qcow2 files written with ``struct`` alone: the tests' own opinion of them."""

from __future__ import annotations

import struct

FORMAT = (0xE2792ACA, b"qcow2")
"""The extension that names the parent's format."""

OTHER = (0x12345678, b"of another program")


def by_hand(
    *extensions: tuple[int, bytes],
    name: bytes = b"",
    name_at: int = 0,
    version: int = 3,
    bits: int = 16,
    **changes: int,
) -> bytes:
    """A first cluster as the format's document has it."""
    fields = {
        "crypt": 0,
        "l1_offset": 3 << bits,
        "refcount_offset": 1 << bits,
        "snapshots": 0,
        "snapshots_offset": 0,
        "incompatible": 0,
        "length": 112,
        "size": 1 << 20,
        **changes,
    }
    area = b""
    for kind, content in extensions:
        area += struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)
    area += bytes(8)
    start = 72 if version == 2 else fields["length"]
    place = (name_at or start + len(area)) if name else 0
    head = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        version,
        place,
        len(name),
        bits,
        fields["size"],
        fields["crypt"],
        1,
        fields["l1_offset"],
        fields["refcount_offset"],
        1,
        fields["snapshots"],
        fields["snapshots_offset"],
    )
    if version == 3:
        head += struct.pack(">QQQII", fields["incompatible"], 0, 0, 4, fields["length"])
        head = head.ljust(start, b"\0")
    cluster = bytearray((head + area).ljust(1 << bits, b"\0"))
    cluster[place : place + len(name)] = name or cluster[:0]
    return bytes(cluster)
