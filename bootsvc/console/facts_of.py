"""Gathers what the console knows of this machine: the record, the areas' footers, the start so far.

Nothing is written, and nothing is read in full: that is what the action ``verify`` is for.
"""

from __future__ import annotations

import time
from dataclasses import replace

from bootsvc import __version__
from bootsvc.console.facts import AreaFacts, Facts
from bootsvc.console.perform import Session
from bootsvc.errors import BootsvcError, ImageError
from bootsvc.formats.boot_status import NO_IDENTITY, Area, BootStatus
from bootsvc.formats.describe import (
    describe_failure,
    describe_reason,
    next_start,
    why_next_start,
)
from bootsvc.sequence.runner import Runner
from bootsvc.sequence.states import Check, Finding
from bootsvc.settings import INSTALLER_DIR
from bootsvc.storage.image_area import Footer, check_signature, read_footer

AREAS = (Area.PRIMARY, Area.BACKUP, Area.STAGING)
SANE_CLOCK_S = 1_700_000_000
"""No clock that is right shows less: it was never set."""

_ALARM = "ALARM "
_WATCHDOG = "watchdog: "


def facts_of(session: Session, *, slot: str = "") -> Facts:
    """The facts as they are now; ``slot`` as in ``Facts``."""
    now_s = int(time.time())
    runner = session.runner
    said = [str(entry["text"]) for entry in session.reporter.entries if "text" in entry]
    guards = [text.removeprefix(_WATCHDOG) for text in said if text.startswith(_WATCHDOG)]
    bare = Facts(
        bootsvc=__version__,
        slot=slot,
        compatible=session.settings.compatible,
        disk=runner.disk.device.name if runner else "",
        problem=session.problem,
        status=runner.status if runner else None,
        next="stay in this console",
        why=session.problem,
        alarms=tuple(
            dict.fromkeys(text.removeprefix(_ALARM) for text in said if text.startswith(_ALARM))
        ),
        watchdog=guards[-1] if guards else "",
        clock_s=now_s if now_s > SANE_CLOCK_S else 0,
        address=_address(session),
        mirror=session.mirror,
        is_locked=bool(session.settings.console_password),
        has_shell=session.settings.console_shell,
        has_installer=INSTALLER_DIR.is_dir(),
    )
    return _with_disk(bare, runner) if runner else bare


def _address(session: Session) -> str:
    network = session.network
    return str(network.address) if network is not None and network.address is not None else ""


def _with_disk(bare: Facts, runner: Runner) -> Facts:
    status = runner.status
    following, why = _following(bare, status)
    failed = status.failed if status else ()
    facts = replace(
        bare,
        next=following,
        why=why,
        areas=tuple(_area(runner, area) for area in AREAS),
        failed=tuple(one.hex() for one in dict.fromkeys((*failed, *runner.seen.failed_in_data))),
    )
    if status is None or not status.last_failure.reason:
        return facts
    failure = status.last_failure
    return replace(facts, last_failure=describe_failure(failure), last_failure_at_s=failure.time_s)


def _following(bare: Facts, status: BootStatus | None) -> tuple[str, str]:
    """What runs next if nobody presses a key, and why."""
    if bare.problem:
        return bare.next, bare.why
    if status is None:
        return "look at both areas and start what verifies", "the boot-status record was lost"
    return next_start(status), why_next_start(status)


def _area(runner: Runner, area: Area) -> AreaFacts:
    """One area: this start's finding where there is one, else what its footer says."""
    finding = runner.seen.finding(area)
    name = area.name.lower()
    state = runner.status.area(area).state.name.lower() if runner.status else "unknown"
    found = AreaFacts(name, state, check=finding.check.name.lower(), problem=_problem(finding))
    try:
        footer = read_footer(runner.disk.areas[area])
    except BootsvcError as exc:
        return replace(found, check=Check.REFUSED.name.lower(), problem=found.problem or str(exc))
    signer = _signer(runner, footer)
    problem = found.problem or ("" if signer else "no trusted key has signed it")
    named = replace(
        found,
        number=footer.manifest.number,
        label=footer.manifest.label,
        identity=footer.identity.hex(),
        signed_by=signer,
        problem=problem,
    )
    if finding.check is Check.UNSEEN or finding.identity not in (NO_IDENTITY, footer.identity):
        return replace(named, check=Check.FOOTED.name.lower())
    return named


def _problem(finding: Finding) -> str:
    if finding.is_refused:
        return describe_reason(finding.reason)
    return describe_reason(finding.unbootable) if finding.unbootable else ""


def _signer(runner: Runner, footer: Footer) -> str:
    try:
        return check_signature(footer, runner.start.site.keys, installing=False).name
    except ImageError:
        return ""
