"""The one door between construct and our errors."""

from __future__ import annotations

import construct
import crcmod

from bootsvc.errors import FormatError, TruncatedError

crc32 = crcmod.mkCrcFun(0x104C11DB7, initCrc=0, xorOut=0xFFFFFFFF)
"""CRC-32 as of IEEE 802.3, zlib and GPT: bytes -> int."""


def parse_struct(layout: construct.Construct, data: bytes, what: str) -> construct.Container:
    """Parse ``data`` by ``layout``; every error of construct becomes one of ours.

    Raises:
        TruncatedError: ``data`` ends before ``layout`` does.
        FormatError: a field has a value that ``layout`` rules out.
    """
    try:
        return layout.parse(data)
    except construct.StreamError as exc:
        raise TruncatedError(f"{what}: {len(data)} bytes are too few ({exc.path})") from exc
    except construct.ConstructError as exc:
        raise FormatError(f"{what}: {exc.path}: {str(exc).splitlines()[-1]}") from exc
