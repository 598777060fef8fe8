"""Lines of text for the serial console: plain ASCII, at most 80 columns. Pure."""

from __future__ import annotations

from bootsvc.console.reports import Progress, Wait, Worked
from bootsvc.units import MIB


def stage_line(name: str, facts: dict[str, object]) -> str:
    """``bootsvc: stage=copy boot=backup``: one line that people and programs read."""
    words = [f"stage={name}", *(f"{key}={value}" for key, value in facts.items())]
    return "bootsvc: " + " ".join(words)


def progress_line(at: Progress) -> str:
    """``bootsvc: copy 12.0 / 64.0 MiB  19%  10.1 MiB/s  5 s left (5/6)``: phase 5 of 6."""
    left = "waiting" if at.left_s is None else f"{duration(at.left_s)} left"
    phase = f" ({at.phase}/{at.phases})" if at.phase else ""
    return (
        f"bootsvc: {at.work} {_short(at.done / MIB)} / {_short(at.total / MIB)} MiB  "
        f"{at.percent:d}%  {_short(at.rate / MIB)} MiB/s  {left}{phase}"
    )


def work_line(work: Worked) -> str:
    """What a finished piece of work cost."""
    return (
        f"bootsvc: {work.work} done in {_short(work.seconds)} s: read {_short(work.read / MIB)}, "
        f"written {_short(work.written / MIB)}, skipped {_short(work.skipped / MIB)} MiB"
    )


def wait_line(wait: Wait) -> str:
    """``bootsvc: waiting for the disk since 3 s, for 7 s more, then the console opens``."""
    until = "for ever" if wait.left_s is None else f"for {duration(wait.left_s)} more"
    then = f", then {wait.then}" if wait.left_s is not None else ""
    return f"bootsvc: waiting for {wait.what} since {duration(wait.since_s)}, {until}{then}"


def duration(seconds: float) -> str:
    """``45 s``, ``4 min 58 s``, ``34 min``, ``3 h 12 min``: no more exact than helps people."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 300:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _short(value: float) -> str:
    """With one decimal where that says something, so that long work still fits its line."""
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
