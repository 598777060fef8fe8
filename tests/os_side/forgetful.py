"""A folder on a real file system whose power can be cut between any two steps.

The functions of ``os`` that change files below the folder are counted. At the step asked for, the
power goes, or an error comes. After a cut nothing changes any more, and what was not flushed can be
taken back: content (written since the file's last fsync), names (since their folder's last fsync),
or both, for a file system may keep either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

STEPS = ("open", "ftruncate", "pwritev", "fsync", "replace", "unlink", "mkdir")


class PowerCut(BaseException):
    """The machine is off: no handler of an error may catch this."""


@dataclass(frozen=True)
class Pending:
    """A change that was not flushed yet: what it belongs to, and how it is taken back."""

    owner: int
    undo: Callable[[], object]


@dataclass
class ForgetfulFolder:
    """Watches ``folder``.

    Attributes:
        stop_at: number of the step at which ``stop`` is raised instead; -1 for never.
        stop: PowerCut, or an error that is met once.
        done: the steps that were made, by name.
    """

    folder: Path
    stop_at: int = -1
    stop: BaseException = field(default_factory=PowerCut)
    done: list[str] = field(default_factory=list)
    _is_off: bool = False
    _content: list[Pending] = field(default_factory=list)
    _names: list[Pending] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the watched functions in place of those of ``os``."""
        self._real = {name: getattr(os, name) for name in STEPS}
        for name in STEPS:
            patch.setattr(os, name, getattr(self, f"_{name}"))

    def lose(self, *, content: bool, names: bool) -> None:
        """After a cut, with ``os`` as it was: take back what was not flushed."""
        for kind, is_lost in ((self._content, content), (self._names, names)):
            for pending in reversed(kind if is_lost else []):
                # What has lost its name has no content to lose.
                with suppress(FileNotFoundError):
                    pending.undo()

    # --- the steps ------------------------------------------------------------------------------

    def _open(self, path: Any, flags: int, *more: Any, **others: Any) -> Any:
        if flags & os.O_CREAT and self._is_ours(path):
            self._step("create")
            fd = self._real["open"](path, flags, *more, **others)
            self._named(Path(path), lambda: self._real["unlink"](path))
            return fd
        return self._real["open"](path, flags, *more, **others)

    def _ftruncate(self, fd: int, size: int) -> None:
        path = _path_of(fd)
        if self._is_ours(path):
            self._step("truncate")
            before = os.fstat(fd).st_size
            self._changed(path, lambda file: file.truncate(before))
        self._real["ftruncate"](fd, size)

    def _pwritev(self, fd: int, buffers: Sequence[Any], offset: int) -> Any:
        path = _path_of(fd)
        if self._is_ours(path):
            self._step("write")
            with path.open("rb") as file:
                file.seek(offset)
                before = file.read(sum(map(len, buffers)))
            size = path.stat().st_size
            self._changed(
                path, lambda file: (file.seek(offset), file.write(before), file.truncate(size))
            )
        elif self._is_off:
            raise PowerCut
        return self._real["pwritev"](fd, buffers, offset)

    def _fsync(self, fd: int) -> None:
        path = _path_of(fd)
        if self._is_ours(path):
            self._step("flush folder" if path.is_dir() else "flush")
            owner = path.stat().st_ino
            for kind in (self._content, self._names):
                kind[:] = [pending for pending in kind if pending.owner != owner]
        self._real["fsync"](fd)

    def _replace(self, old: Any, new: Any) -> None:
        if self._is_ours(new):
            self._step("rename")
            before = Path(new).read_bytes() if Path(new).exists() else None
            self._named(Path(new), lambda: self._take_back_name(old, new, before))
        self._real["replace"](old, new)

    def _unlink(self, path: Any) -> None:
        if self._is_ours(path):
            self._step("remove")
            with suppress(FileNotFoundError):
                before = Path(path).read_bytes()
                self._named(Path(path), lambda: Path(path).write_bytes(before))
        self._real["unlink"](path)

    def _mkdir(self, path: Any, mode: int = 0o777) -> None:
        if self._is_ours(path):
            self._step("make folder")
            self._named(Path(path), lambda: Path(path).rmdir())
        self._real["mkdir"](path, mode)

    def _step(self, name: str) -> None:
        if self._is_off:
            raise PowerCut
        if len(self.done) == self.stop_at:
            self.stop_at = -1
            self._is_off = isinstance(self.stop, PowerCut)
            raise self.stop
        self.done.append(name)

    def _is_ours(self, path: Any) -> bool:
        return Path(path).is_relative_to(self.folder)

    def _named(self, path: Path, undo: Callable[[], object]) -> None:
        self._names.append(Pending(path.parent.stat().st_ino, undo))

    def _take_back_name(self, old: Any, new: Any, before: bytes | None) -> None:
        self._real["replace"](new, old)
        if before is not None:
            Path(new).write_bytes(before)

    def _changed(self, path: Path, undo: Callable[[Any], object]) -> None:
        """The file may have another name by the time this is taken back."""
        inode = path.stat().st_ino

        def take_back() -> None:
            for found in self.folder.rglob("*"):
                if found.is_file() and found.stat().st_ino == inode:
                    with found.open("r+b") as file:
                        undo(file)

        self._content.append(Pending(inode, take_back))


def _path_of(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()
