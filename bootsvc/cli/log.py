"""``bootsvc log``: the last starts in words (DESIGN 9)."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import show, show_json
from bootsvc.cli.parsing import RUN_DIR, Groups, natural, new_command
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.os_side.start_log import PastStart

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
SANE_CLOCK_S = 1_700_000_000
DEFAULT_COUNT = 10
NO_STAGES = ("start", "handover")
"""Stages that every start has."""

LOG_TEXT = """\
Each start's record is kept in the data partition once its OS runs; what became of a start whose OS
never came up stands in `bootsvc status` as the last failure.

examples:
  bootsvc log                one line for each of the last 10 starts
  bootsvc log 12             all that the updater did at start 12
  bootsvc log --json -n 100
"""


def add_commands(groups: Groups) -> None:
    """Add ``bootsvc log``."""
    log = new_command(groups, "log", "show what the updater did at the last starts", LOG_TEXT)
    log.add_argument(
        "start", metavar="START", nargs="?", type=natural, help="number of one start: show it whole"
    )
    log.add_argument(
        "-n", "--count", metavar="N", type=natural, default=DEFAULT_COUNT,
        help=f"how many starts (default: {DEFAULT_COUNT})",
    )  # fmt: skip
    log.add_argument("--json", action="store_true", help="for programs: all entries of each start")
    log.add_argument(
        "--keep", action="store_true", help="keep this start's record (used by the package's unit)"
    )
    log.set_defaults(run=run_log)


def run_log(args: argparse.Namespace) -> ExitCode:
    """Show the last starts, or keep the record of this one.

    Raises:
        StorageError: no data partition in this start, or it cannot be read or written; or the start
            that was asked for is not kept.
    """
    from bootsvc.errors import StorageError
    from bootsvc.os_side.start_log import past_start, past_starts

    data = _data()
    if args.keep:
        return _keep(data)
    if args.start is None:
        starts = past_starts(data, args.count)
    else:
        one = past_start(data, args.start)
        if one is None:
            raise StorageError(
                f"start {args.start} is not kept", hint="those that are: bootsvc log -n 100"
            )
        starts = (one,)
    if args.json:
        show_json([asdict(one) for one in starts])
    elif args.start is None:
        show(table(starts))
    else:
        show(whole(starts[0]))
    return ExitCode.OK


def _data() -> Path:
    from bootsvc.errors import StorageError
    from bootsvc.os_side.restore_points import usable_data

    data = usable_data(RUN_DIR)
    if data is None:
        raise StorageError(
            f"{RUN_DIR / 'data'}: no data partition takes writes in this start",
            hint="see the alarms in: bootsvc status",
        )
    return data


def _keep(data: Path) -> ExitCode:
    from bootsvc.errors import StorageError
    from bootsvc.os_side.start_log import keep

    now_s = int(time.time())
    try:
        number = keep(
            RUN_DIR / "start.json",
            BOOT_ID_FILE.read_text("ascii").strip(),
            now_s if now_s > SANE_CLOCK_S else 0,
            data,
        )
    except OSError as exc:
        raise StorageError(f"{data}: the record of this start is not kept: {exc}") from exc
    show(f"kept as start {number}" if number else "kept already")
    return ExitCode.OK


# --- in words: pure -----------------------------------------------------------------------------


def table(starts: tuple[PastStart, ...]) -> str:
    """One line for each start, the newest first."""
    if not starts:
        return "no starts are kept yet"
    rows = [("START", "WHEN (UTC)", "STARTED", "AFTER", "THE UPDATER DID")]
    rows += [_row(one) for one in starts]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    )


def whole(start: PastStart) -> str:
    """All that the updater did at one start, a line for each entry."""
    head = f"start {start.number}, {_when(start)}"
    if start.problem:
        return f"{head}: {start.problem}"
    facts = ", ".join(f"{key} {value}" for key, value in (start.handover or {}).items())
    return "\n".join([f"{head}: {facts}", *map(_line, start.entries)])


def _row(start: PastStart) -> tuple[str, str, str, str, str]:
    if start.problem:
        return str(start.number), "", "", "", start.problem
    stages = [one for one in start.entries if "stage" in one]
    last = stages[-1] if stages else {}
    what = f"{last.get('area', '?')}, number {last.get('number', '?')}"
    if (start.handover or {}).get("trial") == "1":
        what += ", on trial"
    done = " ".join(str(one["stage"]) for one in stages if one["stage"] not in NO_STAGES)
    return (
        str(start.number), _when(start), what, f"{last.get('at_s', '?')} s",
        done or "nothing was to be done",
    )  # fmt: skip


def _when(start: PastStart) -> str:
    if not start.kept_at_s:
        return "clock not set"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start.kept_at_s))


def _line(entry: dict[str, object]) -> str:
    """``   1.204 s  text``; what stands for a time is right-aligned."""
    at = f"{entry['at_s']:>9} s" if "at_s" in entry else " " * 11
    if "text" in entry:
        return f"{at}  {entry['text']}"
    if "work" in entry:
        sizes = ", ".join(
            f"{name} {describe_size(size)}"
            for name in ("read", "written", "skipped")
            if isinstance(size := entry.get(name), int)
        )
        return f"{at}  {entry['work']} took {entry.get('seconds', '?')} s: {sizes}"
    known = ("at_s", "stage", "decided")
    facts = " ".join(f"{key}={value}" for key, value in entry.items() if key not in known)
    name = f"stage {entry['stage']}" if "stage" in entry else f"decided: {entry.get('decided')}"
    return f"{at}  {name} {facts}".rstrip()
