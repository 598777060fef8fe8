"""What happens to one machine: drawn from seed and number of the run, from nothing else. Pure.

A moment is a place in the machine's life and a delay after it. The delay is counted in *tempos*:
one is the time that this machine needs from power-on to the updater's first word, so that a moment
means the same on a slow host.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from qemu_lab.soak.images import CATALOGUE, FIRST, STRANGER, Behaviour


class At(StrEnum):
    """Where in a machine's life a cut may be, in the order in which an update goes there."""

    COMMAND = "command"  # the operator's: the running system stages an image, or asks for rollback
    BOOT = "boot"  # power-on: firmware, boot loader, kernel
    UPDATER = "updater started"
    CHECK = "check"
    REFUSED = "refused"
    BACKUP = "backup"
    COPY = "copy"
    TRIAL = "trial"
    ROLLBACK = "rollback"
    RESTORE = "restore"
    VERIFY = "verify"
    HAND_OVER = "hand-over"
    CONFIRM = "confirm"  # the new system says that it is well
    OS_UP = "OS up"


class Means(StrEnum):
    """How a machine is interrupted."""

    POWER = "power"  # the power fails
    RESET = "reset"  # the reset button


class Spoil(StrEnum):
    """What becomes of a staged image before the machine starts again."""

    NONE = "none"
    ALTERED = "altered"  # some bytes differ
    INCOMPLETE = "incomplete"  # its end is missing
    STRANGER = "stranger"  # an image signed by somebody else takes its place


@dataclass(frozen=True)
class Cut:
    """One interruption; ``delay`` after ``at`` in tempos."""

    at: At
    delay: float
    means: Means

    def __str__(self) -> str:
        return f"{self.means} {self.at}+{self.delay}"


@dataclass(frozen=True)
class Update:
    """An update to ``image``, good or not.

    Attributes:
        inside: the running system stages it; else it is written while the machine is off.
        spoil: what becomes of it in staging.
        is_patient: an image that never confirms is left alone until its limit; else somebody
            switches the machine off and on.
        cuts: one after the other.
    """

    image: int
    inside: bool
    spoil: Spoil
    is_patient: bool
    cuts: tuple[Cut, ...]

    def __str__(self) -> str:
        behaviour = CATALOGUE[self.image].behaviour
        spoil = "" if self.spoil is Spoil.NONE else f", {self.spoil} in staging"
        place = "the running system" if self.inside else "outside"
        return f"update to {self.image} ({behaviour}{spoil}) from {place}{_listed(self.cuts)}"


@dataclass(frozen=True)
class Rollback:
    """The operator wants the former image back."""

    cuts: tuple[Cut, ...]

    def __str__(self) -> str:
        return f"rollback{_listed(self.cuts)}"


@dataclass(frozen=True)
class Idle:
    """Nobody asks for anything; only the power is bad."""

    cuts: tuple[Cut, ...]

    def __str__(self) -> str:
        return f"idle{_listed(self.cuts)}"


Chapter = Update | Rollback | Idle


@dataclass(frozen=True)
class Story:
    """One machine's life.

    Attributes:
        seed, run: what it was drawn from.
        tries: trial starts that the updater gives a new image.
        full_chain: firmware and boot loader from disk; else QEMU loads kernel and updater itself.
    """

    seed: int
    run: int
    tries: int
    full_chain: bool
    chapters: tuple[Chapter, ...]

    @property
    def label(self) -> str:
        """What ``--repeat`` takes."""
        return f"{self.seed}/{self.run}"


FULL_CHAIN_EVERY = 10
MOST_CUTS = 3

_LONGEST_DELAY = {
    At.BOOT: 1.4,  # over the updater's first word
    At.UPDATER: 0.5,
    At.COMMAND: 1.6,
    At.CONFIRM: 0.9,
    At.HAND_OVER: 0.6,
    At.OS_UP: 0.6,
}
_LONGEST_WORK_DELAY = 0.1
"""In tempos. A stage of work on small images takes 0.03 to 0.12 of one."""

_EVERY_START = (At.BOOT, At.UPDATER)
_ANYWHERE = (*_EVERY_START, At.HAND_OVER, At.OS_UP)
_INSTALLED = (At.CHECK, At.BACKUP, At.COPY, At.VERIFY, At.TRIAL)


def story(seed: int, run: int) -> Story:
    """The story of this run: the same for the same two numbers, on every machine."""
    drawn = Random(f"bootsvc soak {seed}/{run}")  # noqa: S311 - seeded, to be repeated
    chapters: list[Chapter] = [_update(drawn)]
    if drawn.random() < 0.3:
        follows = drawn.choice((_rollback, _rollback, _update, _idle))
        chapters.append(follows(drawn))
    return Story(
        seed,
        run,
        tries=drawn.choice((1, 2, 3)),
        full_chain=run % FULL_CHAIN_EVERY == FULL_CHAIN_EVERY - 1,
        chapters=tuple(chapters),
    )


def _update(drawn: Random) -> Update:
    good = [n for n, image in CATALOGUE.items() if image.behaviour is Behaviour.GOOD and n != FIRST]
    bad = [n for n, image in CATALOGUE.items() if image.behaviour is not Behaviour.GOOD]
    image = drawn.choice(good if drawn.random() < 0.55 else bad)
    spoil = Spoil.NONE
    if image in good and image != STRANGER and drawn.random() < 0.25:
        spoil = drawn.choice((Spoil.ALTERED, Spoil.INCOMPLETE, Spoil.STRANGER))
    inside = drawn.random() < 0.4
    is_patient = drawn.random() < 0.25
    if image == STRANGER:  # is refused at once
        places: tuple[At, ...] = _ANYWHERE
    elif spoil is not Spoil.NONE:
        places = (*_ANYWHERE, At.CHECK, At.REFUSED)
    elif image in bad:
        places = (*_ANYWHERE, *_INSTALLED, At.RESTORE, At.RESTORE, At.VERIFY)
    else:
        places = (*_ANYWHERE, *_INSTALLED, At.CONFIRM, At.CONFIRM)
    cuts = _cuts(drawn, places)
    if inside and drawn.random() < 0.4:
        cuts = (_cut(drawn, At.COMMAND), *cuts)[:MOST_CUTS]
    return Update(image, inside, spoil, is_patient, cuts)


def _rollback(drawn: Random) -> Rollback:
    cuts = _cuts(drawn, (*_ANYWHERE, At.ROLLBACK, At.RESTORE, At.RESTORE, At.VERIFY))
    if drawn.random() < 0.3:
        cuts = (_cut(drawn, At.COMMAND), *cuts)[:MOST_CUTS]
    return Rollback(cuts)


def _idle(drawn: Random) -> Idle:
    return Idle(_cuts(drawn, _ANYWHERE))


def _cuts(drawn: Random, places: tuple[At, ...]) -> tuple[Cut, ...]:
    """One to MOST_CUTS cuts, in an order in which each may still come after the ones before it."""
    count = drawn.choice((1, 1, 1, 1, 2, MOST_CUTS))
    order = list(At)
    ranked = []
    for at in drawn.choices(places, k=count):
        rank = drawn.randrange(len(order)) if at in _EVERY_START else order.index(at)
        ranked.append((rank, _cut(drawn, at)))
    return tuple(cut for _, cut in sorted(ranked, key=lambda one: one[0]))


def _cut(drawn: Random, at: At) -> Cut:
    longest = _LONGEST_DELAY.get(at, _LONGEST_WORK_DELAY)
    means = drawn.choice((Means.POWER, Means.POWER, Means.POWER, Means.RESET))
    return Cut(at, round(drawn.uniform(0, longest), 3), means)


def _listed(cuts: tuple[Cut, ...]) -> str:
    return f"; cuts: {', '.join(map(str, cuts))}" if cuts else ""
