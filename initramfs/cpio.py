"""Archives in cpio's "newc" format, as the Linux kernel unpacks them at boot.

Written entry by entry in Python, so device nodes and uid 0 need no root. Layout of one
entry (linux: Documentation/driver-api/early-userspace/buffer-format.rst), all numbers
8 hexadecimal digits:

    offset  field                                offset  field
      0     "070701"                               54    size of the data
      6     inode number                           62    major of the holding device
     14     mode with file type                    70    minor of the holding device
     22     uid                                    78    major of a device node
     30     gid                                    86    minor of a device node
     38     number of links                        94    length of the name with its NUL
     46     mtime, seconds                        102    0 (sum, used by "070702" only)

then the name with NUL, padded to 4 bytes, then the data, padded to 4 bytes. The entry named
``TRAILER!!!`` ends an archive.

Two archives with the same entries have the same bytes: entries are sorted by path, inode
numbers count up in that order, and the one mtime is an argument.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import BinaryIO

from initramfs.errors import CpioError

TRAILER = "TRAILER!!!"
MAX_UINT32 = 0xFFFFFFFF
# The kernel finds a further (compressed or plain) archive behind zero padding; GNU cpio pads
# to 512 as well, so that files can be joined by cat.
END_ALIGNMENT = 512


@dataclass(frozen=True)
class Entry:
    """One entry of an archive.

    ``path`` has no leading slash; ``mode`` includes the file type; ``data`` is the content of
    a file or the target of a symbolic link; ``device`` is (major, minor) of a device node.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def normalise(path: str) -> str:
    """Return ``path`` as an archive stores it: relative, without ``.``, ``..`` or ``//``.

    Raises CpioError: the path is empty, leaves the root or is the name of the trailer.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise CpioError(f"{path!r} does not name an entry: give a path below the root")
    if ".." in parts:
        raise CpioError(f"{path!r} leaves the root: write the path without '..'")
    name = "/".join(parts)
    if name == TRAILER or "\0" in name:
        raise CpioError(f"{path!r} cannot be stored in a cpio archive: rename the file")
    return name


class Archive:
    """Entries of one archive; parent directories (mode 0755) are added by themselves."""

    def __init__(self, mtime: int = 0) -> None:
        """Start an empty archive; every entry gets ``mtime`` (seconds since 1970)."""
        if not 0 <= mtime <= MAX_UINT32:
            raise CpioError(f"mtime {mtime} does not fit 32 bits: set SOURCE_DATE_EPOCH lower")
        self._mtime = mtime
        self._entries: dict[str, Entry] = {}

    def add_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file; the same file twice is one entry, a different one an error."""
        self._add(Entry(normalise(path), stat.S_IFREG | mode, bytes(data)))

    def add_dir(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self._add(Entry(normalise(path), stat.S_IFDIR | mode))

    def add_symlink(self, path: str, target: str) -> None:
        """Add a symbolic link at ``path`` that points to ``target``."""
        if not target:
            raise CpioError(f"symbolic link {path!r} has no target")
        self._add(Entry(normalise(path), stat.S_IFLNK | 0o777, target.encode()))

    def add_device(self, path: str, kind: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a device node; ``kind`` is ``c`` (character) or ``b`` (block)."""
        types = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}
        if kind not in types:
            raise CpioError(f"device {path!r} is of kind {kind!r}: 'c' and 'b' are the kinds")
        self._add(Entry(normalise(path), types[kind] | mode, device=(major, minor)))

    def _add(self, entry: Entry) -> None:
        present = self._entries.get(entry.path)
        if present is not None and present != entry:
            raise CpioError(f"/{entry.path} was added twice with different content or mode")
        self._add_parents(entry.path)
        self._entries[entry.path] = entry

    def _add_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent:
            there = self._entries.get(parent)
            if there is not None:
                if not stat.S_ISDIR(there.mode):
                    raise CpioError(f"/{path} lies below /{parent}, which is no directory")
                return
            self._entries[parent] = Entry(parent, stat.S_IFDIR | 0o755)
            parent = parent.rpartition("/")[0]

    def __contains__(self, path: str) -> bool:
        """Whether an entry at ``path`` was added."""
        return normalise(path) in self._entries

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries in the order in which they are written: a parent before its children."""
        # Compared by parts, or "a-b" would come between "a" and "a/b".
        return tuple(sorted(self._entries.values(), key=lambda entry: entry.path.split("/")))

    def write(self, stream: BinaryIO) -> int:
        """Write the archive to ``stream``; returns its size in bytes."""
        written = 0
        for inode, entry in enumerate(self.entries, start=1):
            written += stream.write(_encode(entry, inode, self._mtime))
        written += stream.write(_encode(Entry(TRAILER, 0), 0, 0))
        return written + stream.write(b"\0" * (-written % END_ALIGNMENT))


def _encode(entry: Entry, inode: int, mtime: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode,
        entry.mode,
        0,  # uid: root, whoever builds
        0,  # gid
        links,
        mtime,
        len(entry.data),
        0,
        0,
        entry.device[0],
        entry.device[1],
        len(name),
        0,
    )
    too_large = [number for number in fields if not 0 <= number <= MAX_UINT32]
    if too_large:
        raise CpioError(f"/{entry.path}: {too_large[0]} does not fit a 32-bit field")
    header = b"070701" + b"".join(b"%08X" % number for number in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
