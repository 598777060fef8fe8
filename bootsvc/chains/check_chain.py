"""Walks chains of versions and checks what their files say of themselves. Pure; ends for any input.

A chain is given as versions that name their parents by identity (the digest of the manifest). Every
walk goes along parents, visits a version once at most, and says why it ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from bootsvc.formats.check_information import CheckInformation


class Fault(Enum):
    """What is wrong with a chain; the value is the words for people."""

    CYCLE = "cycle"
    HOLE = "hole"
    WRONG_PARENT = "wrong parent"
    FOREIGN = "foreign"
    STANDS_TWICE = "stands twice"
    OTHER_INFORMATION = "other check information"
    OUTSIDE = "parent outside the folder"
    UNREADABLE = "not usable"
    TOO_LONG = "too long"


@dataclass(frozen=True)
class Version:
    """A version's place in a chain, as its manifest tells it.

    Attributes:
        identity: digest of the manifest.
        parent: identity of the version below; None for a base.
        number: orders the versions; a label, never what decides (F2.1).
        information: what its file must say of it (``information_of``); None where it has no file.
    """

    identity: bytes
    parent: bytes | None
    number: int
    information: bytes | None = None


@dataclass(frozen=True)
class Walk:
    """Versions from a place down, and why the walk ended: None where it reached a base."""

    path: tuple[Version, ...]
    fault: Fault | None


class Versions:
    """Versions by identity. One that is given twice with other facts cannot be walked through."""

    def __init__(self, versions: Iterable[Version]) -> None:
        self._by_identity: dict[bytes, Version] = {}
        self._ambiguous: set[bytes] = set()
        for one in versions:
            if self._by_identity.setdefault(one.identity, one) != one:
                self._ambiguous.add(one.identity)

    def get(self, identity: bytes | None) -> Version | None:
        """The version of this identity, or None."""
        return None if identity is None else self._by_identity.get(identity)

    def with_number(self, number: int) -> tuple[Version, ...]:
        """All versions of this number."""
        return tuple(one for one in self._by_identity.values() if one.number == number)

    def walk(self, start: bytes, stop: bytes | None = None) -> Walk:
        """From ``start`` along the parents to ``stop``, the last of the path, or to a base."""
        path: list[Version] = []
        seen: set[bytes] = set()
        at: bytes | None = start
        while at is not None:
            if at in seen:
                return Walk(tuple(path), Fault.CYCLE)
            version = self._by_identity.get(at)
            if version is None:
                return Walk(tuple(path), Fault.HOLE)
            seen.add(at)
            path.append(version)
            if at == stop:
                break
            if at in self._ambiguous:
                return Walk(tuple(path), Fault.STANDS_TWICE)
            at = version.parent
        return Walk(tuple(path), None)

    def moves(self, upper: bytes, lower: bytes) -> tuple[bytes, ...] | None:
        """Identities from just above ``lower`` up to ``upper``: the moves between them (S2.12).

        None where no way leads down from ``upper`` to ``lower``.
        """
        walk = self.walk(upper, lower)
        if not walk.path or walk.path[-1].identity != lower:
            return None
        return tuple(one.identity for one in reversed(walk.path[:-1]))


@dataclass(frozen=True)
class HeldFile:
    """A file of the client's local chain.

    Attributes:
        identity: of the manifest that the client keeps beside it; None where it has none.
        information: what the file itself says; None where it says nothing, or something damaged.
        parent: identity of the version before, as the manifest has it; None where it has none.
    """

    identity: bytes | None
    information: CheckInformation | None
    parent: bytes | None = None


def check_pairs(files: Sequence[HeldFile]) -> tuple[int, Fault] | None:
    """The first file of a chain, base first, whose check information breaks it, and how.

    A file's own information must be the parent that the file above names, its identity the one of
    the manifest beside it, and the identity below it the one that it was made upon: the same number
    and name with other content is another parent (S2.2). The next file's information is not asked:
    after a merge a base has more than one file above it (F2.5). Where a file says nothing, its
    manifest alone is asked.
    """
    below: CheckInformation | None = None
    for index, file in enumerate(files):
        here = file.information
        wanted = file.parent if here is None else here.parent_identity
        identity_below = files[index - 1].identity if index else None
        if None not in (wanted, identity_below) and wanted != identity_below:
            return index, Fault.WRONG_PARENT
        if here is None:
            below = None
            continue
        if (here.parent is None) != (index == 0):
            return index, Fault.WRONG_PARENT
        if below is not None and here.parent != below.own:
            return index, Fault.WRONG_PARENT
        if file.identity and here.identity and here.identity != file.identity:
            return index, Fault.OTHER_INFORMATION
        below = here
    return None


def pairs(files: Sequence[HeldFile]) -> tuple[tuple[bytes, bytes | None] | None, ...]:
    """The check chain (S2.8): of each file its own information and the next one's, if any."""
    return tuple(file.information.pair if file.information else None for file in files)
