"""What the machine must come to, from what was done to it. Pure, and without code of bootsvc.

A ``World`` is what an onlooker knows of a settled machine. Every chapter has one or more ends that
are right; which of them is open, the record on the disk tells at the moments of the cuts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from qemu_lab.soak.images import CATALOGUE, FIRST, FORMER, Behaviour
from qemu_lab.soak.plan import Chapter, Rollback, Spoil, Update
from qemu_lab.subject import Record

UPDATE_REQUEST, ROLLBACK_REQUEST = 1, 2


class Outcome(StrEnum):
    """What a chapter came to."""

    UPDATED = "updated"
    FELL_BACK = "fell back"  # a bad image was thrown back, or the cuts used up a good one's tries
    REFUSED = "refused"  # in staging or by the command, before anything was replaced
    ROLLED_BACK = "rolled back"
    STAYED = "stayed"  # nothing was asked for, or a cut came before the request was whole
    FAILED = "FAILED"


@dataclass(frozen=True)
class World:
    """A settled machine.

    Attributes:
        runs, backup: numbers of the images in primary and backup.
        floor: no image with a lower number may be installed.
        failed: images that were thrown back.
    """

    runs: int = FIRST
    backup: int = FORMER
    floor: int = 0
    failed: frozenset[int] = frozenset()

    def refusal(self, image: int) -> str:
        """Why the command must refuse to stage this image; empty where it must not."""
        known = CATALOGUE[image]
        if not known.is_approved:
            return "signature"
        if image < self.floor:
            return "below the floor"
        if image in self.failed:
            return "failed before"
        if image == self.runs:
            return "runs already"
        return ""

    def rollback_refusal(self) -> str:
        """Why the command must refuse to go back; empty where it must not."""
        return "backup holds the same" if self.backup == self.runs else ""

    def updated(self, image: int) -> World:
        """After ``image`` was installed and confirmed."""
        floor = max(self.floor, CATALOGUE[image].floor)
        return replace(self, runs=image, backup=self.runs, floor=floor)

    def fallen_back(self, image: int) -> World:
        """After ``image`` was tried and thrown back: the backup, fresh from primary, is in both."""
        return replace(self, backup=self.runs, failed=self.failed | {image})

    def rolled_back(self) -> World:
        """After a rollback."""
        return replace(self, runs=self.backup)


@dataclass(frozen=True)
class End:
    """One right end of a chapter."""

    outcome: Outcome
    world: World


@dataclass(frozen=True)
class Asked:
    """What was asked of the machine in a chapter, as far as it was understood.

    Attributes:
        is_refused: the command refused, as it must.
        is_requested: the request stood in the record before the next start.
        tries_used_up: at some moment the record had the last try taken.
    """

    is_refused: bool = False
    is_requested: bool = False
    tries_used_up: bool = False


def ends(chapter: Chapter, asked: Asked, before: World) -> tuple[End, ...]:
    """All ends of ``chapter`` that are right."""
    if asked.is_refused:
        return (End(Outcome.REFUSED, before),)
    if not asked.is_requested:
        return (End(Outcome.STAYED, before),)
    if isinstance(chapter, Rollback):
        return (End(Outcome.ROLLED_BACK, before.rolled_back()),)
    assert isinstance(chapter, Update), "an idle machine was asked for nothing"
    if chapter.spoil is not Spoil.NONE:
        return (End(Outcome.REFUSED, before),)
    fallen = End(Outcome.FELL_BACK, before.fallen_back(chapter.image))
    if CATALOGUE[chapter.image].behaviour is not Behaviour.GOOD:
        return (fallen,)
    updated = End(Outcome.UPDATED, before.updated(chapter.image))
    return (updated, fallen) if asked.tries_used_up else (updated,)


def observed(asked: Asked, record: Record) -> Asked:
    """``asked`` after the record was seen at a moment of the chapter.

    Once the last try is taken a power cut may end the trial: that is the documented fall-back.
    """
    is_last = record.phase == "trial" and record.tries_left == 0
    return replace(asked, tries_used_up=asked.tries_used_up or is_last)
