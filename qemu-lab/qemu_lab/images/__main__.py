"""``python -m qemu_lab.images``: kernels and images for the lab."""

from __future__ import annotations

import argparse
import sys

from qemu_lab.errors import LabError
from qemu_lab.images import kernels


def main() -> int:
    """Do what the command line asks; 1 if that failed."""
    parser = argparse.ArgumentParser(prog="python -m qemu_lab.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("kernels", help="fetch and extract Debian's kernels")
    fetch.add_argument("names", nargs="*", help="cloud, generic (default: both)")
    fetch.add_argument("--refresh", action="store_true", help="look for newer ones")
    arguments = parser.parse_args()
    try:
        names = arguments.names or list(kernels.FLAVOURS)
        unknown = [name for name in names if name not in kernels.FLAVOURS]
        if unknown:
            parser.error(f"no kernel named {unknown[0]}: one of {', '.join(kernels.FLAVOURS)}")
        for name in names:
            kernels.fetch(name, refresh=arguments.refresh)
    except LabError as error:
        sys.stderr.write(f"images: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
