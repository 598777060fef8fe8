"""Kept overlays of images that no area holds any more (DESIGN 2)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def prune(data: Path, identities: Iterable[bytes]) -> list[str]:
    """Remove the kept overlays of all images but ``identities``; returns the names removed.

    Without this every version would leave its own behind, until data is full. What cannot be
    removed stays: data that fails is an alarm of the next start, not of a confirm.
    """
    wanted = {identity.hex() for identity in identities}
    folder = data / "overlays"
    removed = []
    with suppress(OSError):
        for overlay in sorted(folder.iterdir()):
            if overlay.name not in wanted and overlay.is_dir() and not overlay.is_symlink():
                shutil.rmtree(overlay, ignore_errors=True)
                removed.append(overlay.name)
    return removed
