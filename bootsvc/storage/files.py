"""Files in data that stand whole after every power cut: written, flushed, read back, then named."""

from __future__ import annotations

import os
from pathlib import Path

from bootsvc.errors import ReadBackError
from bootsvc.storage.device import DirectDevice


def replace_file(path: Path, content: bytes) -> None:
    """Give the file at ``path`` a new content: after a power cut it holds the old or the new one.

    Raises:
        OSError, StorageError: it cannot be written or is read back differently; the old file still
            stands.
    """
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        done = 0
        while done < len(content):
            done += os.pwritev(fd, [content[done:]], done)
        os.fsync(fd)
    finally:
        os.close(fd)
    with DirectDevice(new, writable=False) as written:
        if written.read_at(0, len(content)) != content:
            raise ReadBackError(f"{new}: differs from what was written", hint="check the disk")
    new.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Have the names in ``folder`` reach the medium. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
