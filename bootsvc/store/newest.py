"""What a publisher has seen of its store, so that nobody can bring an older state back unseen.

It lies beside the keys, as ``newest.json``. Without it, a publisher whose store was rolled back
would vouch for the old state as the newest.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from bootsvc.errors import FieldError, StorageError
from bootsvc.storage.files import replace_file

_FILE = "newest.json"
_LARGEST = 1000


@dataclass(frozen=True)
class Versions:
    """The versions of a state's metadata; 0 where none was seen."""

    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in asdict(self).items())

    def is_behind(self, other: Versions) -> bool:
        """Whether any of them is lower than that of ``other``."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return any(own < others for own, others in pairs)

    def at_least(self, other: Versions) -> Versions:
        """The higher one of each."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Versions(*(max(pair) for pair in pairs))


NOTHING_SEEN = Versions()


def read_newest(folder: Path) -> Versions:
    """The highest versions that this publisher saw.

    Raises:
        FieldError: the file is damaged.
        StorageError: it cannot be read.
    """
    path = folder / _FILE
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_LARGEST))
        versions = Versions(**document)
        is_right = all(type(one) is int and one >= 0 for one in asdict(versions).values())
    except FileNotFoundError:
        return NOTHING_SEEN
    except OSError as exc:
        raise StorageError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, RecursionError):
        is_right = False
    if not is_right:
        raise FieldError(
            f"{path}: damaged, so it is not known what was published last",
            hint="look whether the store holds the newest version, then remove this file",
        )
    return versions


def remember_newest(folder: Path, versions: Versions) -> None:
    """Keep the higher ones of ``versions`` and what was kept.

    Raises:
        FieldError, StorageError: see ``read_newest``; or it cannot be written.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # two publishers may share the folder
        known = read_newest(folder)
        if known.is_behind(versions):
            content = json.dumps(asdict(known.at_least(versions))) + "\n"
            replace_file(folder / _FILE, content.encode())
    except OSError as exc:
        raise StorageError(f"{folder / _FILE}: cannot be written: {exc.strerror}") from exc
    finally:
        os.close(fd)
