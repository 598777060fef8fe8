"""``python -m qemu_lab.images``: kernels and images for the lab."""

from __future__ import annotations

import argparse
import sys
import time

from bootsvc.errors import BootsvcError
from initramfs.errors import InitramfsError
from qemu_lab.errors import LabError
from qemu_lab.images import kernels
from qemu_lab.images.tools import say

WHAT = ("probe", "debian")


def main() -> int:
    """Do what the command line asks; 1 if that failed."""
    parser = argparse.ArgumentParser(prog="python -m qemu_lab.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("kernels", help="fetch and extract Debian's kernels")
    fetch.add_argument("names", nargs="*", help="cloud, generic (default: both)")
    fetch.add_argument("--refresh", action="store_true", help="look for newer ones")
    build = commands.add_parser("build", help="make all images, or those of one kind")
    build.add_argument("what", nargs="*", help="probe, debian (default: both)")
    arguments = parser.parse_args()
    known = tuple(kernels.FLAVOURS) if arguments.command == "kernels" else WHAT
    chosen = arguments.names if arguments.command == "kernels" else arguments.what
    unknown = [name for name in chosen if name not in known]
    if unknown:
        parser.error(f"nothing is named {unknown[0]}: one of {', '.join(known)}")
    begun = time.monotonic()
    try:
        if arguments.command == "kernels":
            for name in chosen or known:
                kernel = kernels.fetch(name, refresh=arguments.refresh)
                say(f"{kernel.tree}: {kernel.release}")
        else:
            _build(chosen or known)
    except (LabError, BootsvcError, InitramfsError) as error:
        sys.stderr.write(f"images: {error}\n")
        return 1
    say(f"{arguments.command}: all there, {time.monotonic() - begun:.1f} s")
    return 0


def _build(what: tuple[str, ...]) -> None:
    # Imported late: fetching kernels needs none of it.
    from qemu_lab.images import products, signed

    if "probe" in what:
        products.build_all()
    if "debian" in what:
        signed.build_all()


if __name__ == "__main__":
    sys.exit(main())
