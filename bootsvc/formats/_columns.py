"""Columns of numbers, u32 each, where there are too many of them for an object apiece."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable


def build_u32s(values: Iterable[int]) -> bytes:
    """The numbers one behind the other, 4 bytes each."""
    column = array("I", values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def parse_u32s(data: bytes) -> array[int]:
    """The numbers in ``data``, whose length is a multiple of 4."""
    column = array("I", data)
    if sys.byteorder == "big":
        column.byteswap()
    return column
