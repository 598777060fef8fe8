"""Makes checksums, digests and signatures of mutated bytes right again.

Without this a fuzzer never gets past the first comparison: a random CRC fits once in four thousand
million times. Everything here is written with ``struct`` and ``zlib``, apart from the parsers.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib

from bootsvc.formats.footer import MAX_SIGNATURES
from bootsvc.formats.tree import build_tree, leaves_of
from bootsvc.units import BLOCK_SIZE
from tests.images import KEY, padded

RECORD_SIZE = 512


def resummed_record(data: bytes) -> bytes:
    """A boot-status record of 512 bytes with the CRC that fits it."""
    return _resummed(data.ljust(RECORD_SIZE, b"\0")[:RECORD_SIZE])


def resummed_locator(data: bytes) -> bytes:
    """A footer's locator of 4096 bytes with the CRC that fits it."""
    return _resummed(data.ljust(BLOCK_SIZE, b"\0")[:BLOCK_SIZE])


def sealed_image_file(data: bytes) -> bytes:
    """A .bimg file from its parts, with true digests, a right CRC and a good signature.

    The parts: a plan of 8 bytes, the manifest, a zero byte, the content. The plan can make one
    part lie after all: three signed 16-bit numbers are added to the locator's manifest, image and
    tree size; bit 0 of the next byte spoils the signature, bit 1 leaves the manifest's sizes and
    digests as they are, and the last byte, if not 0, is flipped into that place of the content.
    """
    plan, rest = data[:8].ljust(8, b"\0"), data[8:]
    manifest, _, content = rest.partition(b"\0")
    *deltas, flags, flip = struct.unpack("<hhhBB", plan)
    content = content or b"\0"
    image = padded(content)
    tree, root = build_tree(leaves_of(image))
    if not flags & 2:
        manifest = _with_own_value(manifest, b"root", b'"%s"' % root.hex().encode())
        digest = hashlib.sha256(content).hexdigest()
        manifest = _with_own_value(manifest, b"sha256", b'"%s"' % digest.encode())
        manifest = _with_own_value(manifest, b"size", b"%d" % len(content))
    signature = KEY.sign(manifest if not flags & 1 else b"another")
    sizes = (len(manifest), len(content), len(tree))
    shifted = [max(0, size + delta) for size, delta in zip(sizes, deltas, strict=True)]
    locator = struct.pack("<8sIIQQB7x", b"BSVCFOOT", 1, *shifted, 1)
    locator += signature.key_id + signature.signature
    if flip:
        at = flip % len(image)
        image = image[:at] + bytes([image[at] ^ flip]) + image[at + 1 :]
    return image + tree + padded(manifest) + resummed_locator(locator)


def is_spoilt(data: bytes) -> bool:
    """Whether the plan of ``sealed_image_file`` alters the content or the signature."""
    _, flags, flip = struct.unpack("<6sBB", data[:8].ljust(8, b"\0"))
    return bool(flags & 1 or flip)


def with_signatures(data: bytes, message: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Key ids and signatures from ``data``, 72 bytes each; an odd first byte makes one good."""
    found = []
    for at in range(0, min(len(data), 72 * MAX_SIGNATURES), 72):
        piece = data[at : at + 72].ljust(72, b"\0")
        if piece[0] & 1:
            good = KEY.sign(message)
            found.append((good.key_id, good.signature))
        else:
            found.append((piece[:8], piece[8:]))
    return tuple(found)


def _resummed(block: bytes) -> bytes:
    return block[:-4] + struct.pack("<I", zlib.crc32(block[:-4]))


def _with_own_value(manifest: bytes, key: bytes, value: bytes) -> bytes:
    """Another value for the last ``key``: in a sorted manifest that is the image's own."""
    head, name, tail = manifest.rpartition(b'"%s": ' % key)
    return head + name + re.sub(rb'^(".*?"|\d+)', value, tail) if name else manifest
