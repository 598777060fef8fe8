"""``bootsvc key``: keys that sign images."""

from __future__ import annotations

import argparse
from pathlib import Path

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import show
from bootsvc.cli.parsing import Groups, new_group

EXAMPLES = """\
examples:
  bootsvc key new keys/release
      writes keys/release.key (secret: keep it off servers and machines) and keys/release.pub
      (public: goes into the initramfs and into /etc/bootsvc/keys of the machines)
"""


def add_commands(groups: Groups) -> None:
    """Add ``key`` and its commands."""
    commands = new_group(groups, "key", "make keys that sign images", EXAMPLES)
    new = commands.add_parser("new", help="make a key pair", description="Make a key pair.")
    new.add_argument("name", metavar="NAME", type=Path, help="writes NAME.key and NAME.pub")
    new.set_defaults(run=run_new)


def run_new(args: argparse.Namespace) -> ExitCode:
    """Make a key pair."""
    from bootsvc.image.keys import KEY_SUFFIX, PUBLIC_SUFFIX, new_key_pair

    key = new_key_pair(args.name)
    base = args.name.with_name(key.name)
    show(f"secret key  {base}{KEY_SUFFIX}  (signs images; keep it to yourself)")
    show(f"public key  {base}{PUBLIC_SUFFIX}  (machines trust it; id {key.public.key_id.hex()})")
    return ExitCode.OK
