"""ELF notes, as a kernel shows its own in /sys/kernel/notes and keeps them in its file.

offset size field
     0    4 name_size     bytes, with the final NUL
     4    4 size          bytes of the content
     8    4 kind          3 with the name "GNU": the build-id
    12      name, then content, each padded to 4 bytes
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<III")
_NAME = b"GNU\0"
_BUILD_ID = 3


def build_id_among(notes: bytes) -> str:
    """The GNU build-id among ``notes`` (little-endian) in hexadecimal; empty where there is none.

    Notes that are cut short end the search.
    """
    at = 0
    while at + _HEADER.size <= len(notes):
        name_size, size, kind = _HEADER.unpack_from(notes, at)
        name = notes[at + _HEADER.size :][:name_size]
        at += _HEADER.size + _padded(name_size)
        # Xen's notes use the same numbers under another name.
        if kind == _BUILD_ID and name == _NAME:
            return notes[at : at + size].hex()
        at += _padded(size)
    return ""


def _padded(size: int) -> int:
    return -(-size // 4) * 4
