"""The record's list of failed images, copied to data by the running OS (DESIGN 3)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bootsvc.formats import failed_list
from bootsvc.formats.boot_status import NO_IDENTITY, AreaState, BootStatus
from bootsvc.storage.files import replace_file


def remember(data: Path, status: BootStatus) -> bool:
    """Have the file in the folder ``data`` say what ``status`` says; True where it was written.

    Every confirm calls it, and so every start: data knows of a failed image as soon as another
    one runs. A file that says so already is not touched.

    Raises:
        OSError, StorageError: data cannot be written; the old file still stands.
    """
    path = data / failed_list.NAME
    old = b""
    with suppress(FileNotFoundError), path.open("rb") as file:
        old = file.read(failed_list.MAX_SIZE)
    known = failed_list.parse(old)
    primary = status.primary
    good = primary.identity if primary.state is AreaState.CONFIRMED else NO_IDENTITY
    wanted = failed_list.merged(status.failed, known, good)
    if wanted == known:
        return False
    replace_file(path, failed_list.build(wanted))
    return True
