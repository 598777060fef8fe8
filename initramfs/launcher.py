"""The program that init runs: a few lines that import the updater and call it."""

from initramfs.python_runtime import DIST_PACKAGES

LAUNCHER_PATH = "/usr/lib/bootsvc/updater.pyc"

# Run as a compiled file and not by "-m": runpy would import pkgutil, importlib.util and
# contextlib first. -I and -S leave dist-packages out of sys.path, so it is added here.
# Collecting garbage while modules load finds none: switched on again when they are there.
_TEXT = """\
import gc
import sys

gc.disable()
sys.path.append({search!r})
import {entry} as updater

gc.enable()
sys.exit(updater.main())
"""


def launcher_source(entry: str) -> str:
    """Source text of the launcher for an entry module that has ``main() -> int``."""
    return _TEXT.format(search=DIST_PACKAGES, entry=entry)
