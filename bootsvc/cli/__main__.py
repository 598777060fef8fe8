"""``python3 -m bootsvc.cli``."""

import sys

from bootsvc.cli import main

if __name__ == "__main__":
    sys.exit(main())
