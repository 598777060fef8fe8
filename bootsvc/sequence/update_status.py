"""Where an update stands, in the four words of the method, and how the last one ended; pure.

| status (S0.11-S0.14) | the record |
|---|---|
| unfinished update | nothing staged, or not whole; refused; thrown back, or being thrown back |
| waiting for installation | a whole image in staging, of which nothing is asked yet |
| waiting for restart | asked for; or the restart is under way: backup, copy, trial |
| completed update | the image in primary is the last one that was installed, and it proved itself |

The last result (F0.8) stands beside it: an update that was thrown back is *unfinished*, and its
last result says so, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bootsvc.formats.boot_status import AreaState, BootStatus, Phase, Reason, Request
from bootsvc.formats.describe import describe_failure


class UpdateStatus(StrEnum):
    """The four statuses."""

    UNFINISHED = "unfinished update"
    WAITING_FOR_INSTALLATION = "waiting for installation"
    WAITING_FOR_RESTART = "waiting for restart"
    COMPLETED = "completed update"


class LastResult(StrEnum):
    """How the last update ended."""

    NONE = "none"
    OK = "ok"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class UpdateState:
    """Status and last result; ``reason`` in words, "" for none."""

    status: UpdateStatus
    last_result: LastResult
    reason: str = ""


_GOING_ON = (Phase.INSTALL, Phase.CHECK, Phase.BACKUP, Phase.COPY, Phase.VERIFY, Phase.TRIAL)
_GOING_BACK = (Phase.RESTORE, Phase.ROLLBACK, Phase.ROT, Phase.DEGRADED, Phase.HALT)


def update_state(status: BootStatus) -> UpdateState:
    """Where the update of the machine with this record stands."""
    result = _last_result(status)
    reason = describe_failure(status.last_failure) if result in _WITH_REASON else ""
    return UpdateState(_status(status, result), result, reason)


_WITH_REASON = (LastResult.FAILED, LastResult.ROLLED_BACK)


def _status(status: BootStatus, result: LastResult) -> UpdateStatus:
    if status.phase in _GOING_ON:
        return UpdateStatus.WAITING_FOR_RESTART
    if status.staging.state is AreaState.VALID and status.phase in (Phase.IDLE, Phase.DEGRADED):
        if status.request is Request.UPDATE:
            return UpdateStatus.WAITING_FOR_RESTART
        if status.staging.identity != status.primary.identity:
            return UpdateStatus.WAITING_FOR_INSTALLATION
    is_settled = status.phase is Phase.IDLE and status.primary.state is AreaState.CONFIRMED
    is_staged_badly = status.staging.state in (AreaState.WRITING, AreaState.BAD)
    if not is_settled or is_staged_badly or result in _WITH_REASON:
        return UpdateStatus.UNFINISHED
    return UpdateStatus.COMPLETED


def _last_result(status: BootStatus) -> LastResult:
    if status.staging.state is AreaState.BAD:
        return LastResult.FAILED
    if status.phase in _GOING_BACK:
        return LastResult.ROLLED_BACK
    if status.phase in _GOING_ON:
        return LastResult.NONE
    failure = status.last_failure
    # Who goes back ends with the same image in both areas; who goes on leaves the one before.
    went_back = status.primary.identity == status.backup.identity
    if went_back and failure.reason != Reason.NONE and failure.identity in status.failed:
        return LastResult.ROLLED_BACK
    return LastResult.OK if status.backup.state is not AreaState.EMPTY else LastResult.NONE
