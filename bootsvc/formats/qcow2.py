"""The header of a qcow2 file, its extensions, and room for our own (qemu docs/interop/qcow2.txt).

All of it lies in the file's first cluster; numbers are big-endian. Offsets within it:

    | header, 72 or header_length | extension ... | end mark | ... | backing name | ... | 3072 ... |
    0                                                                                cluster_size
    extension: type u32, length u32, content, padded to 8 bytes; type 0 ends them

Whatever lies between the end mark and the end of the cluster, the backing file's name apart, is not
data by the rules of the format: who changes the header may overwrite it, and qemu does. Check
information therefore stands in an extension of our own; at byte 3072 there is a copy where it harms
nobody (F2.4). A change comes as ``Write`` values: done one by one, each with its flush, the file is
valid after every one of them and in the middle of each, the removal of an extension that others
follow apart.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import construct
from construct import Const, Int32ub, Int64ub, Struct

from bootsvc.errors import FieldError, MagicError, TruncatedError
from bootsvc.formats._codec import parse_struct
from bootsvc.units import KIB, round_up

MAGIC = b"QFI\xfb"
MAX_HEADER_SIZE = 64 * KIB
"""Bytes of the first cluster that are looked at: an extension beyond them is refused."""

MAX_NAME_SIZE = 1023
MAX_DISK_SIZE = 1 << 60
OUR_TYPE = 0xB0075C01
OUR_MAGIC = b"BSVCCHK\0"
"""Our extension is found by type and magic together: another program may use the same type."""

BACKING_FORMAT = 0xE2792ACA
COMPATIBLE_OFFSET = 3072

_BACKING_OFFSET_AT = 8
_HEAD = struct.Struct(">II")
_END = bytes(_HEAD.size)
_SIZE_2, _SIZE_3 = 72, 104
_MIN_CLUSTER_BITS, _MAX_CLUSTER_BITS = 9, 21

_DIRTY, _CORRUPT, _EXTERNAL, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = _DIRTY | _CORRUPT | _EXTERNAL | _COMPRESSION | _EXTENDED_L2

_FIELDS = (
    "magic" / Const(MAGIC),
    "version" / Int32ub,
    "backing_offset" / Int64ub,
    "backing_size" / Int32ub,
    "cluster_bits" / Int32ub,
    "size" / Int64ub,
    "crypt_method" / Int32ub,
    "l1_size" / Int32ub,
    "l1_offset" / Int64ub,
    "refcount_offset" / Int64ub,
    "refcount_clusters" / Int32ub,
    "snapshots" / Int32ub,
    "snapshots_offset" / Int64ub,
)
_LAYOUT_2 = Struct(*_FIELDS)
_LAYOUT_3 = Struct(
    *_FIELDS,
    "incompatible" / Int64ub,
    "compatible" / Int64ub,
    "autoclear" / Int64ub,
    "refcount_order" / Int32ub,
    "header_length" / Int32ub,
)


@dataclass(frozen=True)
class Extension:
    """A header extension: its type, and its content without padding."""

    kind: int
    content: bytes

    def build(self) -> bytes:
        """Its bytes, padded to 8."""
        padding = bytes(round_up(len(self.content), 8) - len(self.content))
        return _HEAD.pack(self.kind, len(self.content)) + self.content + padding


@dataclass(frozen=True)
class Header:
    """What a qcow2 file's first cluster says. Sizes and offsets are bytes.

    Attributes:
        version: 2 or 3.
        size: bytes of the disk that a guest sees.
        cluster_size: bytes.
        backing_name: the parent's name as it stands there; None: a base.
        backing_offset: where that name stands; 0 for a base.
        is_encrypted, snapshots, incompatible: see the format.
        extensions: all of them, in their order.
        extensions_at: where they begin.
        end_at: where their end mark stands.
    """

    version: int
    size: int
    cluster_size: int
    backing_name: str | None
    backing_offset: int
    is_encrypted: bool
    snapshots: int
    incompatible: int
    extensions: tuple[Extension, ...]
    extensions_at: int
    end_at: int

    @property
    def backing_format(self) -> str:
        """The parent's format as it stands there, or empty."""
        found = [one.content for one in self.extensions if one.kind == BACKING_FORMAT]
        return found[0].decode("ascii", "replace") if found else ""

    @property
    def used_to(self) -> int:
        """Where extensions and name have both ended."""
        name = len((self.backing_name or "").encode())
        return max(self.end_at + len(_END), self.backing_offset + name)


@dataclass(frozen=True)
class Write:
    """Bytes to be written at an offset, and flushed before the next ones."""

    offset: int
    data: bytes


def parse_header(head: bytes) -> Header:
    """The header at the beginning of ``head``, a file's first bytes, ``MAX_HEADER_SIZE`` at most.

    Raises:
        MagicError: not qcow2, or its version 1.
        TruncatedError: the file ends before its header does.
        FieldError: a field out of its range, or of the first cluster.
    """
    if len(head) < len(MAGIC) or not head.startswith(MAGIC):
        raise MagicError("not a qcow2 file")
    if len(head) < 8:
        raise TruncatedError("qcow2 header: the file ends within it")
    version = int.from_bytes(head[4:8], "big")
    if version == 1:
        raise MagicError("qcow version 1, which is another format than qcow2")
    if version not in (2, 3):
        raise FieldError(f"qcow2 header: version {version} is unknown")
    fields = parse_struct(_LAYOUT_2 if version == 2 else _LAYOUT_3, head, "qcow2 header")
    if not _MIN_CLUSTER_BITS <= fields.cluster_bits <= _MAX_CLUSTER_BITS:
        raise FieldError(f"qcow2 header: clusters of 2^{fields.cluster_bits} bytes")
    cluster_size = 1 << fields.cluster_bits
    if fields.size > MAX_DISK_SIZE:
        raise FieldError(f"qcow2 header: a disk of {fields.size} bytes is out of range")
    start = _SIZE_2 if version == 2 else fields.header_length
    limit = min(cluster_size, MAX_HEADER_SIZE)
    if start % 8 or not (_SIZE_2 if version == 2 else _SIZE_3) <= start <= limit - len(_END):
        raise FieldError(f"qcow2 header: a length of {start} bytes is out of range")
    _check_tables(fields, cluster_size)
    name = _backing_name(head, fields.backing_offset, fields.backing_size, cluster_size)
    if name is not None and fields.backing_offset < start:
        raise FieldError("qcow2 header: the backing file's name lies within the header")
    extensions, end_at = _parse_extensions(head, start, min(limit, fields.backing_offset or limit))
    return Header(
        version=version,
        size=fields.size,
        cluster_size=cluster_size,
        backing_name=name,
        backing_offset=fields.backing_offset if name is not None else 0,
        is_encrypted=fields.crypt_method != 0,
        snapshots=fields.snapshots,
        incompatible=0 if version == 2 else fields.incompatible,
        extensions=extensions,
        extensions_at=start,
        end_at=end_at,
    )


def unsupported(header: Header) -> str:
    """Why a chain does not take such a file, in words; empty where it does."""
    incompatible = header.incompatible
    if header.is_encrypted:
        return "it is encrypted"
    if incompatible & _EXTERNAL:
        return "its data lies in another file"
    if incompatible & _COMPRESSION:
        return "its clusters are compressed by another method than zlib"
    if incompatible & _CORRUPT:
        return "it is marked as corrupt"
    if incompatible & _DIRTY:
        return "it was not closed properly"
    if incompatible & ~_KNOWN:
        return f"it uses features that are unknown here ({incompatible & ~_KNOWN:#x})"
    if header.snapshots:
        return "it has snapshots inside"
    return ""


def find_ours(header: Header) -> bytes | None:
    """The content of our extension, or None. Raises FieldError: it stands there twice."""
    found = [one.content for one in header.extensions if _is_ours(one)]
    if len(found) > 1:
        raise FieldError("qcow2 header: check information stands there twice")
    return found[0] if found else None


def ours_set(head: bytes, content: bytes) -> tuple[Write, ...]:
    """The writes after which our extension has ``content``, and all others are as they were.

    The same length is overwritten in place; otherwise the extension goes behind the last one, after
    the backing file's name has moved out of its way.

    Raises:
        FormatError: as ``parse_header``; FieldError as well where the first cluster has no room.
    """
    header = parse_header(head)
    at = _offset_of_ours(header)
    present = find_ours(header)
    if at is not None and present is not None:
        if len(present) == len(content):
            return (Write(at + _HEAD.size, content),)
        removal = ours_removed(head)
        return removal + ours_set(applied(head, removal), content)
    new = Extension(OUR_TYPE, content).build()
    body_at = header.end_at + _HEAD.size
    body = new[_HEAD.size :] + _END
    writes: list[Write] = []
    name = (header.backing_name or "").encode()
    if header.backing_name is not None and header.backing_offset < body_at + len(body):
        moved = _place_of_name(header, body_at + len(body), len(name))
        writes.append(Write(moved, name))
        writes.append(Write(_BACKING_OFFSET_AT, moved.to_bytes(8, "big")))
    elif body_at + len(body) > min(header.cluster_size, MAX_HEADER_SIZE):
        raise _no_room(header)
    if body_at + len(body) > len(head) or any(
        one.offset + len(one.data) > len(head) for one in writes
    ):
        raise TruncatedError("qcow2 header: the file ends within its first cluster")
    # Until the head is there, the old end mark hides the body.
    return (*writes, Write(body_at, body), Write(header.end_at, new[: _HEAD.size]))


def ours_removed(head: bytes) -> tuple[Write, ...]:
    """The writes after which our extension is gone, and all others are as they were.

    Raises:
        FormatError: as ``parse_header``.
    """
    header = parse_header(head)
    at = _offset_of_ours(header)
    if at is None:
        return ()
    index = [_is_ours(one) for one in header.extensions].index(True)
    rest = b"".join(one.build() for one in header.extensions[index + 1 :])
    return (Write(at, rest + _END),)


def is_free_at_3072(head: bytes, size: int) -> bool:
    """Whether ``size`` bytes at offset 3072 may be written: they lie in the first cluster, behind
    extensions and name, and hold nothing or our own.

    Raises:
        FormatError: as ``parse_header``.
    """
    header = parse_header(head)
    end = COMPATIBLE_OFFSET + size
    if end > header.cluster_size or header.used_to > COMPATIBLE_OFFSET:
        return False
    present = head[COMPATIBLE_OFFSET:end]
    return len(present) == size and (present.startswith(OUR_MAGIC) or not any(present))


def applied(head: bytes, writes: tuple[Write, ...]) -> bytes:
    """``head`` after ``writes``."""
    data = bytearray(head)
    for one in writes:
        data[one.offset : one.offset + len(one.data)] = one.data
    return bytes(data)


def _check_tables(fields: construct.Container, cluster_size: int) -> None:
    for name, is_there in (
        ("l1_offset", fields.l1_size),
        ("refcount_offset", True),
        ("snapshots_offset", fields.snapshots),
    ):
        offset = getattr(fields, name)
        if is_there and (offset < cluster_size or offset % cluster_size):
            raise FieldError(f"qcow2 header: {name} {offset} is no place of a table")


def _backing_name(head: bytes, offset: int, size: int, cluster_size: int) -> str | None:
    if not offset:
        return None
    if not 0 < size <= MAX_NAME_SIZE or offset + size > min(cluster_size, MAX_HEADER_SIZE):
        raise FieldError("qcow2 header: the backing file's name does not lie in the first cluster")
    raw = head[offset : offset + size]
    if len(raw) < size:
        raise TruncatedError("qcow2 header: the file ends within the backing file's name")
    try:
        name = raw.decode()
    except UnicodeDecodeError as exc:
        raise FieldError("qcow2 header: the backing file's name is not UTF-8") from exc
    if "\0" in name:
        raise FieldError("qcow2 header: the backing file's name has a zero byte")
    return name


def _parse_extensions(head: bytes, start: int, limit: int) -> tuple[tuple[Extension, ...], int]:
    found: list[Extension] = []
    at = start
    while True:
        if at + _HEAD.size > limit:
            raise FieldError("qcow2 header: its extensions have no end mark")
        if at + _HEAD.size > len(head):
            raise TruncatedError("qcow2 header: the file ends within its extensions")
        kind, size = _HEAD.unpack_from(head, at)
        if kind == 0:
            return tuple(found), at
        end = at + _HEAD.size + size
        if end > limit:
            raise FieldError(f"qcow2 header: extension {kind:#x} does not lie in the first cluster")
        if end > len(head):
            raise TruncatedError(f"qcow2 header: the file ends within extension {kind:#x}")
        found.append(Extension(kind, head[at + _HEAD.size : end]))
        at = round_up(end, 8)


def _is_ours(extension: Extension) -> bool:
    return extension.kind == OUR_TYPE and extension.content.startswith(OUR_MAGIC)


def _offset_of_ours(header: Header) -> int | None:
    at = header.extensions_at
    for one in header.extensions:
        if _is_ours(one):
            return at
        at += len(one.build())
    return None


def _place_of_name(header: Header, earliest: int, size: int) -> int:
    """Where the name goes: behind ``earliest``, not onto itself, not onto what is at 3072."""
    taken = (
        (header.backing_offset, header.backing_offset + size),
        (COMPATIBLE_OFFSET, COMPATIBLE_OFFSET + KIB),
    )
    at = round_up(earliest, 8)
    for first, last in taken * 2:
        if at < last and first < at + size:
            at = round_up(last, 8)
    if at + size > min(header.cluster_size, MAX_HEADER_SIZE):
        raise _no_room(header)
    return at


def _no_room(header: Header) -> FieldError:
    return FieldError(
        f"qcow2 header: a first cluster of {header.cluster_size} bytes has no room for check"
        " information",
        hint="make the file with larger clusters (qemu-img's default is 64 KiB)",
    )
