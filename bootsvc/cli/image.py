"""``bootsvc image``: makes, shows, verifies and publishes image files (.bimg)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.image_make import add_make
from bootsvc.cli.image_text import text_of
from bootsvc.cli.output import progress, show, show_json
from bootsvc.cli.parsing import Groups, add_keys, new_command, new_group
from bootsvc.cli.store_content import add_publish
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.storage.image_area import Footer


EXAMPLES = """\
examples:
  bootsvc image make rootfs/ -o v1.bimg --key keys/release.key \\
      --number 1 --label 1.0 --compatible lab --option console=ttyS0
  bootsvc image show v1.bimg
  bootsvc image verify v1.bimg --keys keys/
"""


def add_commands(groups: Groups) -> None:
    """Add ``image`` and its commands."""
    commands = new_group(groups, "image", "make, show, verify and publish image files", EXAMPLES)
    add_make(commands)
    shown = new_command(commands, "show", "show what an image file says of itself", "")
    shown.add_argument("image", metavar="IMAGE", type=Path, help="image file (.bimg)")
    shown.add_argument("--json", action="store_true", help="for programs")
    shown.set_defaults(run=run_show)
    verified = new_command(
        commands, "verify", "check an image file's signature and every byte of it", ""
    )
    verified.add_argument("image", metavar="IMAGE", type=Path, help="image file (.bimg)")
    add_keys(verified)
    verified.set_defaults(run=run_verify)
    add_publish(commands)


def run_show(args: argparse.Namespace) -> ExitCode:
    """Show what an image file says of itself."""
    from bootsvc.storage.image_file import open_bimg

    with open_bimg(args.image) as (device, footer):
        if args.json:
            show_json(_document_of(footer))
        else:
            show(f"{args.image}: {describe_size(device.size)}; nothing verified yet")
            show(text_of(footer))
    return ExitCode.OK


def run_verify(args: argparse.Namespace) -> ExitCode:
    """Check an image file in full."""
    from bootsvc.os_side.site import load_public_keys
    from bootsvc.settings import KEYS_DIR
    from bootsvc.storage.image_area import check_signature, read_leaves, verify_content
    from bootsvc.storage.image_file import open_bimg

    keys = load_public_keys(args.keys or KEYS_DIR)
    with open_bimg(args.image) as (device, footer):
        signer = check_signature(footer, keys, installing=True)
        leaves = read_leaves(device, footer)
        with progress(f"verify {args.image.name}", footer.manifest.size) as bar:
            verify_content(device, leaves, bar.tick)
    show(f"{args.image}: whole, signed by {signer.name}")
    return ExitCode.OK


def _document_of(footer: Footer) -> dict[str, object]:
    import json

    return {
        "schema": 1,
        "identity": footer.identity.hex(),
        "total_size": footer.locator.total_size,
        "signed_by": [one.key_id.hex() for one in footer.locator.signatures],
        "manifest": json.loads(footer.manifest_bytes),
    }
