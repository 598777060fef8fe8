"""Areas are read in full, and one of them started for this once; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bootsvc.console.actions import Outcome, Then
from bootsvc.errors import SequenceError
from bootsvc.formats.boot_status import Area, Reason
from bootsvc.formats.describe import describe_reason
from bootsvc.sequence.checks import verify_whole
from bootsvc.sequence.states import Finding
from bootsvc.sequence.wishes import check_startable_once
from bootsvc.storage.image_area import read_footer

if TYPE_CHECKING:
    from bootsvc.console.perform import Session

AREAS = {"primary": Area.PRIMARY, "backup": Area.BACKUP, "staging": Area.STAGING}


def verify(session: Session, answers: Mapping[str, str]) -> Outcome:
    """Read one area, or all, in full; the table decides by what is found from now on."""
    wanted = answers["area"]
    lines, facts = [], []
    for name in AREAS if wanted == "all" else (wanted,):
        finding = read_whole(session, AREAS[name])
        lines.append(f"{name}: {in_words(finding)}")
        facts.append((name, finding.check.name.lower()))
    return Outcome(is_done=True, lines=tuple(lines), facts=tuple(facts))


def boot_once(session: Session, answers: Mapping[str, str]) -> Outcome:
    """Verify an area and start it in this start only; the record stays as it is."""
    name = answers["area"]
    area, runner = AREAS[name], session.used_runner
    check_startable_once(runner.status, area, is_halted=bool(session.problem))
    finding = read_whole(session, area)
    if not finding.is_verified and area is Area.STAGING:
        _check_existing(session, area)  # what forbids to install it does not forbid to start it
    elif not finding.is_verified:
        raise SequenceError(f"{name} is not started: {in_words(finding)}")
    check_startable_once(
        runner.status, area, is_halted=bool(session.problem), identity=finding.identity
    )
    alarm = Reason.NOTHING_TO_FALL_BACK_TO if session.problem else Reason.NONE
    line = f"{name} holds number {finding.number}, whole; it is started this once."
    return Outcome(is_done=True, lines=(line,), then=Then.BOOT, area=area, alarm=alarm)


def read_whole(session: Session, area: Area) -> Finding:
    """Read ``area`` in full; can be broken off."""
    with session.breakable():
        return session.used_runner.check(area)


def _check_existing(session: Session, area: Area) -> None:
    """Raise unless ``area`` holds a whole image signed by a trusted key, be it one that may not be
    installed here (any more)."""
    runner, reporter = session.used_runner, session.reporter
    window = runner.disk.areas[area]
    footer = read_footer(window)
    with session.breakable():
        reporter.begin(f"verify {area.name.lower()}", footer.manifest.size)
        verify_whole(window, runner.start.site, reporter.tick, footer)


def in_words(finding: Finding) -> str:
    """What was found in an area that was read in full."""
    image = f"number {finding.number} ({finding.identity.hex()[:12]})"
    if finding.is_verified:
        return f"{image}, every byte fits its signed digests"
    reason = describe_reason(finding.reason)
    return f"{image}, {reason}" if any(finding.identity) else reason
