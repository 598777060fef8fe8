"""zstd with bounds: how much a frame unpacks to is known before a byte of it is unpacked.

A frame may be packed against a *reference*, bytes that the receiver holds already: what a new block
shares with an old one then costs next to nothing. Packing and unpacking need the same reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootsvc.errors import FormatError, ToolError
from bootsvc.units import MIB

if TYPE_CHECKING:
    import zstandard

LEVEL = 19
"""Packed once, at publishing; fetched by every machine. Unpacking is equally fast at any level."""

MAX_REFERENCE = 4 * MIB
"""What unpacking a frame may need in memory beside the frame itself."""


def packed(data: bytes, level: int = LEVEL, reference: bytes = b"") -> bytes:
    """``data`` as one zstd frame, which says how long it unpacks to.

    Raises:
        ToolError: the library is missing.
    """
    _need_library()
    import zstandard

    if not reference:
        return zstandard.ZstdCompressor(level=level).compress(data)
    # The window reaches over the whole reference; the level's own may be smaller.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(data),
        dict_size=len(reference),
        window_log=(len(reference) + len(data)).bit_length(),
    )
    compressor = zstandard.ZstdCompressor(
        compression_params=parameters, dict_data=_as_dictionary(reference)
    )
    return compressor.compress(data)


def unpacked(data: bytes | memoryview, largest: int, what: str, reference: bytes = b"") -> bytes:
    """What was packed.

    Args:
        largest: bytes that it may be at most; nothing is allocated before it is known to fit.
        what: names it in errors.

    Raises:
        FormatError: not a zstd frame, damaged, too large, or packed with another reference.
        ToolError: the library is missing.
    """
    _need_library()
    import zstandard

    try:
        facts = zstandard.get_frame_parameters(data)
        if not 0 <= facts.content_size <= largest:
            raise FormatError(f"{what}: it claims to unpack to {facts.content_size} bytes")
        if facts.window_size > largest + MAX_REFERENCE:
            raise FormatError(f"{what}: unpacking it would need {facts.window_size} bytes")
        decompressor = zstandard.ZstdDecompressor(
            dict_data=_as_dictionary(reference) if reference else None
        )
        # An empty frame is a case of its own: there, the library takes the limit for the size.
        return decompressor.decompress(data, max_output_size=max(facts.content_size, 1))
    except zstandard.ZstdError as exc:
        raise FormatError(f"{what}: cannot be unpacked: {exc}") from exc


def _need_library() -> None:
    """Imported late: who only looks at what a machine keeps needs none, and starts sooner."""
    try:
        import zstandard  # noqa: F401
    except ImportError as exc:
        raise ToolError(
            "the library zstandard is missing", hint="apt-get install python3-zstandard"
        ) from exc


def _as_dictionary(reference: bytes) -> zstandard.ZstdCompressionDict:
    import zstandard

    return zstandard.ZstdCompressionDict(reference, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
