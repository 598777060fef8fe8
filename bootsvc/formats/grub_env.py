"""GRUB's environment block: the few words by which boot loader and system talk to each other. Pure.

1024 bytes, which GRUB's ``load_env`` reads and ``save_env`` writes in place (GRUB 2.06,
``grub-core/lib/envblk.c``). It has no checksum: who reads it must doubt every value.

    # GRUB Environment Block\\n      the magic, 25 bytes
    name=value\\n                    a backslash stands before a newline or backslash in a value
    #                               other lines of this kind are remarks
    #######...                      up to the end
"""

from __future__ import annotations

from collections.abc import Mapping

from bootsvc.errors import FieldError, MagicError, TruncatedError
from bootsvc.units import SECTOR_SIZE

SIZE = 1024
MAGIC = b"# GRUB Environment Block\n"
_FILL = b"#"


def build(values: Mapping[str, str]) -> bytes:
    """The block that holds ``values``.

    All that differs between two blocks stands in the first 512 bytes: a disk writes those whole or
    not at all, so a power cut between the sectors of a block changes nothing.

    Raises:
        FieldError: they do not fit there.
    """
    lines = b"".join(f"{name}={_escaped(value)}\n".encode() for name, value in values.items())
    if len(MAGIC) + len(lines) > SECTOR_SIZE:
        raise FieldError(f"{len(lines)} bytes of values do not fit the block's first sector")
    return (MAGIC + lines).ljust(SIZE, _FILL)


def parse(block: bytes) -> dict[str, str]:
    """The values in a block; what is no ``name=value`` is passed over, as GRUB does.

    Raises:
        TruncatedError, MagicError: it is no environment block.
    """
    if len(block) < SIZE:
        raise TruncatedError(f"environment block: {len(block)} bytes instead of {SIZE}")
    if not block.startswith(MAGIC):
        raise MagicError("environment block: magic not found")
    found = {}
    for line in _lines(block[len(MAGIC) : SIZE].decode("ascii", "replace")):
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            found[name] = value
    return found


def _lines(text: str) -> list[str]:
    """The finished lines of ``text``, without their escapes."""
    lines, line, is_escaped = [], "", False
    for char in text:
        if char == "\\" and not is_escaped:
            is_escaped = True
        elif char == "\n" and not is_escaped:
            lines.append(line)
            line = ""
        else:
            line += char
            is_escaped = False
    return lines


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\\n")
