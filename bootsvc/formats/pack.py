"""A pack: blocks that a version brought new into an image store, packed in frames (S0.3, S0.4).

object: | frame 0 | frame 1 | ... | digests | header |

    frame    256 blocks (the last frame has the rest) as one zstd frame, or as they are where
             packing does not pay, which the stored size tells
    digests  SHA-256 of each block, 32 bytes each, in the order of the blocks; a *page* holds those
             of one frame, and the header has the page's own SHA-256
    header   the table below; its SHA-256 is the pack's *identity*, and the object's name

header: offset size field
             0    8 magic "BSVCPACK"
             8    4 format_version  1
            12    4 block_count     at most 2^30
            16    4 frame_count     one for each 256 blocks
            20    4 run_count       of all references together
            24   32 base            identity of the image that references point into; 0 for none
            56      frame_count times
                    4 stored_size   bytes of the frame as it is stored
                   32 page_sha256   of the frame's page of digests
                    4 run_count     of the frame's reference
                    then run_count times {first u32, count u32}: blocks of the base image

A pack with a base is a *delta*: its frames are packed against blocks that a machine with the base
image holds. Who has header, pages and frames from anywhere can tell whether they are right: by the
identity, by the header, by the pages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate, pairwise

from construct import Array, Bytes, Const, Int32ul, Struct, this

from bootsvc.errors import ChecksumError, FieldError, TruncatedError
from bootsvc.formats._codec import parse_struct
from bootsvc.formats._columns import build_u32s, parse_u32s
from bootsvc.formats.compression import MAX_REFERENCE, packed, unpacked
from bootsvc.formats.tree import DIGEST_SIZE
from bootsvc.units import BLOCK_SIZE, MIB

MAGIC = b"BSVCPACK"
FORMAT_VERSION = 1
FRAME_BLOCKS = 256
FRAME_SIZE = FRAME_BLOCKS * BLOCK_SIZE
"""1 MiB: large enough to pack well, small enough that a block alone costs little."""

MAX_HEADER_SIZE = 64 * MIB
MAX_BLOCKS = 1 << 30
NO_BASE = bytes(DIGEST_SIZE)

_RUN_SIZE = 8

_FRAME = Struct(
    "stored_size" / Int32ul,
    "page_sha256" / Bytes(DIGEST_SIZE),
    "run_count" / Int32ul,
    # Numbers by the thousand, for which an object each would be too much.
    "reference" / Bytes(this.run_count * _RUN_SIZE),
)

_HEAD = Struct(
    "magic" / Const(MAGIC),
    "format_version" / Int32ul,
    "block_count" / Int32ul,
    "frame_count" / Int32ul,
    "run_count" / Int32ul,
    "base" / Bytes(DIGEST_SIZE),
)


@dataclass(frozen=True)
class Frame:
    """One frame of a pack.

    Attributes:
        stored_size: bytes of it in the object.
        page_sha256: of the digests of its blocks, 32 bytes.
        reference: blocks of the base image that it is packed against, in order.
    """

    stored_size: int
    page_sha256: bytes
    reference: tuple[range, ...] = ()


@dataclass(frozen=True)
class PackHeader:
    """The table of a pack. Offsets count bytes from the object's beginning.

    Attributes:
        block_count: blocks in all frames.
        base: identity of the image that references point into, or None.
    """

    block_count: int
    frames: tuple[Frame, ...]
    base: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of the header."""
        run_count = sum(len(frame.reference) for frame in self.frames)
        return _header_size(len(self.frames), run_count)

    @property
    def object_size(self) -> int:
        """Bytes of the whole object."""
        return self.digests_at + self.block_count * DIGEST_SIZE + self.size

    @property
    def digests_at(self) -> int:
        """Where the first page of digests lies, behind the frames."""
        return sum(frame.stored_size for frame in self.frames)

    def blocks(self, frame: int) -> range:
        """The numbers of the blocks in a frame."""
        first = frame * FRAME_BLOCKS
        return range(first, min(first + FRAME_BLOCKS, self.block_count))

    def page_place(self, frame: int) -> range:
        """Where the frame's page lies among the digests: offsets from ``digests_at``."""
        blocks = self.blocks(frame)
        return range(blocks.start * DIGEST_SIZE, blocks.stop * DIGEST_SIZE)

    def frame_places(self) -> list[range]:
        """Where each frame lies."""
        sizes = (frame.stored_size for frame in self.frames)
        return [range(start, end) for start, end in pairwise(accumulate(sizes, initial=0))]


def build_pack_header(header: PackHeader) -> bytes:
    """The header's bytes."""
    head = {
        "format_version": FORMAT_VERSION,
        "block_count": header.block_count,
        "frame_count": len(header.frames),
        "run_count": sum(len(frame.reference) for frame in header.frames),
        "base": header.base or NO_BASE,
    }
    frames = [
        _FRAME.build(
            {
                "stored_size": frame.stored_size,
                "page_sha256": frame.page_sha256,
                "run_count": len(frame.reference),
                "reference": build_u32s(
                    number for run in frame.reference for number in (run.start, len(run))
                ),
            }
        )
        for frame in header.frames
    ]
    return b"".join([_HEAD.build(head), *frames])


def parse_pack_header(data: bytes, identity: bytes) -> PackHeader:
    """The header in ``data``, all of it.

    Args:
        identity: the pack's, 32 bytes.

    Raises:
        ChecksumError: it is another pack's, or damaged.
        FormatError: it is the right one, and still no header.
    """
    if hashlib.sha256(data).digest() != identity:
        raise ChecksumError(f"pack {identity.hex()[:12]}: its header is damaged, or another pack's")
    what = f"pack {identity.hex()[:12]}"
    head = parse_struct(_HEAD, data, what)
    _check_head(head.format_version, head.block_count, head.frame_count, what)
    size = _header_size(head.frame_count, head.run_count)
    if len(data) != size:
        raise TruncatedError(f"{what}: its header has {len(data)} bytes instead of {size}")
    parsed = parse_struct(Array(head.frame_count, _FRAME), data[_header_size(0, 0) :], what)
    frames = tuple(
        Frame(
            one.stored_size,
            one.page_sha256,
            _reference(one.reference),
        )
        for one in parsed
    )
    header = PackHeader(head.block_count, frames, head.base if any(head.base) else None)
    for number, frame in enumerate(frames):
        _check_frame(header, number, frame, what)
    return header


def _reference(data: bytes) -> tuple[range, ...]:
    numbers = parse_u32s(data)
    return tuple(
        range(first, first + count)
        for first, count in zip(numbers[::2], numbers[1::2], strict=True)
    )


def build_frame(content: bytes, level: int, reference: bytes = b"") -> bytes:
    """The frame of some blocks as it is stored."""
    stored = packed(content, level, reference)
    return stored if len(stored) < len(content) else content


def unpack_frame(
    stored: bytes | memoryview, block_count: int, what: str, reference: bytes = b""
) -> bytes | memoryview:
    """The blocks of a frame; nothing says yet that they are the right ones.

    Args:
        what: names it in errors.
        reference: the blocks of the base image that it was packed against.

    Raises:
        FormatError: it cannot be unpacked, or is another number of blocks.
    """
    size = block_count * BLOCK_SIZE
    if len(stored) == size:
        return stored
    content = unpacked(stored, size, what, reference)
    if len(content) != size:
        raise TruncatedError(f"{what}: a frame of {len(content)} bytes instead of {size}")
    return content


def check_page(page: bytes, header: PackHeader, frame: int, what: str) -> None:
    """Raise ChecksumError unless ``page`` has the digests of the frame's blocks."""
    if hashlib.sha256(page).digest() != header.frames[frame].page_sha256:
        raise ChecksumError(f"{what}: the digests of frame {frame} are damaged")


def _header_size(frame_count: int, run_count: int) -> int:
    frame_size = 4 + DIGEST_SIZE + 4
    return int(_HEAD.sizeof()) + frame_size * frame_count + _RUN_SIZE * run_count


def _check_head(version: int, block_count: int, frame_count: int, what: str) -> None:
    if version != FORMAT_VERSION:
        raise FieldError(f"{what}: format version {version} is unknown")
    if not 0 < block_count <= MAX_BLOCKS or frame_count != -(-block_count // FRAME_BLOCKS):
        raise FieldError(f"{what}: {block_count} blocks in {frame_count} frames")


def _check_frame(header: PackHeader, number: int, frame: Frame, what: str) -> None:
    length = len(header.blocks(number)) * BLOCK_SIZE
    if not 0 < frame.stored_size <= length:
        raise FieldError(f"{what}: frame {number} claims {frame.stored_size} bytes")
    size = sum(map(len, frame.reference)) * BLOCK_SIZE
    if size > MAX_REFERENCE or (frame.reference and header.base is None):
        raise FieldError(f"{what}: frame {number} has a reference of {size} bytes")
    if any(not run for run in frame.reference):
        raise FieldError(f"{what}: frame {number} refers to nothing")
