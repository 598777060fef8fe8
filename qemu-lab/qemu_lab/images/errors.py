"""What can go wrong while images are made."""

from __future__ import annotations

from qemu_lab.errors import LabError


class ImageBuildError(LabError):
    """An image or a kernel cannot be made; the message names the program and what it said."""
