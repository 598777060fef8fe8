"""``bootsvc disk usb-stick``: a stick that starts the updater to repair a machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bootsvc.cli.disk_making import Shown, add_lock_settings, grub_password
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import show
from bootsvc.cli.parsing import Groups, natural, new_command
from bootsvc.units import describe_size

TEXT = """\
OUT becomes a stick, or a file to be copied to one, that a BIOS or UEFI machine starts from: the
updater with its console, and images to install from. It holds nothing of the machine's own disk.

examples:
  bootsvc disk usb-stick /dev/sdb --kernel vmlinuz --initramfs updater.img --image v2.bimg
  bootsvc disk usb-stick stick.img --kernel vmlinuz --initramfs updater.img
"""


def add_command(groups: Groups) -> None:
    """Add ``disk usb-stick``."""
    stick = new_command(groups, "usb-stick", "make a stick that repairs a machine", TEXT)
    stick.set_defaults(run=run_stick)
    stick.add_argument("out", metavar="OUT", type=Path, help="file to make, or stick to erase")
    for name, words in (
        ("--kernel", "the updater's kernel"),
        ("--initramfs", "the updater's initramfs, with the keys that may sign images"),
    ):
        stick.add_argument(name, metavar="FILE", type=Path, required=True, help=words)
    stick.add_argument(
        "--image",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="image (.bimg) to install from; may be given again",
    )
    stick.add_argument(
        "--append",
        metavar="WORDS",
        default="console=tty0 console=ttyS0",
        help="kernel options for the updater (default: console=tty0 console=ttyS0)",
    )
    stick.add_argument(
        "--menu-seconds",
        metavar="N",
        type=natural,
        default=3,
        help="how long Esc calls up the boot menu; 0 starts at once (default: 3)",
    )
    add_lock_settings(stick)
    stick.add_argument("--force", action="store_true", help="replace the file OUT if it exists")
    stick.add_argument(
        "--yes-erase",
        metavar="DISK",
        help="OUT once more, exactly, where it is a disk: nobody is asked",
    )


def run_stick(args: argparse.Namespace) -> ExitCode:
    """Make the stick and say what is on it."""
    from bootsvc.disk.real_disk import is_block_device
    from bootsvc.disk.stick import StickContents, make_stick, make_stick_file

    contents = StickContents(
        kernel=args.kernel,
        initramfs=args.initramfs,
        images=tuple(args.image),
        options=args.append,
        menu_seconds=args.menu_seconds,
        grub_password=grub_password(args.settings),
    )
    shown = Shown()
    progress: Callable[[str, int, int], None] = shown.update
    try:
        if is_block_device(args.out):
            from bootsvc.cli.real_disk import disk_to_erase

            disk = disk_to_erase(args.out, args.yes_erase)
            layout = make_stick(Path(disk.path), contents, progress=progress)
        else:
            layout = make_stick_file(args.out, contents, force=args.force, progress=progress)
    finally:
        shown.end()
    lines = [f"{args.out}: {describe_size(layout.size)} are used; starts by BIOS and by UEFI"]
    lines += [f"  {image.name}  {describe_size(image.stat().st_size)}" for image in args.image]
    lines.append("the updater's console opens at once; images: install, then Enter")
    show("\n".join(lines))
    return ExitCode.OK
