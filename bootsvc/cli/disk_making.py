"""What making a disk and making a stick have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bootsvc.cli.output import Progress
from bootsvc.errors import SettingsError


def add_lock_settings(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
) -> None:
    """Add ``--settings``; see ``grub_password``."""
    parser.add_argument(
        "--settings",
        metavar="FILE",
        type=Path,
        help="the site's bootsvc.toml: its grub_password locks the boot menu",
    )


def grub_password(settings: Path | None) -> str:
    """What the site's settings say. Raises SettingsError: the file is not there, or is wrong."""
    from bootsvc.settings import load

    if settings is None:
        return ""
    if not settings.is_file():
        raise SettingsError(f"{settings}: no such file")
    return load(settings).grub_password


class Shown:
    """Shows each piece of work: a name at once, a bar where bytes are counted."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._done = 0

    def update(self, what: str, done: int, total: int) -> None:
        """As ``disk.create.Progress``."""
        if total and self._bar is None:
            self._bar = Progress(what, total, sys.stderr)
        if total and self._bar is not None:
            self._bar.tick(done - self._done)
            self._done = done
        else:
            self.end()

    def end(self) -> None:
        """No more bytes follow."""
        if self._bar is not None:
            self._bar.end()
            self._bar = None
