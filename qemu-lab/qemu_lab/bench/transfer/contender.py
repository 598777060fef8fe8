"""What is compared: something that makes the new image where the old one is, over the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qemu_lab.bench.transfer.pairs import FOLDER, Pair

PUBLISHED = FOLDER / "published"
"""Root of the web server: what publishers make, kept from run to run."""

TARGET = "new.img"
"""File in a fetch's folder that must then hold the new image."""


@dataclass(frozen=True)
class Fetched:
    """What one fetch took.

    Attributes:
        size: bytes that came over the wire, index included.
        requests: that were made for them; None where there is no such thing.
        seconds: from the start of the program until the new image was on the disk; None where the
            program could not run, and ``note`` says why.
        peak_bytes: the most memory that the receiver had at a time.
        note: how the figures came about, where that is not plain.
    """

    size: int
    requests: int | None
    seconds: float | None
    peak_bytes: int | None
    note: str = ""


class Contender(Protocol):
    """One way to bring an image up to date."""

    @property
    def name(self) -> str:
        """For the table."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages that it needs."""

    def publish(self, pair: Pair) -> None:
        """Make, below ``PUBLISHED``, what the server offers for ``pair.new``; once."""

    def fetch(self, pair: Pair, folder: Path) -> Fetched:
        """Make ``folder / TARGET`` equal to ``pair.new`` from ``pair.old`` and what is published.

        Args:
            pair: the images; of ``pair.new`` no more than the size may be looked at.
            folder: an empty one, on the same file system as the images.

        Raises:
            PeerError: it failed.
        """
