"""``bootsvc image make``, and how ``bootsvc image publish`` makes an image first."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.image_text import text_of
from bootsvc.cli.output import progress, show
from bootsvc.cli.parsing import Groups, natural, new_command
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.image.keys import SigningKey

MAKE_TEXT = """\
ROOTFS is a folder, or a file: raw, qcow2 (with its backing files beside it), VHD (fixed, dynamic,
differencing with its parents beside it) or VHDX. It holds a squashfs, ext4 or erofs file system, or
is a whole disk (GPT or MBR) with one as its root partition.

The file system has a kernel in its /boot: the newest entry in /boot/loader/entries, or else the
newest /boot/vmlinuz-RELEASE with its initrd. Kernel, initrd and options are signed with the image.
The updater sets root=, ro, init=, panic= and bootsvc.* itself, so these are left out of a boot
entry's options and refused as --option.

examples:
  bootsvc image make rootfs/ -o v2.bimg --key keys/release.key --number 2 --label 1.1 \\
      --compatible lab --option console=ttyS0 --parent v1.bimg --notes "new kernel"
  bootsvc image make cloud.qcow2 -o v3.bimg --key keys/release.key --number 3 --label 2.0 \\
      --compatible lab --verity
"""

METHODS = ("kexec", "switch_root")
OVERLAYS = ("volatile", "kept")
SHAPES = ("raw", "qcow2", "vhd", "vhdx", "folder")
TREE_KINDS = ("squashfs", "erofs", "ext4")
OWNERS = ("kept", "root")


def add_make(commands: Groups) -> None:
    """Add ``make`` to the group ``image``."""
    make = new_command(
        commands, "make", "make a signed image file of a root file system", MAKE_TEXT
    )
    make.set_defaults(run=run_make)
    make.add_argument(
        "rootfs", metavar="ROOTFS", type=Path, help="folder, file system, or disk; see above"
    )
    make.add_argument("-o", "--out", metavar="FILE", type=Path, required=True, help="image file")
    add_making_options(make, is_required=True)
    make.add_argument("--force", action="store_true", help="replace an existing image file")


def add_making_options(parser: argparse.ArgumentParser, *, is_required: bool) -> None:
    """Add all that says how an image is made, and of what.

    Args:
        is_required: those without a default must be given.
    """
    need = parser.add_argument_group("needed to make an image")
    need.add_argument(
        "--key", metavar="FILE", type=Path, required=is_required, help="secret key (.key)"
    )
    need.add_argument(
        "--number", metavar="N", type=natural, required=is_required, help="orders the versions"
    )
    need.add_argument(
        "--label", metavar="TEXT", required=is_required, help="the version for people"
    )
    need.add_argument(
        "--compatible",
        metavar="NAME",
        required=is_required,
        help="machine type that the image is for",
    )
    start = parser.add_argument_group("how it starts")
    start.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="kexec starts the image's own kernel; switch_root goes on under the updater's where "
        "that is the same build (default: kexec)",
    )
    start.add_argument(
        "--option",
        metavar="WORDS",
        action="append",
        default=[],
        help="kernel options beside those of the boot entry; may be given more than once",
    )
    start.add_argument(
        "--overlay",
        choices=OVERLAYS,
        default=OVERLAYS[0],
        help="where the running system's writes go: memory, or the data partition "
        "(default: volatile)",
    )
    start.add_argument(
        "--init", metavar="PATH", default="/sbin/init", help="first program (default: /sbin/init)"
    )
    start.add_argument(
        "--kernel",
        metavar="PATH",
        default="",
        help="kernel in the image (default: that of the boot entry, or the newest in /boot)",
    )
    start.add_argument(
        "--no-initrd", action="store_true", help="the kernel mounts its root by itself"
    )
    start.add_argument(
        "--verity",
        action="store_true",
        help="hold every block against its digest while the image runs (dm-verity): a rotten one "
        "restarts the machine, and the next start looks for it",
    )
    source = parser.add_argument_group("what it is made from")
    source.add_argument(
        "--shape", choices=SHAPES, help="of ROOTFS (default: told by its first and last bytes)"
    )
    source.add_argument(
        "--file-system",
        choices=TREE_KINDS,
        default=TREE_KINDS[0],
        help="that a folder is made into (default: squashfs, compressed by zstd)",
    )
    source.add_argument(
        "--owner",
        choices=OWNERS,
        help="of a folder's files: as they are, or root (default: kept where root makes the "
        "image, else root)",
    )
    source.add_argument(
        "--root-partition",
        metavar="N",
        type=natural,
        default=0,
        help="of a whole disk, as sfdisk numbers them (default: found by its type, or by --init)",
    )
    more = parser.add_argument_group("more about the version")
    more.add_argument(
        "--lineage",
        metavar="NAME",
        help="which images are versions of one another: a UUID, or any name "
        "(default: the name given as --compatible)",
    )
    more.add_argument(
        "--floor",
        metavar="N",
        type=natural,
        default=0,
        help="no number below this may be installed once this image proved itself (default: 0)",
    )
    more.add_argument(
        "--parent", metavar="IMAGE", help="the version before: its image file, or its identity"
    )
    more.add_argument("--notes", metavar="TEXT", default="", help="release notes")


def run_make(args: argparse.Namespace) -> ExitCode:
    """Make a signed image file."""
    from bootsvc.errors import StorageError
    from bootsvc.image.keys import load_signing_key
    from bootsvc.storage.image_file import open_bimg

    key = load_signing_key(args.key)
    if args.out.exists() and not args.force:
        # Before a conversion of minutes; make_image asks again.
        raise StorageError(f"{args.out} exists already", hint="use --force to replace it")
    make_from(args.rootfs, args.out, key, args)
    with open_bimg(args.out) as (_, footer):
        show(f"{args.out}: {describe_size(footer.locator.total_size)}, signed by {key.name}")
        show(text_of(footer))
    return ExitCode.OK


def make_from(source: Path, out: Path, key: SigningKey, args: argparse.Namespace) -> None:
    """Make the image file ``out`` of ``source`` as ``args`` say (``add_making_options``).

    Raises: as ``image.source.opened_as_raw`` and ``image.make.make_image``.
    """
    from bootsvc.image.make import BootOptions, lineage_of, make_image
    from bootsvc.image.source import SourceOptions, opened_as_raw
    from bootsvc.image.trees import TreeOptions

    options = SourceOptions(
        args.shape or "",
        TreeOptions(args.file_system, args.owner or ("kept" if os.geteuid() == 0 else "root")),
    )
    scratch = out.absolute().parent
    with (
        opened_as_raw(source, scratch=scratch, options=options, show_work=progress) as raw,
        progress(out.name, raw.stat().st_size) as bar,
    ):
        make_image(
            raw,
            out,
            key=key,
            number=args.number,
            label=args.label,
            lineage=lineage_of(args.lineage or args.compatible),
            compatible=args.compatible,
            floor=args.floor,
            boot=BootOptions(
                method=args.method,
                options=tuple(args.option),
                overlay=args.overlay,
                init=args.init,
                kernel=args.kernel,
                with_initrd=not args.no_initrd,
                verity=args.verity,
                root_partition=args.root_partition,
            ),
            notes=args.notes,
            parent=_parent_identity(args.parent),
            force=True,
            tick=bar.tick,
        )


def _parent_identity(text: str | None) -> bytes | None:
    from bootsvc.storage.image_file import open_bimg

    if text is None:
        return None
    if len(text) == 64 and all(char in "0123456789abcdef" for char in text):
        return bytes.fromhex(text)
    with open_bimg(Path(text)) as (_, footer):
        return footer.identity
