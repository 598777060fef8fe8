"""What all commands' argument parsers have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.units import parse_size

if TYPE_CHECKING:
    from bootsvc.sequence.requests import Started

    # argparse gives the type of add_subparsers() no public name.
    Groups = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
else:
    Groups = object

RUN_DIR = Path("/run/bootsvc")
"""What the updater and ``overlay.sh`` left of this start."""


def new_group(groups: Groups, name: str, summary: str, examples: str) -> Groups:
    """A group of commands, such as ``bootsvc image ...``."""
    group = new_command(groups, name, summary, examples)
    return group.add_subparsers(title="commands", dest=f"{name}_command", required=True)


def new_command(groups: Groups, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    """A command with a one-line ``summary`` and a ``text`` (examples) below its options."""
    return groups.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def new_disk_command(groups: Groups, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    """A command of the running OS, which works on ``disk_path``."""
    parser = new_command(groups, name, summary, text)
    parser.add_argument(
        "--disk",
        metavar="PATH",
        type=Path,
        help="disk or disk file (default: the one this system was started from)",
    )
    return parser


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add ``--keys``; without it, the machine's own are meant."""
    parser.add_argument(
        "--keys",
        metavar="PATH",
        type=Path,
        help="trusted public key, or a folder of them (default: /etc/bootsvc/keys)",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add ``--settings``; without it, the machine's own are meant."""
    parser.add_argument(
        "--settings",
        metavar="FILE",
        type=Path,
        help="settings file (default: /etc/bootsvc/bootsvc.toml)",
    )


def size_argument(text: str) -> int:
    """A size such as 64M, for argparse."""
    try:
        return parse_size(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def natural(text: str) -> int:
    """A whole number from 0 on, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def disk_path(args: argparse.Namespace) -> Path:
    """The disk that a command of the running OS works on: ``--disk``, or this machine's own.

    Raises:
        NotBootsvcError: there is none, or it is not clear which.
    """
    from bootsvc.os_side.machine import find_disk
    from bootsvc.os_side.started import read_this_start

    disk: Path | None = args.disk
    return disk if disk is not None else find_disk(read_this_start())


def own_start(args: argparse.Namespace) -> Started | None:
    """What the updater started of the disk that a command works on; None: nothing of this one."""
    from bootsvc.os_side.started import read_this_start

    this_start = read_this_start() if is_own_disk(args) else None
    return this_start.started if this_start else None


def is_own_disk(args: argparse.Namespace) -> bool:
    """Whether ``disk_path`` is the disk that this system runs from: what lies in ``RUN_DIR`` speaks
    of no other."""
    from bootsvc.os_side.machine import whole_disk
    from bootsvc.os_side.started import read_this_start

    if args.disk is None:
        return True
    this_start = read_this_start()
    own = whole_disk(this_start.root) if this_start is not None else None
    # A disk has many names (/dev/disk/by-id/...).
    return own is not None and args.disk.resolve() == own.resolve()
