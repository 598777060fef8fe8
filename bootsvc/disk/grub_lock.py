"""A locked console behind an open boot loader would be no lock: the two go together."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bootsvc.disk.tools import find_tool
from bootsvc.errors import SettingsError, ToolError
from bootsvc.settings import NO_SHELL_PATH

_UNPACKERS = (
    (b"\x28\xb5\x2f\xfd", ("zstd", "-dcq")),
    (b"\x1f\x8b", ("gzip", "-dc")),
    (b"\xfd7zXZ\0", ("xz", "-dc")),
    (b"\x02\x21\x4c\x18", ("lz4", "-dcq")),
)
"""First bytes of a compressed archive, and what unpacks it."""


def check_locks(initramfs: Path, grub_password: str) -> None:
    """Check that the boot loader is locked where the updater in ``initramfs`` is.

    Raises:
        SettingsError: the updater gives nobody a shell, but anybody could at GRUB's command line.
        ToolError: the initramfs cannot be unpacked here.
    """
    if grub_password or not is_locked(initramfs.read_bytes(), str(initramfs)):
        return
    raise SettingsError(
        f"{initramfs}: the updater locks its console, but GRUB's editor would be open to everybody",
        hint="make grub_password with `bootsvc password`, and give --settings with both",
    )


def check_keeps_lock(now: bytes, new: bytes, new_name: str) -> None:
    """Check that an updater (``new``, an initramfs) which takes the place of a locked one (``now``)
    is locked as well.

    Raises:
        SettingsError: it is open to everybody.
        ToolError: one of them cannot be unpacked here.
    """
    if not is_locked(now, "the updater in use") or is_locked(new, new_name):
        return
    raise SettingsError(
        f"{new_name}: its console is open to everybody, that of the updater in use is locked",
        hint="build it with the console's settings of this machine, or say --allow-unlocked",
    )


def is_locked(initramfs: bytes, called: str) -> bool:
    """Whether the updater in ``initramfs`` locks its console or has its shell switched off.

    Args:
        called: names it where it cannot be unpacked.

    Raises:
        ToolError: it cannot be unpacked here.
    """
    # The builder's word to init; names in an archive have no leading slash and end in a zero.
    name = bytes(NO_SHELL_PATH.relative_to("/")) + b"\0"
    return name in _unpacked(initramfs, called)


def _unpacked(data: bytes, called: str) -> bytes:
    for magic, (name, *options) in _UNPACKERS:
        if data.startswith(magic):
            command = [find_tool(name), *options]
            done = subprocess.run(command, input=data, capture_output=True, check=False)
            if done.returncode:
                raise ToolError(f"{called}: {name} cannot unpack it: is it complete?")
            return done.stdout
    return data
