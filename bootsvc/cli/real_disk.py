"""What ``bootsvc disk`` says and asks before it overwrites a disk that is really there."""

from __future__ import annotations

import sys
from pathlib import Path

from bootsvc.cli.output import show_note
from bootsvc.disk.real_disk import RealDisk, check_free, describe, look_at
from bootsvc.errors import StorageError


def disk_to_erase(out: Path, yes_erase: str | None) -> RealDisk:
    """The disk at ``out``, once it is sure that it is meant.

    What is on it is shown first. A person has to type the disk's name; a program gives it with
    ``--yes-erase``.

    Raises:
        StorageError: it is no whole disk, in use, or another name was typed; nothing was written.
        DiskBusyError: the kernel holds it.
        ToolError: a program that looks at it is missing.
    """
    disk = look_at(out)
    for line in describe(disk):
        show_note(line)
    check_free(disk)
    if yes_erase is not None:
        _check_name(yes_erase, str(out), "--yes-erase names")
    else:
        _check_name(_typed(disk), disk.path, "what was typed is")
    return disk


def _typed(disk: RealDisk) -> str:
    if not sys.stdin.isatty():
        raise StorageError(
            f"{disk.path} is a disk, and nobody is there to say that it may be erased",
            hint=f"a program says so with: --yes-erase {disk.path}",
        )
    show_note("Everything on it will be lost.")
    print(f"Type {disk.path} to erase it, anything else to stop: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _check_name(given: str, wanted: str, how: str) -> None:
    if given != wanted:
        raise StorageError(f"{how} {given!r}, not {wanted}", hint="nothing was written")
