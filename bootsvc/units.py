"""Sizes, their rounding and their words. All sizes and offsets in bootsvc are bytes."""

from __future__ import annotations

SECTOR_SIZE = 512
BLOCK_SIZE = 4096
"""The size of a block: the unit of digests, of comparison and of alignment (DESIGN 7)."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SUFFIXES = {"": 1, "K": KIB, "M": MIB, "G": GIB}


def round_up(size: int, unit: int) -> int:
    """The smallest multiple of ``unit`` that is at least ``size``."""
    return -(-size // unit) * unit


def parse_size(text: str) -> int:
    """Bytes meant by ``64M``, ``1G``, ``4096``; suffixes K, M, G are powers of 1024.

    Raises:
        ValueError: not a whole number with one of these suffixes.
    """
    word = text.strip().upper().removesuffix("IB").removesuffix("B")
    suffix = word[-1:] if word[-1:].isalpha() else ""
    number = word.removesuffix(suffix) if suffix else word
    if suffix not in _SUFFIXES or not number.isdecimal():
        raise ValueError(f"{text!r} is not a size; write for example 64M, 1G or 4096")
    return int(number) * _SUFFIXES[suffix]


def describe_size(size: int) -> str:
    """``size`` for people: ``64.0 MiB``."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
