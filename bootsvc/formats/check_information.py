"""Check information: whose version a file of a chain holds, and what stands beside it (S2.4-S2.9).

A version's *information* is SHA-256 over its number as text, its lineage and its file's name, each
in UTF-8 behind its length as a 32-bit number (F2.8). A file holds its own, its parent's and the
next file's, and the identities of its own manifest and its parent's (F2.1, F2.3). It says which
file this claims to be; what its content is, the manifest alone proves.

offset size field
     0    8 magic           "BSVCCHK" and a zero byte
     8    2 format_version  1
    10    2 flags           bit 0: there is a parent; bit 1: next is an end mark
    12    4 length          192
    16   32 own             information of this version
    48   32 parent          of the version below, zeros for a base
    80   32 next            of the file above, or the end mark: random bytes
   112   32 identity        of the manifest, zeros where none is known
   144   32 parent_identity of the manifest of the version below, zeros as in identity
   176   12 reserved        zero
   188    4 crc             CRC-32 of bytes 0..187

The last file's end mark is no information of any version, and no part of equality (F2.5).
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field, replace

from construct import Bytes, Const, Int16ul, Int32ul, Struct

from bootsvc.errors import ChecksumError, FieldError, MagicError, TruncatedError
from bootsvc.formats._codec import crc32, parse_struct
from bootsvc.formats.qcow2 import OUR_MAGIC

FORMAT_VERSION = 1
SIZE = 192
DIGEST_SIZE = 32
MAX_TEXT_SIZE = 1024
"""Bytes of a version's number, lineage or name in UTF-8."""

_HAS_PARENT, _IS_END = 1, 2
_NONE = bytes(DIGEST_SIZE)

LAYOUT = Struct(
    "magic" / Const(OUR_MAGIC),
    "format_version" / Int16ul,
    "flags" / Int16ul,
    "length" / Int32ul,
    "own" / Bytes(DIGEST_SIZE),
    "parent" / Bytes(DIGEST_SIZE),
    "next" / Bytes(DIGEST_SIZE),
    "identity" / Bytes(DIGEST_SIZE),
    "parent_identity" / Bytes(DIGEST_SIZE),
    "reserved" / Bytes(12),
)


@dataclass(frozen=True)
class CheckInformation:
    """What a file of a chain says of itself; every value has 32 bytes.

    Attributes:
        own: information of the version in this file.
        parent: information of the version below it; None for a base.
        identity: of the manifest that it belongs to; None where none is known.
        next: information of the file above, or random bytes where ``is_last``.
        is_last: no file above is known: ``next`` is an end mark.
        parent_identity: identity of the version below; None for a base, or where none is known.
    """

    own: bytes
    parent: bytes | None
    identity: bytes | None
    next: bytes = field(compare=False)
    is_last: bool = field(compare=False)
    parent_identity: bytes | None = None

    @property
    def pair(self) -> tuple[bytes, bytes | None]:
        """The check chain's pair (S2.8): own information, and the next file's, if any."""
        return self.own, None if self.is_last else self.next

    def followed_by(self, own: bytes) -> CheckInformation:
        """The same file once the file with information ``own`` stands above it (F2.5)."""
        return replace(self, next=own, is_last=False)


def information_of(number: int, lineage: str, name: str) -> bytes:
    """The information (32 bytes) of version ``number`` of ``lineage`` (a UUID) in file ``name``.

    Raises:
        FieldError: no UUID, or a text that is empty, too long or not to be written in UTF-8.
    """
    try:
        lineage = str(uuid.UUID(lineage))
        parts = [text.encode() for text in (str(number), lineage, name)]
    except ValueError as exc:
        raise FieldError(f"check information: {exc}") from exc
    if number < 0 or not all(0 < len(part) <= MAX_TEXT_SIZE for part in parts):
        raise FieldError(
            f"check information: number, lineage and name must have 1 to {MAX_TEXT_SIZE} bytes"
        )
    text = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    return hashlib.sha256(text).digest()


def last_of_chain(
    own: bytes,
    parent: bytes | None,
    identity: bytes | None,
    end_mark: bytes,
    parent_identity: bytes | None = None,
) -> CheckInformation:
    """What the newest file of a chain holds. ``end_mark``: 32 random bytes.

    Raises:
        FieldError: the end mark is the information of this version or its parent (S2.9).
    """
    if end_mark in (own, parent, _NONE):
        raise FieldError("check information: the end mark is another value's, not random")
    return CheckInformation(
        own, parent, identity, end_mark, is_last=True, parent_identity=parent_identity
    )


def build_information(information: CheckInformation) -> bytes:
    """The 192 bytes of ``information``. Raises FieldError: a value has not 32 bytes, or is zero."""
    _check(information)
    body = bytes(
        LAYOUT.build(
            {
                "format_version": FORMAT_VERSION,
                "flags": _HAS_PARENT * (information.parent is not None)
                | _IS_END * information.is_last,
                "length": SIZE,
                "own": information.own,
                "parent": information.parent or _NONE,
                "next": information.next,
                "identity": information.identity or _NONE,
                "parent_identity": information.parent_identity or _NONE,
                "reserved": bytes(12),
            }
        )
    )
    return body + int(crc32(body)).to_bytes(4, "little")


def parse_information(data: bytes) -> CheckInformation:
    """The check information at the beginning of ``data``.

    Raises:
        MagicError: there is none.
        TruncatedError, ChecksumError, FieldError: it is damaged.
    """
    if not data.startswith(OUR_MAGIC):
        raise MagicError("there is no check information here")
    if len(data) < SIZE:
        raise TruncatedError(f"check information: {len(data)} bytes instead of {SIZE}")
    body, crc = data[: SIZE - 4], data[SIZE - 4 : SIZE]
    if crc32(body) != int.from_bytes(crc, "little"):
        raise ChecksumError("check information: CRC-32 does not fit")
    fields = parse_struct(LAYOUT, body, "check information")
    if (fields.format_version, fields.length) != (FORMAT_VERSION, SIZE):
        raise FieldError(f"check information: format version {fields.format_version} is unknown")
    has_parent = bool(fields.flags & _HAS_PARENT)
    below = (fields.parent, fields.parent_identity)
    if fields.flags & ~(_HAS_PARENT | _IS_END) or (not has_parent and below != (_NONE, _NONE)):
        raise FieldError("check information: its flags do not fit its values")
    information = CheckInformation(
        own=fields.own,
        parent=fields.parent if has_parent else None,
        identity=fields.identity if fields.identity != _NONE else None,
        next=fields.next,
        is_last=bool(fields.flags & _IS_END),
        parent_identity=fields.parent_identity if fields.parent_identity != _NONE else None,
    )
    _check(information)
    return information


def _check(information: CheckInformation) -> None:
    identities = (information.identity, information.parent_identity)
    for value in (information.own, information.parent, information.next, *identities):
        if value is not None and (len(value) != DIGEST_SIZE or value == _NONE):
            raise FieldError("check information: a value is not 32 bytes, or all zeros")
    if information.parent is None and information.parent_identity is not None:
        raise FieldError("check information: a base has no version below it")
    if information.next in (information.own, information.parent):
        raise FieldError("check information: the file is said to stand above itself")
