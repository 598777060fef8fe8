"""Running the host's programs, and progress lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qemu_lab.images.errors import ImageBuildError

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[3]
BUILD = PROJECT / "build"
KERNELS = BUILD / "kernels"
IMAGES = BUILD / "images"

# Which Debian package brings which program, for the message when one is missing.
PACKAGES = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "unsquashfs": "squashfs-tools",
}


def run(
    command: Sequence[str],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program to its end; returns its standard output.

    Args:
        command: program and arguments.
        log: file that gets all output instead; its end is part of the error.
        env: variables added to this process's environment.
        cwd: directory to run in.

    Raises:
        ImageBuildError: the program is missing or ended with an error.
    """
    name = Path(command[0]).name
    if shutil.which(command[0]) is None:
        package = PACKAGES.get(name, name)
        raise ImageBuildError(f"{name} is missing: apt-get install {package}")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    done: subprocess.CompletedProcess[str]
    if log is None:
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, check=False
        )
        said = done.stderr
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as stream:
            done = subprocess.run(
                command,
                env=environment,
                cwd=cwd,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        said = log.read_text(encoding="utf-8", errors="replace")
    if done.returncode != 0:
        tail = "\n  ".join(said.strip().splitlines()[-15:])
        where = f" (all of it: {log})" if log else ""
        raise ImageBuildError(f"{name} ended with code {done.returncode}{where}:\n  {tail}")
    return done.stdout if log is None else ""


def say(text: str) -> None:
    """One progress line, at once even into a pipe."""
    print(text, flush=True)


@dataclass
class Result:
    """What a step reports when it ends."""

    note: str = ""


@contextmanager
def step(name: str) -> Iterator[Result]:
    """A step worth a line: its name when it begins, its note and seconds when it ends."""
    say(f"{name} ...")
    begun = time.monotonic()
    result = Result()
    yield result
    say(f"{name}: {result.note or 'done'} in {time.monotonic() - begun:.1f} s")


def mebibytes(path: Path) -> str:
    """Size of a file for a person."""
    return f"{path.stat().st_size / 2**20:.1f} MiB"
