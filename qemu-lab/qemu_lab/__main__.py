"""Entry point of `python -m qemu_lab`."""

import sys

from qemu_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
