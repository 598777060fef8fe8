"""``bootsvc disk``: makes bootable disks and disk files, and shows how a disk is laid out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.cli import stick
from bootsvc.cli.disk_making import Shown, add_lock_settings, grub_password
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import show
from bootsvc.cli.parsing import Groups, natural, new_command, new_group, size_argument
from bootsvc.errors import LayoutError
from bootsvc.units import describe_size

if TYPE_CHECKING:
    from bootsvc.disk.create import DiskContents
    from bootsvc.disk.create import Progress as CreateProgress
    from bootsvc.disk.partition import DiskLayout
    from bootsvc.storage.image_area import Footer

EXAMPLES = """\
examples:
  bootsvc disk create machine.img --image v1.bimg --kernel vmlinuz --initramfs updater.img
  bootsvc disk show machine.img
"""

CREATE_TEXT = """\
A disk file is made without root and without loop devices, sparsely, and gets its name only once it
is complete. Where OUT is a disk, what is on it is shown and its name must be typed; the partition
table is written last, so that a power cut leaves an empty disk or a whole one.

GRUB on it starts the updater, by BIOS and by UEFI. Without --confirmed the image waits in staging
and the first start installs it, on trial as every new image; with --confirmed it stands in primary
and backup and is simply started.

examples:
  bootsvc disk create machine.img --image v1.bimg --kernel vmlinuz --initramfs updater.img
  bootsvc disk create big.img --image v1.bimg --kernel vmlinuz --initramfs updater.img \\
      --confirmed --area-size 2G --size 16G --append 'console=ttyS0 console=tty0'
  qemu-system-x86_64 -m 512 -nographic -drive file=machine.img,format=raw,if=virtio
  bootsvc disk create /dev/sdb --image v1.bimg --kernel vmlinuz --initramfs updater.img
"""


def add_commands(groups: Groups) -> None:
    """Add ``disk`` and its commands."""
    commands = new_group(groups, "disk", "make and show bootable disks", EXAMPLES)
    _add_show(commands)
    stick.add_command(commands)
    create = new_command(commands, "create", "make a bootable disk, or disk file", CREATE_TEXT)
    create.set_defaults(run=run_create)
    create.add_argument("out", metavar="OUT", type=Path, help="disk file to make, or disk to erase")
    need = create.add_argument_group("needed")
    need.add_argument("--image", metavar="FILE", type=Path, required=True, help="image (.bimg)")
    need.add_argument(
        "--kernel", metavar="FILE", type=Path, required=True, help="the updater's kernel"
    )
    need.add_argument(
        "--initramfs", metavar="FILE", type=Path, required=True, help="the updater's initramfs"
    )
    what = create.add_argument_group("what is on it")
    what.add_argument(
        "--confirmed",
        action="store_true",
        help="the image is known to be good: put it into primary and backup, not into staging",
    )
    what.add_argument(
        "--append",
        metavar="WORDS",
        default="console=ttyS0",
        help="kernel options for the updater (default: console=ttyS0)",
    )
    what.add_argument(
        "--menu-seconds",
        metavar="N",
        type=natural,
        default=1,
        help="how long Esc calls up the boot menu; 0 starts at once (default: 1)",
    )
    add_lock_settings(what)
    sizes = create.add_argument_group("sizes, such as 64M or 2G")
    for option, words in (
        ("--area-size", "each of the three image areas (default: 64M)"),
        ("--esp-size", "boot partition (default: 96M; with 4096-byte sectors the least for FAT32)"),
        ("--data-size", "data partition (default: 64M, or what --size leaves)"),
        ("--size", "the whole disk (default: what the partitions need)"),
    ):
        sizes.add_argument(option, metavar="SIZE", type=size_argument, help=words)
    sizes.add_argument(
        "--sector-size",
        type=int,
        choices=(512, 4096),
        default=512,
        help="logical sector size; a BIOS starts 512 only (default: 512)",
    )
    create.add_argument("--force", action="store_true", help="replace the file OUT if it exists")
    create.add_argument(
        "--yes-erase",
        metavar="DISK",
        help="OUT once more, exactly, where it is a disk: nobody is asked",
    )
    create.add_argument(
        "--seed", metavar="TEXT", help="the same GUIDs for the same text, for tests"
    )


def _add_show(commands: Groups) -> None:
    shown = new_command(commands, "show", "show a disk's partitions and boot status", "")
    shown.add_argument("disk", metavar="DISK", type=Path, help="disk or disk file")
    shown.set_defaults(run=run_show)


def run_create(args: argparse.Namespace) -> ExitCode:
    """Make a disk or disk file and say what is on it."""
    from bootsvc.disk.create import DiskContents, create_disk
    from bootsvc.disk.real_disk import is_block_device

    contents = DiskContents(
        image=args.image,
        kernel=args.kernel,
        initramfs=args.initramfs,
        confirmed=args.confirmed,
        options=args.append,
        menu_seconds=args.menu_seconds,
        grub_password=grub_password(args.settings),
    )
    shown = Shown()
    try:
        if is_block_device(args.out):
            layout, footer = _create_on_disk(args, contents, shown.update)
        else:
            layout = _layout(args, args.size, args.sector_size)
            footer = create_disk(
                args.out, layout, contents, force=args.force, progress=shown.update
            )
    finally:
        shown.end()
    show(summary(args.out, layout, footer, confirmed=args.confirmed))
    return ExitCode.OK


def _create_on_disk(
    args: argparse.Namespace, contents: DiskContents, progress: CreateProgress
) -> tuple[DiskLayout, Footer]:
    from bootsvc.cli.real_disk import disk_to_erase
    from bootsvc.disk.create_on_disk import create_on_disk

    if args.size is not None:
        raise LayoutError(f"{args.out} is a disk and has its own size", hint="leave --size out")
    disk = disk_to_erase(args.out, args.yes_erase)
    layout = _layout(args, disk.size, disk.sector_size)
    return layout, create_on_disk(Path(disk.path), layout, contents, progress=progress)


def _layout(args: argparse.Namespace, size: int | None, sector_size: int) -> DiskLayout:
    from bootsvc.disk.partition import DEFAULT_AREA_SIZE, plan

    return plan(
        area_size=DEFAULT_AREA_SIZE if args.area_size is None else args.area_size,
        esp_size=args.esp_size,
        data_size=args.data_size,
        size=size,
        sector_size=sector_size,
        seed=args.seed,
    )


def run_show(args: argparse.Namespace) -> ExitCode:
    """Show a disk's partitions and boot status."""
    from bootsvc.cli.status_report import gather, text
    from bootsvc.os_side.machine import open_machine

    with open_machine(args.disk, writable=False) as machine:
        device, gpt = machine.disk.device, machine.disk.gpt
        spare = "; only the spare partition table is readable" if gpt.is_spare else ""
        show(f"{device.name}: {describe_size(device.size)}, GUID {gpt.disk_guid}{spare}")
        for part in gpt.partitions:
            show(f"  {part.index}  {part.name:16} {describe_size(part.size):>10}  at {part.offset}")
        show(text(gather(machine, (), None, ())))
    return ExitCode.OK


def summary(out: Path, layout: DiskLayout, footer: Footer, *, confirmed: bool) -> str:
    """What was made and what it will do, in words; pure."""
    manifest = footer.manifest
    lines = [f"{out}: {describe_size(layout.size)}, {layout.sector_size}-byte sectors"]
    lines += [
        f"  {number}  {part.name:16} {describe_size(part.size):>10}  at {part.offset}"
        for number, part in enumerate(layout.partitions, start=1)
    ]
    where = "primary and backup" if confirmed else "staging"
    lines.append(
        f"image {manifest.number} ({manifest.label}) in {where},"
        f" identity {footer.identity.hex()[:16]}"
    )
    lines.append(
        "first start: boots it" if confirmed else "first start: installs it and starts it on trial"
    )
    if not layout.boots_from_bios:
        lines.append("for UEFI machines: a BIOS starts disks with 512-byte sectors only")
    return "\n".join(lines)
