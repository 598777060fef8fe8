"""What the console tells programs, as lines of JSON; ``PROTOCOL.md`` documents it. Pure.

Every message is one object whose ``tell`` says what it is. Sizes are bytes, times seconds; what is
not known is null, and a text that has nothing to say is empty.
"""

from __future__ import annotations

import json

from bootsvc.console.actions import Action, Outcome
from bootsvc.console.facts import SCHEMA, AreaFacts, Facts
from bootsvc.console.front_end import Perform
from bootsvc.console.reports import Progress, Report, Said, Staged, Wait, Worked
from bootsvc.formats.boot_status import NO_ID, Area, BootStatus, Failure, Reason
from bootsvc.sequence.update_status import update_state

Message = dict[str, object]


def line(message: Message) -> bytes:
    """The message as it is sent: ASCII, one line, whatever its texts contain."""
    return json.dumps(message, separators=(",", ":"), default=str).encode("ascii") + b"\n"


def answer_to(request_id: str, message: Message) -> Message:
    """``message`` as the answer to the request that bore this id."""
    return {**message, "id": request_id} if request_id else message


# --- answers and events of the console -----------------------------------------------------------


def hello(
    bootsvc: str, port: str, *, known: Facts | None, goes_on_in_s: float | None, is_locked: bool
) -> Message:
    """The first message to a peer; ``known``: None before anything is, or may be told."""
    return {
        "tell": "hello",
        "schema": SCHEMA,
        "bootsvc": bootsvc,
        "port": port,
        "is_locked": is_locked,
        "goes_on_in_s": _tenths(goes_on_in_s),
        "facts": None if known is None else facts_document(known),
    }


def facts(known: Facts) -> Message:
    """What the console knows now."""
    return {"tell": "facts", "facts": facts_document(known)}


def stays(goes_on_in_s: float | None) -> Message:
    """When the machine goes on by itself unless somebody asks for something; None: never."""
    return {"tell": "stays", "goes_on_in_s": _tenths(goes_on_in_s)}


def actions(table: tuple[Action, ...], known: Facts) -> Message:
    """What can be done, and what stands against it now."""
    return {"tell": "actions", "actions": [_action(one, known) for one in table]}


def began(command: Perform, by: str) -> Message:
    """An action began."""
    return {
        "tell": "began",
        "action": command.name,
        "arguments": dict(command.arguments),
        "by": by,
    }


def outcome(action: str, ended: Outcome) -> Message:
    """How an action ended."""
    return {
        "tell": "outcome",
        "action": action,
        "is_done": ended.is_done,
        "lines": list(ended.lines),
        "then": ended.then.name.lower().replace("_", "-"),
        "area": _area_name(ended.area),
        "facts": dict(ended.facts),
    }


def lock(*, is_locked: bool, wait_s: float = 0.0, why: str = "") -> Message:
    """The answer to a password; ``wait_s``: until the next one is looked at."""
    return {"tell": "lock", "is_locked": is_locked, "wait_s": _tenths(wait_s), "why": why}


def error(why: str) -> Message:
    """A request was not understood, or not begun."""
    return {"tell": "error", "why": why}


def lost(count: int) -> Message:
    """Messages that were thrown away because nobody read them in time."""
    return {"tell": "lost", "messages": count}


def closed(why: str) -> Message:
    """The console closes; the machine goes on."""
    return {"tell": "closed", "why": why}


# --- reports of the work under way ---------------------------------------------------------------


def report(told: Report) -> Message:
    """What goes on, whether the console is open or not."""
    match told:
        case Staged(name, noted):
            return {"tell": "stage", "name": name, "facts": dict(noted)}
        case Said(text):
            return {"tell": "say", "line": text}
        case Progress():
            return _progress(told)
        case Worked(work, seconds, read, written, skipped):
            return {
                "tell": "worked",
                "work": work,
                "seconds": round(seconds, 3),
                "read": read,
                "written": written,
                "skipped": skipped,
            }
        case Wait(what, since_s, left_s, then):
            return {
                "tell": "wait",
                "what": what,
                "since_s": _tenths(since_s),
                "left_s": _tenths(left_s),
                "then": then,
            }


def _progress(at: Progress) -> Message:
    return {
        "tell": "progress",
        "work": at.work,
        "phase": at.phase,
        "phases": at.phases,
        "done": at.done,
        "total": at.total,
        "seconds": round(at.seconds, 3),
        "rate": round(at.rate),
        "left_s": _tenths(at.left_s),
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(max(seconds, 0.0), 1)


# --- the documents inside ------------------------------------------------------------------------


def facts_document(known: Facts) -> Message:
    """The facts, field by field."""
    document: Message = dict(vars(known))
    document["status"] = None if known.status is None else _record(known.status)
    document["areas"] = {one.name: _area(one) for one in known.areas}
    document["failed"] = list(known.failed)
    document["alarms"] = list(known.alarms)
    return document


def _area(found: AreaFacts) -> Message:
    return {key: value for key, value in vars(found).items() if key != "name"}


def _record(status: BootStatus) -> Message:
    """The record, its fields named as by ``bootsvc status --json``."""
    state = update_state(status)
    return {
        "status_code": int(status.status_code),
        "phase": status.phase.name.lower(),
        "boot_area": _area_name(status.boot_area),
        "request": status.request.name.lower(),
        "update_status": state.status.name.lower(),
        "last_result": state.last_result.name.lower(),
        "sequence": status.sequence,
        "tries_left": status.tries_left,
        "tries_allowed": status.tries_allowed,
        "restore_retries": status.restore_retries,
        "crash_count": status.crash_count,
        "version_floor": status.version_floor,
        "transaction": None if status.transaction == NO_ID else status.transaction.hex(),
        "last_failure": _failure(status.last_failure),
    }


def _failure(failure: Failure) -> Message | None:
    if failure.reason == Reason.NONE:
        return None
    return {
        "phase": failure.phase.name.lower(),
        "reason": _reason_name(failure.reason),
        "area": _area_name(failure.area),
        "errno": failure.errno,
        "time_s": failure.time_s,
        "number": failure.number,
        "identity": failure.identity.hex() if any(failure.identity) else None,
    }


def _reason_name(reason: int) -> str:
    try:
        return Reason(reason).name.lower()
    except ValueError:  # recorded by a newer bootsvc
        return str(reason)


def _area_name(area: Area) -> str:
    return area.name.lower()


def _action(action: Action, known: Facts) -> Message:
    return {
        "name": action.name,
        "title": action.title,
        "help": action.help,
        "arguments": [
            {
                "name": one.name,
                "question": one.question,
                "choices": list(one.choices),
                "default": one.default,
            }
            for one in action.arguments
        ],
        "loses": action.loses,
        "word": action.word,
        "refusal": action.refusal(known),
    }
