"""VHD files made with ``struct`` alone, by the words of the specification."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

BLOCK = 64 * 1024


def footer(kind: int, size: int, unique_id: bytes, data_offset: int = 512) -> bytes:
    data = bytearray(512)
    data[:8] = b"conectix"
    struct.pack_into(">IIQ", data, 8, 2, 0x10000, data_offset)
    struct.pack_into(">QQ", data, 40, size, size)
    struct.pack_into(">I", data, 60, kind)
    data[68:84] = unique_id
    return with_checksum(data, 64)


def with_checksum(data: bytearray, at: int) -> bytes:
    data[at : at + 4] = bytes(4)
    struct.pack_into(">I", data, at, ~sum(data) & 0xFFFFFFFF)
    return bytes(data)


def fixed(path: Path, content: bytes, unique_id: bytes = b"f" * 16) -> Path:
    path.write_bytes(content + footer(2, len(content), unique_id, 2**64 - 1))
    return path


def sparse(
    path: Path,
    size: int,
    sectors: Mapping[int, bytes],
    *,
    kind: int = 4,
    unique_id: bytes = b"c" * 16,
    parent: str = "",
    parent_id: bytes = b"f" * 16,
) -> Path:
    """A dynamic (3) or differencing (4) VHD that holds ``sectors`` (number -> 512 bytes)."""
    count = -(-size // BLOCK)
    end = footer(kind, size, unique_id)
    header = bytearray(1024)
    header[:8] = b"cxsparse"
    struct.pack_into(">QQIII", header, 8, 2**64 - 1, 1536, 0x10000, count, BLOCK)
    header[40:56] = parent_id
    name = parent.encode("utf-16-be")
    header[64 : 64 + len(name)] = name
    table_size = -(-count * 4 // 512) * 512
    table, blocks = [0xFFFFFFFF] * count, bytearray()
    for number in sorted({sector * 512 // BLOCK for sector in sectors}):
        table[number] = (1536 + table_size + len(blocks)) // 512
        bitmap, data = bytearray(512), bytearray(BLOCK)
        for sector, content in sectors.items():
            within = sector - number * BLOCK // 512
            if 0 <= within < BLOCK // 512:
                bitmap[within // 8] |= 0x80 >> within % 8
                data[within * 512 : within * 512 + 512] = content
        blocks += bitmap + data
    packed = struct.pack(f">{count}I", *table).ljust(table_size, b"\xff")
    path.write_bytes(end + with_checksum(header, 36) + packed + bytes(blocks) + end)
    return path
