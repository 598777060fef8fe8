"""Orders version texts of kernels and boot entries as Debian and systemd do: digits as numbers."""

from __future__ import annotations

import re


def version_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key: 6.10 after 6.9, a final 1.0 after the release candidate 1.0~rc1."""
    parts = re.findall(r"[0-9]+|~|[^0-9~]+", text)
    # The end of the text stands above "~" and below everything else.
    return (*map(_part_key, parts), (1, 0, ""))


def _part_key(part: str) -> tuple[int, int, str]:
    if part == "~":
        return (0, 0, "")
    if part[0] in "0123456789":
        # By length, then by digits: a number of any length, which int() does not take.
        digits = part.lstrip("0")
        return (3, len(digits), digits)
    return (2, 0, part)
