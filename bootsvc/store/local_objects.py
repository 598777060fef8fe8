"""A store in a local folder, as any web server can show it.

Not by obstore's LocalStore: that renames a new file into place without having it or its folder
flushed (0.12.1, seen with strace), so a power cut could leave a published version without content.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bootsvc.errors import (
    NoObjectError,
    ObjectTooLargeError,
    ReadBackError,
    StorageError,
    StoreAccessError,
)
from bootsvc.storage.device import CHUNK_SIZE, DirectDevice
from bootsvc.storage.files import flush_folder
from bootsvc.storage.image_area import Tick, no_tick
from bootsvc.store.objects import Arriving, StoredObject, checked_key

_WRITING = ".writing"
"""The folder where files are written before they get their name."""

_LOCK = ".lock"

_ABANDONED_S = 24 * 3600
"""A file there that nobody wrote to for so long was left by a power cut."""


class FolderObjects:
    """An ``ObjectStore`` over a folder."""

    def __init__(
        self,
        root: Path,
        *,
        is_sole_writer: bool = False,
        check_room: Callable[[int], None] = no_tick,
    ) -> None:
        """Nothing is looked at yet.

        Args:
            is_sole_writer: whoever uses this keeps all others from writing, so whatever is half
                written was left by a power cut.
            check_room: told how many bytes are about to be written; raises where there is no room.
        """
        self.name = str(root)
        self._root = root
        self._is_sole_writer = is_sole_writer
        self._check_room = check_room
        self._is_tidy = False

    def read(self, key: str, largest: int) -> bytes:
        """See ``ObjectStore``."""
        with self._opened(key) as fd:
            size = os.fstat(fd).st_size
            if size > largest:
                raise ObjectTooLargeError(
                    f"{self.name}/{key}: {size} bytes, at most {largest} are allowed"
                )
            return self._exactly(fd, key, 0, size)

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """See ``ObjectStore``."""
        with self._opened(key) as fd:
            return self._exactly(fd, key, offset, length)

    def write(self, key: str, data: bytes) -> None:
        """See ``ObjectStore``."""
        with self._arriving(key) as file:
            file.write(data)
            file.name(key)

    @contextmanager
    def arriving(self) -> Iterator[Arriving]:
        """See ``ObjectStore``."""
        with self._arriving("a new file") as file:
            yield file

    def read_seen(self, key: str, largest: int) -> tuple[bytes, str]:
        """See ``ObjectStore``."""
        data = self.read(key, largest)
        return data, _word_for(data)

    def write_if(self, key: str, data: bytes, seen: str | None) -> bool:
        """See ``ObjectStore``."""
        path = self._path(key)
        with self._arriving(key) as file, self._locked(key):
            with self._writing(key):
                word = _word_for(path.read_bytes()) if path.exists() else None
            if word != seen:
                return False
            file.write(data)
            file.name(key)
            return True

    def size(self, key: str) -> int | None:
        """See ``ObjectStore``."""
        try:
            with self._opened(key) as fd:
                return os.fstat(fd).st_size
        except NoObjectError:
            return None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See ``ObjectStore``."""
        top = self._root / checked_key(prefix) if prefix else self._root

        def refuse(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):  # it may have been removed just now
                raise self._no_access(prefix or ".", "listed", error)

        for folder, below, names in os.walk(top, onerror=refuse):
            below[:] = [name for name in below if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if name.startswith("."):
                    continue
                with suppress(FileNotFoundError):
                    facts = path.stat()
                    key = path.relative_to(self._root).as_posix()
                    yield StoredObject(key, facts.st_size, int(facts.st_mtime))

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                flush_folder(path.parent)
        except OSError as exc:
            raise self._no_access(key, "removed", exc) from exc

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        try:
            fd = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise NoObjectError(f"{self.name}/{key}: there is no such file") from exc
        except OSError as exc:
            raise self._no_access(key, "read", exc) from exc
        try:
            yield fd
        except OSError as exc:
            raise self._no_access(key, "read", exc) from exc
        finally:
            os.close(fd)

    def _exactly(self, fd: int, key: str, offset: int, length: int) -> bytes:
        parts, at = [], offset
        while at < offset + length:
            piece = os.pread(fd, min(CHUNK_SIZE, offset + length - at), at)
            if not piece:
                raise StoreAccessError(
                    f"{self.name}/{key}: ends at byte {at}, {offset + length} were asked for"
                )
            parts.append(piece)
            at += len(piece)
        return b"".join(parts)

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    @contextmanager
    def _arriving(self, what: str) -> Iterator[_ArrivingFile]:
        """A file without a name yet; ``what`` names it in errors."""
        with self._writing(what):
            self._tidy()
            # A name of its own: two publishers may write the same pack of blocks at once.
            file = _ArrivingFile(self, self._root / _WRITING / uuid.uuid4().hex, what)
        try:
            yield file
        finally:
            file.close()

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """What goes wrong is named."""
        try:
            yield
        except OSError as exc:
            raise self._no_access(what, "written", exc) from exc
        except StorageError as exc:
            raise StoreAccessError(f"{self.name}/{what}: {exc}", hint=exc.hint) from exc

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        with self._writing(key):
            fd = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with self._writing(key):
                fcntl.flock(fd, fcntl.LOCK_EX)  # held while one small file is written, not longer
            yield
        finally:
            os.close(fd)

    def _tidy(self) -> None:
        """Once: see that files can be written, and remove what a power cut left half written."""
        if self._is_tidy:
            return
        folder = self._root / _WRITING
        _make_folder(folder)
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                if self._is_sole_writer or time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
        self._is_tidy = True

    def _no_access(self, key: str, verb: str, error: OSError) -> StoreAccessError:
        hint = {
            errno.ENOSPC: "make room on its disk; nothing half written stays",
            errno.EACCES: "give this user access to the folder",
            errno.EROFS: "its file system is mounted read-only",
        }.get(error.errno or 0, "")
        return StoreAccessError(
            f"{self.name}/{key}: cannot be {verb}: {error.strerror or error}", hint=hint
        )


def open_folder(root: Path, *, create: bool) -> FolderObjects:
    """The store in the folder ``root``; see ``open_object_store``."""
    try:
        if create:
            _make_folder(root.absolute())
        is_folder = root.is_dir()
    except OSError as exc:
        raise StoreAccessError(f"{root}: cannot be made: {exc.strerror}") from exc
    if not is_folder:
        raise StoreAccessError(
            f"{root}: there is no such folder", hint="make a store with: bootsvc store init"
        )
    return FolderObjects(root)


class _ArrivingFile:
    """See ``Arriving``: flushed, read back past the page cache, then named, and that flushed."""

    def __init__(self, store: FolderObjects, path: Path, what: str) -> None:
        self._store = store
        self._path = path
        self._what = what
        self._digest, self._size = hashlib.sha256(), 0
        self._is_named = False
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, data: bytes) -> None:
        """See ``Arriving``."""
        self._store._check_room(len(data))  # noqa: SLF001
        with self._store._writing(self._what):  # noqa: SLF001
            done = 0
            while done < len(data):
                done += os.pwritev(self._fd, [memoryview(data)[done:]], self._size + done)
        self._digest.update(data)
        self._size += len(data)

    def name(self, key: str, tick: Tick = no_tick) -> None:
        """See ``Arriving``."""
        target = self._store._path(key)  # noqa: SLF001
        with self._store._writing(key):  # noqa: SLF001
            os.fsync(self._fd)
            self._read_back(tick)
            _make_folder(target.parent)
            self._path.replace(target)
            self._is_named = True
            flush_folder(target.parent)

    def close(self) -> None:
        """Without a name it is gone; where not even that works, ``_tidy`` removes it one day."""
        os.close(self._fd)
        if not self._is_named:
            with suppress(OSError):
                self._path.unlink()

    def _read_back(self, tick: Tick) -> None:
        found = hashlib.sha256()
        with DirectDevice(self._path, writable=False) as written:
            for at in range(0, self._size, CHUNK_SIZE):
                piece = written.read_at(at, min(CHUNK_SIZE, self._size - at))
                found.update(piece)
                tick(len(piece))
        if found.digest() != self._digest.digest():
            raise ReadBackError("differs from what was written", hint="check the disk")


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it; their names are flushed."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def _word_for(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
