"""The footer of an area and of an image file: digest tree, manifest, locator (DESIGN 2).

area:  | image ........ | (free) | digest tree | manifest, padded | locator 4 KiB |
       0                                                                 end of area
The image file (.bimg) is the same without the free space.

locator: offset size field
              0    8 magic "BSVCFOOT"
              8    4 format_version  1
             12    4 manifest_size   bytes, at most 64 KiB
             16    8 image_size      bytes
             24    8 tree_size       bytes
             32  296 up to 4 signatures: count u8, 7 zero bytes,
                     then 4 times {key_id 8 bytes, signature 64 bytes}
           4092    4 CRC-32 of bytes 0..4091
"""

from __future__ import annotations

from dataclasses import dataclass

from construct import Array, Byte, Bytes, Const, Int32ul, Int64ul, Struct

from bootsvc.errors import (
    ChecksumError,
    FieldError,
    NoImageError,
    SizeMismatchError,
    TruncatedError,
)
from bootsvc.formats._codec import crc32, parse_struct
from bootsvc.formats.tree import tree_size
from bootsvc.units import BLOCK_SIZE, round_up

MAGIC = b"BSVCFOOT"
FORMAT_VERSION = 1
MAX_MANIFEST_SIZE = 64 * 1024
MAX_SIGNATURES = 4
MAX_IMAGE_SIZE = 1 << 44
"""16 TiB: keeps every sum of sizes far from overflow and the tree under 128 GiB."""

_SIGNATURE = Struct("key_id" / Bytes(8), "signature" / Bytes(64))

_LOCATOR = Struct(
    "magic" / Const(MAGIC),
    "format_version" / Int32ul,
    "manifest_size" / Int32ul,
    "image_size" / Int64ul,
    "tree_size" / Int64ul,
    "count" / Byte,
    "reserved" / Bytes(7),
    "signatures" / Array(MAX_SIGNATURES, _SIGNATURE),
    "free" / Bytes(BLOCK_SIZE - 332),
)


@dataclass(frozen=True)
class Signature:
    """An Ed25519 signature (64 bytes) and the id (8 bytes) of the key that made it."""

    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Locator:
    """The last block of a footer: it finds the rest. Sizes are bytes."""

    image_size: int
    tree_size: int
    manifest_size: int
    signatures: tuple[Signature, ...]

    @property
    def footer_size(self) -> int:
        """Bytes of tree, padded manifest and locator together, a multiple of 4 KiB."""
        return self.tree_size + round_up(self.manifest_size, BLOCK_SIZE) + BLOCK_SIZE

    @property
    def total_size(self) -> int:
        """Bytes that image (padded) and footer need: the size of a .bimg file."""
        return round_up(self.image_size, BLOCK_SIZE) + self.footer_size


def build_locator(locator: Locator) -> bytes:
    """The 4096 bytes of ``locator``."""
    _check(locator)
    blank = Signature(bytes(8), bytes(64))
    body = bytes(
        _LOCATOR.build(
            {
                "format_version": FORMAT_VERSION,
                "manifest_size": locator.manifest_size,
                "image_size": locator.image_size,
                "tree_size": locator.tree_size,
                "count": len(locator.signatures),
                "reserved": bytes(7),
                "signatures": [
                    vars(one) for one in (*locator.signatures, *(blank,) * MAX_SIGNATURES)
                ][:MAX_SIGNATURES],
                "free": bytes(BLOCK_SIZE - 332),
            }
        )
    )
    crc: int = crc32(body)
    return body + crc.to_bytes(4, "little")


def parse_locator(block: bytes) -> Locator:
    """The locator in ``block``, 4096 bytes.

    Raises:
        NoImageError: no locator's magic: there is no image here.
        TruncatedError, ChecksumError, FieldError: a damaged locator.
        SizeMismatchError: its sizes contradict each other.
    """
    if len(block) < BLOCK_SIZE:
        raise TruncatedError(f"footer locator: {len(block)} bytes instead of {BLOCK_SIZE}")
    if not block.startswith(MAGIC):
        raise NoImageError("no footer found: there is no image here")
    body, crc = block[: BLOCK_SIZE - 4], block[BLOCK_SIZE - 4 : BLOCK_SIZE]
    if crc32(body) != int.from_bytes(crc, "little"):
        raise ChecksumError("footer locator: CRC-32 does not fit")
    fields = parse_struct(_LOCATOR, body, "footer locator")
    if fields.format_version != FORMAT_VERSION:
        raise FieldError(f"footer locator: format version {fields.format_version} is unknown")
    if fields.count > MAX_SIGNATURES:
        raise FieldError(f"footer locator: {fields.count} signatures, at most {MAX_SIGNATURES}")
    locator = Locator(
        image_size=fields.image_size,
        tree_size=fields.tree_size,
        manifest_size=fields.manifest_size,
        signatures=tuple(
            Signature(one.key_id, one.signature) for one in fields.signatures[: fields.count]
        ),
    )
    _check(locator)
    return locator


def _check(locator: Locator) -> None:
    if not 0 < locator.image_size <= MAX_IMAGE_SIZE:
        raise FieldError(f"footer locator: image size {locator.image_size} is out of range")
    if not 0 < locator.manifest_size <= MAX_MANIFEST_SIZE:
        raise FieldError(f"footer locator: manifest size {locator.manifest_size} is out of range")
    if locator.tree_size != tree_size(locator.image_size):
        raise SizeMismatchError(
            f"footer locator: a tree of {locator.tree_size} bytes does not fit an image of "
            f"{locator.image_size}"
        )
