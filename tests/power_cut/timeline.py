"""The run without cuts, operation by operation, for pictures and for counting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.formats.decoder import decode
from tests.power_cut.disk import Flushed, Marked, Written
from tests.power_cut.results import CopyingPhase, Moment
from tests.power_cut.scenarios import PARTS
from tests.power_cut.view import PHASES
from tests.power_cut.world import HAND_OVER, Step, operations

COPYING = ("staging", "backup", "copy", "restore")
"""The phases that fill an area."""


def moments_of(steps: Sequence[Step]) -> Iterator[Moment]:
    """Every write, flush and hand-over of the steps, numbered through all of them."""
    t = 0
    for step in steps:
        phase = "start"
        for one in step.log:
            if isinstance(one, Marked):
                phase = one.phase
                if phase == HAND_OVER:
                    yield Moment(t, "boot", phase, step.booted, 0, 0)
                continue
            if isinstance(one, Written):
                role = _role_at(one.offset)
                kind = "record" if role == "status" else "write"
                offset = one.offset - PARTS[role].start
                yield Moment(t, kind, phase, role, offset, len(one.data), _record_text(one.data))
            elif isinstance(one, Flushed):
                yield Moment(t, "flush", phase, "", 0, 0)
            else:
                continue
            t += 1


def _record_text(data: bytes) -> str:
    fields = decode(data)
    return f"{fields['status_code']} {PHASES[int(str(fields['phase']))]}" if fields else ""


def _role_at(offset: int) -> str:
    return next(role for role, where in PARTS.items() if offset in where)


def copying_of(moments: Sequence[Moment]) -> Iterator[CopyingPhase]:
    """Writes and flush epochs of each copying phase that wrote to an area, in their order."""
    phase, writes, epochs, is_open = "", 0, 0, False
    for one in (*moments, Moment(0, "flush", "", "", 0, 0)):
        if one.phase != phase:
            if phase in COPYING and writes:
                yield CopyingPhase(phase, writes, epochs)
            phase, writes, epochs, is_open = one.phase, 0, 0, False
        if one.kind == "write":
            writes, is_open = writes + 1, True
        elif one.kind == "flush" and is_open:
            epochs, is_open = epochs + 1, False


def counts_of(steps: Sequence[Step]) -> tuple[int, int]:
    """How many writes and flushes the steps made."""
    every = [one for step in steps for one in operations(step.log)]
    flushes = sum(isinstance(one, Flushed) for one in every)
    return len(every) - flushes, flushes
