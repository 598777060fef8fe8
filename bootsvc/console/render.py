"""Lines of text for the serial console: plain ASCII, at most 80 columns. Pure."""

from __future__ import annotations

from bootsvc.units import MIB


def stage_line(name: str, facts: dict[str, object]) -> str:
    """``bootsvc: stage=copy boot=backup``: one line that people and programs read."""
    words = [f"stage={name}", *(f"{key}={value}" for key, value in facts.items())]
    return "bootsvc: " + " ".join(words)


def progress_line(work: str, done: int, total: int, seconds: float) -> str:
    """``bootsvc: copy 12.0 / 64.0 MiB  19%  10.1 MiB/s  5 s left``; sizes are bytes."""
    rate = done / seconds if seconds > 0 else 0.0
    left = f"{(total - done) / rate:.0f} s left" if rate else "waiting"
    return (
        f"bootsvc: {work} {done / MIB:.1f} / {total / MIB:.1f} MiB  "
        f"{100 * done // max(total, 1):d}%  {rate / MIB:.1f} MiB/s  {left}"
    )


def work_line(work: str, seconds: float, read: int, written: int, skipped: int) -> str:
    """What a finished piece of work cost; sizes are bytes."""
    return (
        f"bootsvc: {work} done in {_short(seconds)} s: read {_short(read / MIB)}, "
        f"written {_short(written / MIB)}, skipped {_short(skipped / MIB)} MiB"
    )


def _short(value: float) -> str:
    """With one decimal where that says something, so that long work still fits its line."""
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
