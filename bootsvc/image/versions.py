"""Orders version texts of kernels and boot entries as Debian and systemd do: digits as numbers."""

from __future__ import annotations

import re


def version_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key: 6.10 after 6.9, a final 1.0 after the release candidate 1.0~rc1."""
    parts = re.findall(r"\d+|~|[^\d~]+", text)
    key = [
        (0, 0, "") if part == "~" else (3, int(part), "") if part.isdecimal() else (2, 0, part)
        for part in parts
    ]
    # The end of the text stands above "~" and below everything else.
    return (*key, (1, 0, ""))
