"""What all commands that work on an image store have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.parsing import Groups
from bootsvc.errors import ToolError, WrongKeyError

if TYPE_CHECKING:
    from bootsvc.store.objects import ObjectStore


def new_store_command(
    commands: Groups, name: str, summary: str, text: str = ""
) -> argparse.ArgumentParser:
    """A command that works on a store with its keys."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("where", metavar="WHERE", help="folder, or s3://bucket/prefix")
    parser.add_argument(
        "--keys", metavar="DIR", type=Path, required=True, help="folder of the store's keys"
    )
    return parser


def opened(args: argparse.Namespace, *, create: bool = False) -> ObjectStore:
    """The store that a command works on.

    Raises:
        ToolError: a library is missing.
        WrongKeyError: the keys lie where everybody reads them.
        StoreAccessError: there is no such folder, or the address is no bucket's.
    """
    try:
        import bootsvc.store.metadata  # noqa: F401
        from bootsvc.store.address import open_object_store
        from bootsvc.store.objects import S3_SCHEME
    except ImportError as exc:
        raise ToolError(
            f"the library {exc.name} is missing, which image stores need",
            hint="pip install 'bootsvc[store]'",
        ) from exc
    where: str = args.where
    keys: Path = args.keys
    if not where.startswith(S3_SCHEME) and keys.resolve().is_relative_to(Path(where).resolve()):
        raise WrongKeyError(
            f"{keys}: lies within the store {where}, which is shown to everybody",
            hint="keep the keys in a folder of their own",
        )
    return open_object_store(where, create=create)
