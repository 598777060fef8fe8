"""The ``bootsvc`` command: the only part, beside the console, that prints and exits.

Each module adds one group of commands; what a command needs is imported when it runs, so that
``bootsvc status`` is quick and the OS side needs none of the image maker's libraries.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from bootsvc import __version__
from bootsvc.cli import (
    chain,
    disk,
    image,
    key,
    log,
    os_side,
    password,
    restore_point,
    store,
    update,
    updater,
)
from bootsvc.cli.exit_codes import ExitCode, exit_code_of, table
from bootsvc.cli.output import show_error, show_note
from bootsvc.errors import BootsvcError

DESCRIPTION = """\
Keeps a machine bootable through every update of its disk image.
"""

EXAMPLES = """\
Every command explains itself: bootsvc COMMAND --help

exit codes:
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="bootsvc",
        description=DESCRIPTION,
        epilog=EXAMPLES + table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bootsvc {__version__}")
    groups = parser.add_subparsers(title="commands", dest="command", required=True)
    for part in (
        os_side,
        restore_point,
        update,
        log,
        image,
        chain,
        disk,
        key,
        password,
        store,
        updater,
    ):
        part.add_commands(groups)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (``exit_codes``)."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as exc:
        return int(exc.code or 0)
    run: Callable[[argparse.Namespace], ExitCode] = args.run
    try:
        return run(args)
    except BootsvcError as exc:
        show_error(exc)
        return exit_code_of(exc)
    except KeyboardInterrupt:
        show_note("bootsvc: stopped; what was under way can simply be started again")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
