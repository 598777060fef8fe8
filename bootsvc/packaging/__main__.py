"""``python -m bootsvc.packaging [DIRECTORY]``: builds the Debian package into build/debs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bootsvc.errors import ToolError
from bootsvc.packaging import deb


def main() -> int:
    """Build the package and say where it is and how large; 1 if that failed."""
    parser = argparse.ArgumentParser(prog="python -m bootsvc.packaging", description=__doc__)
    default = deb.PROJECT / "build/debs"
    parser.add_argument("directory", nargs="?", type=Path, default=default)
    arguments = parser.parse_args()
    try:
        package = deb.build(arguments.directory)
    except ToolError as error:
        sys.stderr.write(f"deb: {error}\n")
        return 1
    sys.stdout.write(f"{package} ({package.stat().st_size} bytes)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
