"""Tables of what was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bootsvc.units import KIB, MIB
from qemu_lab.bench.transfer.study import FAST, FRAME_SIZES, STREAM, STRONG, Row


@dataclass(frozen=True)
class Result:
    """One contender on one pair.

    Attributes:
        contender: its name.
        pair: name of the pair.
        fetched: bytes over the wire, index included; None where it could not run.
        requests: made for them; None where there is no such thing.
        seconds: until the new image was on the disk.
        dd_seconds: one copy of the image by dd right before.
        peak_bytes: most memory of the receiver at a time.
        note: conditions, or why it could not run.
    """

    contender: str
    pair: str
    fetched: int | None = None
    requests: int | None = None
    seconds: float | None = None
    dd_seconds: float | None = None
    peak_bytes: int | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Seconds in copies of the image by dd."""
        if self.seconds is None or self.dd_seconds is None:
            return None
        return self.seconds / self.dd_seconds


def study_table(rows: Iterable[Row]) -> str:
    """Block sizes: a line for each way to cut and pair, amounts in MiB."""
    header = ["pair", "cut", "pieces", "changed", "missing", "requests", "index", "differing"]
    header += [f"z{FAST} {_frame(size)}" for size in (STREAM, *FRAME_SIZES)]
    header += [f"z{STRONG} {_frame(MIB)}", "seconds"]
    lines = []
    for row in rows:
        line = [row.pair, row.cut, f"{row.pieces:,}", _mib(row.changed), _mib(row.missing)]
        line += [f"{row.requests:,}", _mib(row.index), _mib(row.index_differing)]
        fast, strong = (row.compressed.get(level, {}) for level in (FAST, STRONG))
        line += [_mib(fast.get(size)) for size in (STREAM, *FRAME_SIZES)]
        line += [_mib(strong.get(MIB)) + ("e" if STRONG in row.estimated else "")]
        lines.append([*line, f"{row.seconds:.1f}"])
    return columns(header, lines)


def peers_table(results: Iterable[Result]) -> str:
    """Contenders: a line for each, with its pairs side by side below one another."""
    header = ["contender", "pair", "MiB", "requests", "seconds", "x dd", "memory MiB", "note"]
    lines = []
    for one in results:
        line = [one.contender, one.pair, _mib(one.fetched)]
        line += ["-" if one.requests is None else f"{one.requests:,}"]
        line += ["-" if one.seconds is None else f"{one.seconds:.1f}"]
        line += ["-" if one.ratio is None else f"{one.ratio:.2f}", _mib(one.peak_bytes), one.note]
        lines.append(line)
    return columns(header, lines)


def columns(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Text in columns: numbers to the right, names and notes to the left."""
    table = [list(header), *(list(line) for line in lines)]
    widths = [max(len(line[place]) for line in table) for place in range(len(header))]
    left = {place for place, name in enumerate(header) if name in ("contender", "cut", "note")}
    return "\n".join(
        "  ".join(
            text.ljust(width) if place in left else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def _frame(size: int) -> str:
    if size == STREAM:
        return "stream"
    return f"{size // KIB}K" if size < MIB else f"{size // MIB}M"


def _mib(amount: int | None) -> str:
    return "-" if amount is None else f"{amount / MIB:.2f}"
