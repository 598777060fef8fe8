"""``bootsvc store``: image stores, from which machines get their versions."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bootsvc.cli import store_content
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import show, show_json, show_note
from bootsvc.cli.parsing import Groups, new_group
from bootsvc.cli.store_access import new_store_command, opened
from bootsvc.store.expiry import LONGEST_DAYS, ROLES, Expiry

if TYPE_CHECKING:
    from bootsvc.store.objects import ObjectStore
    from bootsvc.store.state import Published

EXAMPLES = """\
examples:
  bootsvc store init /srv/images --keys keys
      makes a store in a folder that any web server may show, and its keys in another
  bootsvc store init s3://bucket/images --keys keys
      the same in a bucket; AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ... lead to it
  bootsvc store refresh /srv/images --keys /etc/bootsvc-online
      every day, by a timer on the server: vouches that nothing newer was published
"""

SOON = timedelta(days=60)


def add_commands(groups: Groups) -> None:
    """Add ``store`` and its commands."""
    commands = new_group(groups, "store", "make stores of images, and keep them", EXAMPLES)
    _add_init(commands)
    _add_refresh(commands)
    _add_rotate(commands)
    store_content.add_commands(commands)


def _add_init(commands: Groups) -> None:
    parser = new_store_command(commands, "init", "make an empty store and its keys")
    _add_expiry(parser)
    parser.set_defaults(run=run_init)


def _add_refresh(commands: Groups) -> None:
    parser = new_store_command(
        commands, "refresh", "vouch anew that a store's present state is the newest"
    )
    parser.add_argument(
        "--restored",
        action="store_true",
        help="the store was brought back from a backup: go on from its older state",
    )
    _add_expiry(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run_refresh)


def _add_rotate(commands: Groups) -> None:
    parser = new_store_command(
        commands, "rotate", "let a new key take the place of an old one", ROTATE_EXAMPLES
    )
    parser.add_argument(
        "key", metavar="KEY", choices=("root", "targets", "online"), help="root, targets or online"
    )
    _add_expiry(parser)
    parser.set_defaults(run=run_rotate)


ROTATE_EXAMPLES = """\
example:
  bootsvc key new keys/online-2
  bootsvc store rotate /srv/images --keys keys online
  rm keys/online.key keys/online.pub
"""


def _add_expiry(parser: argparse.ArgumentParser) -> None:
    for role in ROLES:
        days = Expiry().of(role).days
        parser.add_argument(
            f"--{role}-days",
            metavar="N",
            type=_days,
            default=days,
            help=f"days that {role} metadata is good for once signed (default: {days})",
        )


def _days(text: str) -> int:
    """A time that signed metadata is good for, for argparse."""
    if text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= LONGEST_DAYS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: from 1 to {LONGEST_DAYS} days")


def run_init(args: argparse.Namespace) -> ExitCode:
    """Make an empty store."""
    expiry = _expiry_of(args)
    store = opened(args, create=True)
    from bootsvc.store.metadata import init_metadata

    init_metadata(store, args.keys, expiry=expiry)
    show(
        f"{store.name}: an empty image store\n"
        f"root and targets key  {args.keys}  (publish; keep them off the server)\n"
        f"online key            {args.keys / 'online.key'}  (bootsvc store refresh, at least every"
        f" {expiry.timestamp_days} days; for the server)\n"
        f"root metadata         {args.keys / 'root.json'}  (machines get it, and whoever has keys)"
    )
    return ExitCode.OK


def run_refresh(args: argparse.Namespace) -> ExitCode:
    """Sign what is due, and say until when machines believe it."""
    expiry = _expiry_of(args)
    store = opened(args)
    from bootsvc.store.metadata import refresh_timestamp

    state = refresh_timestamp(store, args.keys, is_restored=args.restored, expiry=expiry)
    ends = {role: state.expiry_of(role) for role in ROLES}
    if args.json:
        show_json(_document(store, state, ends))
    else:
        show(f"{store.name}: version {state.version} of {len(state.names)} documents is the newest")
        show("\n".join(f"  {role:<10} good until {_words(ends[role])}" for role in ROLES))
    for role in ("root", "targets"):
        if ends[role] - datetime.now(UTC) < SOON:
            show_note(
                f"bootsvc: {role} metadata runs out at {_words(ends[role])}, then no machine takes"
                f" anything: run this command once where {role}.key is"
            )
    return ExitCode.OK


def run_rotate(args: argparse.Namespace) -> ExitCode:
    """Replace a key."""
    expiry = _expiry_of(args)
    store = opened(args)
    from bootsvc.store.metadata import rotate

    rotate(store, args.keys, args.key, expiry=expiry)
    show(
        f"{store.name}: signed by the new {args.key} key from now on\n"
        f"the old one can be removed from {args.keys}; machines follow by themselves"
    )
    return ExitCode.OK


def _expiry_of(args: argparse.Namespace) -> Expiry:
    return Expiry(args.root_days, args.targets_days, args.snapshot_days, args.timestamp_days)


def _document(store: ObjectStore, state: Published, ends: dict[str, datetime]) -> dict[str, object]:
    return {
        "schema": 1,
        "store": store.name,
        "version": state.version,
        "documents": sorted(state.names),
        "good_until": {role: end.isoformat() for role, end in ends.items()},
    }


def _words(time: datetime) -> str:
    from bootsvc.transfer.layout import words

    return words(time)
