"""Libraries that the Debian package carries, for Debian 12 lacks them or has them too old.

They are pure Python, and taken from the environment that ``make setup`` made, so the package builds
without a network; their versions are pinned in pyproject.toml, so two builds carry the same bytes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from bootsvc.errors import ToolError

NAMES = ("tuf", "securesystemslib", "urllib3")
"""What ``bootsvc.transfer`` imports beyond Debian's own packages. securesystemslib verifies Ed25519
in Python by itself; Debian 12's cryptography is too old for it."""

_NOT_NEEDED = re.compile(
    r"(^|/)__pycache__/"
    r"|^securesystemslib/_vendor/(ed25519/(test_|science|\.)|.*\.sh$)"
    r"|^urllib3/contrib/emscripten/"
)


def bundled_files(project: Path) -> Iterator[tuple[str, bytes]]:
    """Path below the folder of bundled libraries, and content, of every file.

    Args:
        project: the folder of pyproject.toml.

    Raises:
        ToolError: a library is missing, or has another version than the pinned one.
    """
    pins = _pins(project)
    for name in NAMES:
        found = _pinned(name, pins)
        for file in found.files or ():
            path = file.as_posix()
            if path.startswith(f"{name}/") and not _NOT_NEEDED.search(path):
                yield path, file.read_binary()


def _pins(project: Path) -> dict[str, str]:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = settings["project"]["optional-dependencies"]["dev"]
    return dict(one.split("==") for one in wanted if "==" in one)


def _pinned(name: str, pins: dict[str, str]) -> Distribution:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise ToolError(f"the library {name} is missing", hint="make setup") from None
    if found.version != pins[name]:
        raise ToolError(
            f"{name} {found.version} is installed; the package carries {pins[name]}",
            hint="make setup",
        )
    return found
