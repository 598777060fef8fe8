"""What the judge knows of a scenario beforehand: approved images, and where it may end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOBODY = "?"
"""Stands for an image that is not approved, or not whole."""

CARRIES = frozenset({"INSTALL", "COPY", "TRIAL", "ROLLBACK", "ROT"})
"""The phases in which what was begun goes on to its end, in most scenarios."""


@dataclass(frozen=True)
class ApprovedImage:
    """An image that may run: its name here, the bytes that an area begins and ends with, and its
    identity, 32 bytes."""

    name: str
    content: bytes = field(repr=False)
    footer: bytes = field(repr=False)
    identity: bytes = field(repr=False)


@dataclass(frozen=True)
class End:
    """What a settled machine looks like.

    Attributes:
        name: for people; not compared.
        primary, backup, staging: image and state by the record, such as ``v2 VALID``; followed by
            what the area holds in truth where that is something else.
        failed: names of the images remembered as failed.
        starts: whether the machine starts an image by itself (False: it halts).
    """

    name: str = field(compare=False)
    code: int
    phase: str
    boot: str
    primary: str
    backup: str
    staging: str = "EMPTY"
    request: str = "none"
    floor: int = 0
    failed: tuple[str, ...] = ()
    starts: bool = True


@dataclass(frozen=True)
class Truth:
    """What the judge knows of a scenario.

    Attributes:
        images: all approved images.
        parts: role -> bytes of the disk.
        copies: offsets of the record's two copies on the disk.
        proven: names of the images that proved themselves before the scenario begins.
        good: names of the images that would prove themselves.
        end: where the run without cuts ends.
        fallbacks: the other documented ends.
        leaves: name of the image that must not run again by itself once another one ran after it.
        is_first: a first installation: there is nothing proven, the image stands in staging.
        rotten_until: a record of at most this sequence may name primary, which is damaged before
            the first start.
        carries: phases in which the table says that what was begun goes on to its end.
    """

    images: tuple[ApprovedImage, ...]
    parts: Mapping[str, range]
    copies: tuple[int, int]
    proven: frozenset[str]
    good: frozenset[str]
    end: End
    fallbacks: tuple[End, ...] = ()
    leaves: str = ""
    is_first: bool = False
    rotten_until: int = 0
    carries: frozenset[str] = CARRIES

    def ends(self) -> tuple[End, ...]:
        """All documented ends."""
        return (self.end, *self.fallbacks)

    def name_of(self, identity: str) -> str:
        """The image with this identity (hex)."""
        found = (one.name for one in self.images if one.identity.hex() == identity)
        return next(found, NOBODY)
