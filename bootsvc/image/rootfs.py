"""Reads files out of a root file system image (squashfs, ext4 or erofs) without mounting it.

No root and no loop device: ``unsquashfs``, ``debugfs`` and ``fsck.erofs`` read the image. Symbolic
links are followed here, within the image, so that a link can never lead to a file of the building
machine.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bootsvc.disk.tools import find_tool, run_tool
from bootsvc.errors import BootError, FormatError, StorageError, ToolError

MAX_LINKS = 40
"""As many links as Linux follows in one path."""


@dataclass(frozen=True)
class Entry:
    """A name in a folder: ``kind`` is file, dir, link or other; size in bytes; a link's target."""

    kind: str
    size: int = 0
    target: str = ""


class RootFs(Protocol):
    """A root file system as ``boot_files`` needs it; paths are absolute and free of links."""

    def entries(self, folder: str) -> Mapping[str, Entry]:
        """What is in ``folder``; empty where there is no such folder."""
        ...

    def extract(self, path: str, target: Path) -> None:
        """Write the content of the file at ``path`` to ``target``."""
        ...


_MAGICS = (
    ("squashfs", 0, b"hsqs"),
    ("ext4", 1080, b"\x53\xef"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
)
HEAD_SIZE = 2048
"""Bytes of a file system in which its magic number is."""


def kind_of(head: bytes) -> str:
    """squashfs, ext4 or erofs, by the first ``HEAD_SIZE`` bytes; empty where it is none of them."""
    for kind, offset, magic in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return ""


def open_rootfs(image: Path) -> RootFs:
    """The file system in ``image``, told by the magic number in its superblock.

    Raises:
        StorageError: it cannot be read.
        FormatError: neither squashfs, ext4 nor erofs.
    """
    try:
        with image.open("rb") as file:
            kind = kind_of(file.read(HEAD_SIZE))
    except OSError as exc:
        raise StorageError(f"{image}: cannot be read: {exc.strerror}") from exc
    if kind == "squashfs":
        return Squashfs(image)
    if kind == "ext4":
        return Ext4(image)
    if kind == "erofs":
        return Erofs(image)
    raise FormatError(
        f"{image}: neither squashfs, ext4 nor erofs, nor a disk with partitions",
        hint="name a folder, or make one with: mksquashfs FOLDER rootfs.squashfs",
    )


class Squashfs:
    """A squashfs file, read by unsquashfs."""

    def __init__(self, image: Path) -> None:
        self.image = image

    def entries(self, folder: str) -> Mapping[str, Entry]:
        """See ``RootFs``."""
        depth = len([part for part in folder.split("/") if part]) + 1
        listing = run_tool(
            [
                *("unsquashfs", "-no-progress", "-no-wildcards", "-dest", ""),
                *("-max-depth", str(depth), "-lln", self.image),
                *([folder.strip("/")] if folder.strip("/") else []),
            ]
        )
        found = {}
        prefix = folder.rstrip("/") + "/"
        for line in listing.splitlines():
            match = _LISTED.fullmatch(line)
            if match is None:
                continue
            mode, size, path = match["mode"], match["size"], match["path"]
            kind = {"-": "file", "d": "dir", "l": "link"}.get(mode[0], "other")
            path, _, target = path.partition(" -> ") if kind == "link" else (path, "", "")
            name = path.removeprefix(prefix)
            if path.startswith(prefix) and name and "/" not in name:
                found[name] = Entry(kind, int(size), target)
        return found

    def extract(self, path: str, target: Path) -> None:
        """See ``RootFs``."""
        command = ["-no-progress", "-no-wildcards", "-cat", str(self.image), path.lstrip("/")]
        with target.open("wb") as file:
            done = subprocess.run(
                [find_tool("unsquashfs"), *command],
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode:
            raise ToolError(f"unsquashfs cannot read {path} in {self.image}: {done.stderr.strip()}")


_LISTED = re.compile(
    r"(?P<mode>[-dlcbps][-a-zA-Z]{9}) +\d+/\d+ +(?P<size>\d+) "
    r"\d{4}-\d\d-\d\d \d\d:\d\d (?P<path>.*)"
)


class Ext4:
    """An ext4 file, read by debugfs."""

    def __init__(self, image: Path) -> None:
        self.image = image

    def entries(self, folder: str) -> Mapping[str, Entry]:
        """See ``RootFs``."""
        found = {}
        for line in self._ask(f'ls -p "{_quotable(folder)}"').splitlines():
            # /inode/mode/uid/gid/name/size/
            fields = line.split("/")
            if len(fields) != 8 or fields[5] in (".", "..", ""):
                continue
            kind = {0o100000: "file", 0o040000: "dir", 0o120000: "link"}.get(
                int(fields[2], 8) & 0o170000, "other"
            )
            name, size = fields[5], int(fields[6] or 0)
            target = self._link_target(f"{folder.rstrip('/')}/{name}") if kind == "link" else ""
            found[name] = Entry(kind, size, target)
        return found

    def extract(self, path: str, target: Path) -> None:
        """See ``RootFs``."""
        target.unlink(missing_ok=True)
        self._ask(f'dump "{_quotable(path)}" "{_quotable(str(target))}"')
        if not target.exists():
            raise ToolError(f"debugfs cannot read {path} in {self.image}")

    def _link_target(self, path: str) -> str:
        stat = self._ask(f'stat "{_quotable(path)}"')
        # A short target stands in the inode itself, a longer one in a block.
        match = re.search(r'Fast link dest: "(.*)"', stat)
        return match[1] if match else self._ask(f'cat "{_quotable(path)}"')

    def _ask(self, request: str) -> str:
        return run_tool(["debugfs", "-R", request, self.image])


class Erofs:
    """An erofs file. Its tools read no single file, so all of it is unpacked, once, when the first
    one is asked for; the copies are gone with this object."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self._folder: Path | None = None

    def entries(self, folder: str) -> Mapping[str, Entry]:
        """See ``RootFs``."""
        found = {}
        place = self._unpacked() / folder.lstrip("/")
        if place.is_dir():
            for one in os.scandir(place):
                if one.is_symlink():
                    target = str(Path(one).readlink())
                    found[one.name] = Entry("link", len(target.encode()), target)
                elif one.is_dir():
                    found[one.name] = Entry("dir")
                else:
                    size = one.stat(follow_symlinks=False).st_size
                    found[one.name] = Entry("file" if one.is_file() else "other", size)
        return found

    def extract(self, path: str, target: Path) -> None:
        """See ``RootFs``."""
        source = self._unpacked() / path.lstrip("/")
        if source.is_symlink() or not source.is_file():
            raise ToolError(f"{path}: not a regular file in {self.image}")
        shutil.copyfile(source, target)

    def _unpacked(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="bootsvc-erofs-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            # As ourselves: the image's owners and modes matter to nobody here, and a folder of
            # mode 0 could not be removed.
            run_tool(["fsck.erofs", f"--extract={self._folder}/root", "--no-preserve", self.image])
        return self._folder / "root"


def _quotable(path: str) -> str:
    if '"' in path or "\n" in path:
        raise FormatError(f"{path!r}: a name with a quote or a line end cannot be read")
    return path


def resolve(rootfs: RootFs, path: str) -> tuple[str, Entry]:
    """The path without any link, and what is there; links are followed within the image.

    Raises:
        BootError: nothing is there, or the links go in a circle.
    """
    links = 0
    done = "/"
    entry = Entry("dir")
    todo = [part for part in path.split("/") if part]
    while todo:
        part = todo.pop(0)
        if part == ".":
            continue
        if part == "..":
            done = posixpath.dirname(done)
            entry = Entry("dir")
            continue
        found = rootfs.entries(done).get(part) if entry.kind == "dir" else None
        if found is None:
            raise BootError(f"{path}: there is no {posixpath.join(done, part)} in the image")
        if found.kind == "link":
            links += 1
            if links > MAX_LINKS:
                raise BootError(f"{path}: symbolic links in a circle")
            done = "/" if found.target.startswith("/") else done
            todo = [one for one in found.target.split("/") if one] + todo
            continue
        done, entry = posixpath.join(done, part), found
    return done, entry


def read_text(rootfs: RootFs, path: str, longest: int = 65536) -> str:
    """The text of a small file at ``path``, which is free of links.

    Raises:
        FormatError: longer than ``longest`` bytes.
    """
    with tempfile.TemporaryDirectory(prefix="bootsvc-image-") as folder:
        copy = Path(folder) / "file"
        rootfs.extract(path, copy)
        if copy.stat().st_size > longest:
            raise FormatError(f"{path}: longer than {longest} bytes")
        return copy.read_text(encoding="utf-8", errors="replace")
