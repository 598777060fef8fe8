"""``bootsvc password``: stores a password for the console and for GRUB."""

from __future__ import annotations

import argparse
import os
import sys

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import show, show_note
from bootsvc.cli.parsing import Groups, new_command
from bootsvc.errors import PasswordError

TEXT = """\
Asks twice, shows nothing of what is typed, and prints two lines for bootsvc.toml. That file goes
into the initramfs (python -m initramfs --config), which locks the console, and to
`bootsvc disk create --settings`, which locks GRUB's editor and command line.

examples:
  bootsvc password >> bootsvc.toml
  printf '%s\\n' "$PASSWORD" | bootsvc password --stdin
"""


def add_commands(groups: Groups) -> None:
    """Add ``password``."""
    command = new_command(groups, "password", "lock the console with a password", TEXT)
    command.add_argument(
        "--stdin", action="store_true", help="read the password from standard input, one line"
    )
    command.set_defaults(run=run_password)


def run_password(args: argparse.Namespace) -> ExitCode:
    """Print the settings that a password becomes."""
    from bootsvc.trust import grub_password, password

    typed = sys.stdin.readline().rstrip("\r\n") if args.stdin else _ask_twice()
    console = password.hash_password(typed, os.urandom(password.SALT_SIZE))
    grub = grub_password.hash_password(typed, os.urandom(grub_password.SALT_SIZE))
    show(f'console_password = "{console}"')
    show(f'grub_password = "{grub}"')
    return ExitCode.OK


def _ask_twice() -> str:
    from getpass import getpass

    from bootsvc.trust.password import refusal_of

    while True:
        typed = getpass("password: ")
        if reason := refusal_of(typed):
            show_note(reason)
        elif getpass("the same again: ") != typed:
            raise PasswordError("the two differ", hint="nothing was stored; start again")
        else:
            return typed
