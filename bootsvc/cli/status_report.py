"""What ``bootsvc status`` shows: gathered once, then written for people or as JSON (schema 1).

``document`` is the JSON; every field stands in README.md. Words come from ``formats.describe``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bootsvc.errors import BootsvcError, ImageError
from bootsvc.formats import describe
from bootsvc.formats.boot_status import (
    NO_ID,
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    StatusCode,
)
from bootsvc.os_side.machine import Machine
from bootsvc.os_side.restore_points import RestorePoint, restore_points_in, usable_data
from bootsvc.os_side.started import ThisStart
from bootsvc.sequence.update_status import update_state
from bootsvc.storage.device import Device
from bootsvc.storage.image_area import Footer, check_signature, read_footer
from bootsvc.storage.status_store import CopyState
from bootsvc.trust.keys import PublicKey
from bootsvc.units import describe_size

SCHEMA = 1
AREAS = (Area.PRIMARY, Area.BACKUP, Area.STAGING)


@dataclass(frozen=True)
class AreaReport:
    """One area: what the record says, and what its footer says.

    Attributes:
        footer: None where there is none that can be read; ``problem`` says why.
        signer: the trusted key that signed it, or None.
    """

    record: AreaRecord
    footer: Footer | None = None
    problem: str = ""
    signer: PublicKey | None = None

    @property
    def is_as_recorded(self) -> bool:
        """The footer bears the identity that the record names."""
        return self.footer is not None and self.footer.identity == self.record.identity


@dataclass(frozen=True)
class StatusReport:
    """All that ``bootsvc status`` knows; nothing was read in full for it.

    Attributes:
        restore_points: None where data cannot be looked at.
    """

    disk: str
    status: BootStatus
    areas: dict[Area, AreaReport]
    copies: tuple[CopyState, CopyState]
    layout_fits: bool
    this_start: ThisStart | None
    alarms: tuple[str, ...]
    restore_points: tuple[RestorePoint, ...] | None


def gather(
    machine: Machine,
    keys: tuple[PublicKey, ...],
    this_start: ThisStart | None,
    alarms: Iterable[str],
    restore_points: tuple[RestorePoint, ...] | None = None,
) -> StatusReport:
    """Read footers and both copies of the record; writes nothing."""
    disk, status = machine.disk, machine.status
    return StatusReport(
        disk=disk.device.name,
        status=status,
        areas={area: _area(disk.areas[area], status.area(area), keys) for area in AREAS},
        copies=disk.status.copies(),
        layout_fits=status.layout_hash == disk.gpt.layout_hash(),
        this_start=this_start,
        alarms=tuple(alarms),
        restore_points=restore_points,
    )


def _area(window: Device, record: AreaRecord, keys: tuple[PublicKey, ...]) -> AreaReport:
    try:
        footer = read_footer(window)
    except BootsvcError as exc:
        return AreaReport(record, problem=str(exc))
    try:
        signer = check_signature(footer, keys, installing=False)
    except ImageError:
        signer = None
    return AreaReport(record, footer, signer=signer)


def read_alarms(path: Path) -> list[str]:
    """The alarms of this start, one a line in ``path``; none where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def read_restore_points(run_dir: Path) -> tuple[RestorePoint, ...] | None:
    """The restore points in the data of this start; None where it cannot be looked at."""
    data = usable_data(run_dir)
    if data is None:
        return None
    try:
        return restore_points_in(data)
    except BootsvcError:
        return None


# --- for programs -------------------------------------------------------------------------------


def document(report: StatusReport) -> dict[str, object]:
    """The JSON document."""
    status = report.status
    state = update_state(status)
    return {
        "schema": SCHEMA,
        "disk": report.disk,
        "status_code": int(status.status_code),
        "status_code_text": describe.CODES[status.status_code],
        "phase": status.phase.name.lower(),
        "phase_text": describe.PHASES[status.phase],
        "boot_area": status.boot_area.name.lower(),
        "sequence": status.sequence,
        "update_status": state.status.name.lower(),
        "update_status_text": str(state.status),
        "last_result": state.last_result.name.lower(),
        "last_result_reason": state.reason or None,
        "running": _running_document(report),
        "areas": {area.name.lower(): _area_document(report.areas[area]) for area in AREAS},
        "request": status.request.name.lower(),
        "request_text": describe.REQUESTS[status.request],
        "next_start": describe.next_start(status),
        "next_start_why": describe.why_next_start(status),
        "tries_left": status.tries_left,
        "tries_allowed": status.tries_allowed,
        "restore_retries": status.restore_retries,
        "crash_count": status.crash_count,
        "version_floor": status.version_floor,
        "transaction": status.transaction.hex() if status.transaction != NO_ID else None,
        "last_failure": _failure_document(status.last_failure),
        "failed": [identity.hex() for identity in status.failed],
        "copies": [_copy_document(copy, status) for copy in report.copies],
        "layout_fits": report.layout_fits,
        "restore_points": _restore_points_document(report),
        "alarms": _alarms(report),
    }


def _running_document(report: StatusReport) -> dict[str, object] | None:
    this_start = report.this_start
    if this_start is None:
        return None
    footer = _running_footer(report)
    return {
        "area": this_start.started.area.name.lower(),
        "identity": this_start.started.identity.hex(),
        "number": footer.manifest.number if footer else None,
        "label": footer.manifest.label if footer else None,
        "is_trial": this_start.is_trial,
    }


def _running_footer(report: StatusReport) -> Footer | None:
    """The footer of the running image, where it still lies in an area."""
    if report.this_start is None:
        return None
    for one in report.areas.values():
        if one.footer and one.footer.identity == report.this_start.started.identity:
            return one.footer
    return None


def _area_document(one: AreaReport) -> dict[str, object]:
    footer = one.footer
    return {
        "state": one.record.state.name.lower(),
        "state_text": describe.STATES[one.record.state],
        "number": footer.manifest.number if footer else one.record.number,
        "label": footer.manifest.label if footer else None,
        "identity": (footer.identity if footer else one.record.identity).hex(),
        "size": footer.manifest.size if footer else one.record.size,
        "is_as_recorded": one.is_as_recorded,
        "problem": one.problem or None,
        "signed_by": {
            "key_ids": [signature.key_id.hex() for signature in footer.locator.signatures],
            "trusted_key": one.signer.name if one.signer else None,
            "trusted_key_id": one.signer.key_id.hex() if one.signer else None,
            "is_retired": one.signer.is_retired if one.signer else None,
        }
        if footer
        else None,
    }


def _failure_document(failure: Failure) -> dict[str, object] | None:
    if failure.reason == Reason.NONE:
        return None
    return {
        "phase": failure.phase.name.lower(),
        "reason": _reason_name(failure.reason),
        "reason_text": describe.describe_reason(failure.reason),
        "area": failure.area.name.lower(),
        "errno": failure.errno,
        "time_s": failure.time_s,
        "number": failure.number,
        "identity": failure.identity.hex() if any(failure.identity) else None,
    }


def _reason_name(reason: int) -> str:
    try:
        return Reason(reason).name.lower()
    except ValueError:
        return str(reason)


def _copy_document(copy: CopyState, newest: BootStatus) -> dict[str, object]:
    return {
        "is_valid": copy.status is not None,
        "is_newest": copy.status == newest,
        "sequence": copy.status.sequence if copy.status else None,
        "problem": copy.problem or None,
    }


def _restore_points_document(report: StatusReport) -> list[dict[str, object]] | None:
    if report.restore_points is None:
        return None
    return [restore_point_document(one) for one in report.restore_points]


def restore_point_document(one: RestorePoint) -> dict[str, object]:
    """One restore point."""
    return {
        "identity": one.identity.hex() if one.identity else None,
        "number": one.number,
        "label": one.label,
        "size": one.size,
        "own_size": one.own_size,
        "time_s": one.kept_s,
        "why": one.why or None,
        "path": str(one.path) if one.path else None,
        "problem": one.problem or None,
    }


# --- for people ---------------------------------------------------------------------------------


def text(report: StatusReport) -> str:
    """The same for people."""
    status = report.status
    state = update_state(status)
    lines = [
        ("disk", report.disk),
        ("running now", _running_text(report)),
        ("status code", describe.CODES[status.status_code]),
        ("phase", f"{status.phase.name}: {describe.PHASES[status.phase]}"),
        ("next start", describe.next_start(status)),
        ("because", describe.why_next_start(status)),
        ("update", f"{state.status}; last result: {state.last_result}"),
        *((area.name.lower(), _area_text(report.areas[area])) for area in AREAS),
        ("tries", f"{status.tries_left} left of {status.tries_allowed}")
        if status.phase is Phase.TRIAL
        else ("tries", f"{status.tries_allowed} for a new image"),
        ("last failure", _failure_text(status.last_failure)),
        ("crashes", f"{status.crash_count} since the last confirmed start"),
        ("floor", f"no number below {status.version_floor} is installed"),
        ("record", _copies_text(report)),
    ]
    if status.failed:
        failed = ", ".join(identity.hex()[:12] for identity in status.failed)
        lines.append(("failed here", f"{failed} (installed again only with --again)"))
    lines += [("restore point", restore_point_text(one)) for one in report.restore_points or ()]
    lines += [("ALARM", alarm) for alarm in _alarms(report)]
    return "\n".join(f"{name:<13} {words}" for name, words in lines)


def _alarms(report: StatusReport) -> list[str]:
    alarms = list(report.alarms)
    if not report.layout_fits:
        alarms.append("the record belongs to another disk or partition table")
    if report.this_start is not None and report.this_start.alarm:
        try:
            alarms.append(describe.REASONS[Reason[report.this_start.alarm.upper()]])
        except KeyError:
            alarms.append(report.this_start.alarm)
    if report.status.status_code is StatusCode.BACKUP and report.status.phase is Phase.DEGRADED:
        alarms.append("there is no working image in primary; stage a good one: bootsvc stage IMAGE")
    return alarms


def _running_text(report: StatusReport) -> str:
    if report.this_start is None:
        return "a system that was not started by the updater from this disk"
    started = report.this_start.started
    footer = _running_footer(report)
    name = _version_text(footer) if footer else "an image that is in no area any more"
    trial = ", on trial" if report.this_start.is_trial else ""
    area = started.area.name.lower()
    return f"{name}, identity {started.identity.hex()[:12]}, started from {area}{trial}"


def _version_text(footer: Footer) -> str:
    return f"number {footer.manifest.number}, label {footer.manifest.label}"


def _area_text(one: AreaReport) -> str:
    state = describe.STATES[one.record.state]
    if one.footer is None:
        return state if one.record.state is AreaState.EMPTY else f"{state}; {one.problem}"
    words = f"{state}; {_version_text(one.footer)}, identity {one.footer.identity.hex()[:12]}"
    if one.signer is not None:
        retired = ", a retired key" if one.signer.is_retired else ""
        words += f", signed by {one.signer.name} ({one.signer.key_id.hex()}){retired}"
    else:
        ids = ", ".join(signature.key_id.hex() for signature in one.footer.locator.signatures)
        words += f", signed by no key that is trusted here ({ids or 'no signature'})"
    if not one.is_as_recorded and one.record.state in (AreaState.VALID, AreaState.CONFIRMED):
        words += "; NOT the image that the record names"
    return words


def restore_point_text(point: RestorePoint) -> str:
    """One restore point."""
    kept = f"kept {when(point.kept_s)}{f' ({point.why})' if point.why else ''}"
    file = f": {point.path}" if point.path else ""
    own = f"{describe_size(point.own_size)} of its own in data"
    identity = point.identity.hex()[:12] if point.identity else "unknown"
    if point.problem:
        return f"DAMAGED ({point.problem}), identity {identity}, {own}, {kept}{file}"
    return (
        f"number {point.number}, label {point.label}, identity {identity}, "
        f"{describe_size(point.size)}, {own}, {kept}{file}"
    )


def _failure_text(failure: Failure) -> str:
    words = describe.describe_failure(failure)
    if failure.reason == Reason.NONE:
        return words
    return f"{words}, {when(failure.time_s)}"


def when(time_s: int) -> str:
    """``2026-11-21 23:00:00 UTC``, or that the machine's clock was not set."""
    if not time_s:
        return "at an unknown time (the clock was not set)"
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _copies_text(report: StatusReport) -> str:
    words = []
    for number, copy in enumerate(report.copies):
        if copy.status is None:
            words.append(f"copy {number}: BAD ({copy.problem})")
        elif copy.status != report.status:
            words.append(f"copy {number}: older (sequence {copy.status.sequence})")
        else:
            words.append(f"copy {number}: good")
    return f"sequence {report.status.sequence}; {'; '.join(words)}"
