"""An image that is itself a disk: its root partition, and the one that holds its kernel.

The partition table is read by sfdisk (GPT or MBR, sectors of 512 bytes), once, when the image is
made; what was found is signed in the manifest, and no table is read at a start.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from bootsvc.disk.tools import run_tool
from bootsvc.errors import BootError, FormatError, StorageError, ToolError
from bootsvc.formats.manifest import InnerPartition
from bootsvc.image.rootfs import HEAD_SIZE, Entry, RootFs, kind_of, open_rootfs, resolve
from bootsvc.storage.device import CHUNK_SIZE
from bootsvc.units import BLOCK_SIZE, SECTOR_SIZE, describe_size, round_up

ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
"""GPT type of a root file system for x86-64 (Discoverable Partitions Specification)."""

_BOOT = "/boot"


@dataclass(frozen=True)
class Partition:
    """A partition of the image.

    Attributes:
        number: as people count, from 1.
        place: its bytes in the image.
        kind: its type, a GUID or an MBR type in hexadecimal.
        file_system: squashfs, ext4, erofs, or empty.
    """

    number: int
    place: InnerPartition
    kind: str
    file_system: str

    def __str__(self) -> str:
        return (
            f"{self.number} ({describe_size(self.place.size)}, "
            f"{self.file_system or 'another file system or none'})"
        )


@dataclass(frozen=True)
class Root:
    """A root file system, with what the manifest has to say of where it is.

    Attributes:
        files: the file system, with the boot partition below /boot.
        partition: its place in a whole-disk image, None where the image is the file system.
        boot_partition: where kernel and initrd are, if not in the root.
    """

    files: RootFs
    partition: InnerPartition | None = None
    boot_partition: InnerPartition | None = None

    def path_in_partition(self, path: str) -> str:
        """The path of a kernel or initrd within the partition that holds them.

        Raises:
            BootError: the partition with the kernel does not hold it.
        """
        if self.boot_partition is None:
            return path
        if not path.startswith(f"{_BOOT}/"):
            raise BootError(f"{path}: not on the partition that is {_BOOT}, where the kernel is")
        return path.removeprefix(_BOOT)


@contextmanager
def opened_root(
    image: Path, scratch: Path, number: int = 0, init: str = "/sbin/init"
) -> Iterator[Root]:
    """The root of ``image``, a file system or a disk with partitions.

    Args:
        scratch: folder with room for copies of partitions.
        number: the root partition; 0: the one of the type for it, or else the only one with
            ``init``.

    Raises:
        StorageError, FormatError: it cannot be read, or is of an unknown kind.
        BootError: none or several partitions could be the root.
        ToolError: a program is missing (its package is named) or failed.
    """
    partitions = partitions_of(image)
    if not partitions:
        if number:
            raise FormatError(f"{image}: it has no partitions, and so no number {number}")
        yield Root(open_rootfs(image))
        return
    with _Copies(image, scratch) as copies:
        root = _root_among(image, partitions, number, init, copies)
        files = copies.open(root)
        boot = None if _has_kernel(files, _BOOT) else _boot_among(partitions, root, copies)
        if boot:
            place = _aligned(image, boot).place
            yield Root(WithBoot(files, copies.open(boot)), root.place, place)
        else:
            yield Root(files, root.place)


def partitions_of(image: Path) -> list[Partition]:
    """The partitions of ``image`` that can be used; none where it is no disk.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with image.open("rb") as file:
            head = file.read(HEAD_SIZE)
            size = file.seek(0, os.SEEK_END)
            if kind_of(head) or head[510:512] != b"\x55\xaa":
                return []
            table = _table_of(image)
            return [one for entry in table if (one := _partition(file, entry, size))]
    except OSError as exc:
        raise StorageError(f"{image}: cannot be read: {exc.strerror}") from exc


def _table_of(image: Path) -> list[dict[str, Any]]:
    try:
        table = json.loads(run_tool(["sfdisk", "--json", image]))["partitiontable"]
    except ToolError:
        return []  # a boot sector alone, such as that of a FAT file system
    found: list[dict[str, Any]] = table.get("partitions", [])
    return found


def _partition(file: BinaryIO, entry: dict[str, Any], image_size: int) -> Partition | None:
    """What sfdisk says of a partition; None where an image cannot use it."""
    offset = int(entry["start"]) * SECTOR_SIZE
    size = round_up(int(entry["size"]) * SECTOR_SIZE, BLOCK_SIZE)
    if offset + size > round_up(image_size, BLOCK_SIZE) or size < HEAD_SIZE:
        return None
    file.seek(offset)
    kind = kind_of(file.read(HEAD_SIZE))
    number = int(re.sub(r".*?([0-9]+)$", r"\1", str(entry["node"])))
    return Partition(number, InnerPartition(offset, size), str(entry["type"]), kind)


class _Copies:
    """File systems of partitions; their tools want files of their own, so each is copied out."""

    def __init__(self, image: Path, scratch: Path) -> None:
        self._image = image
        self._folder = tempfile.TemporaryDirectory(prefix=".bootsvc-disk-", dir=scratch)
        self._opened: dict[int, RootFs] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.clear()
        self._folder.cleanup()

    def open(self, partition: Partition) -> RootFs:
        """The file system in ``partition``, which has one."""
        if partition.number not in self._opened:
            copy = Path(self._folder.name) / f"partition-{partition.number}"
            _copy_out(self._image, partition.place, copy)
            self._opened[partition.number] = open_rootfs(copy)
        return self._opened[partition.number]


def _copy_out(image: Path, place: InnerPartition, copy: Path) -> None:
    """The bytes of ``place`` as a sparse file."""
    with image.open("rb") as source, copy.open("xb") as target:
        source.seek(place.offset)
        left = place.size
        while left and (data := source.read(min(CHUNK_SIZE, left))):
            if data.count(0) == len(data):
                target.seek(len(data), os.SEEK_CUR)
            else:
                target.write(data)
            left -= len(data)
        target.truncate(place.size)


def _root_among(
    image: Path, partitions: list[Partition], number: int, init: str, copies: _Copies
) -> Partition:
    listed = "; ".join(map(str, partitions))
    usable = [one for one in partitions if one.file_system]
    if number:
        found = [one for one in usable if one.number == number]
        if not found:
            raise BootError(f"{image}: no usable partition {number} among: {listed}")
    else:
        found = [one for one in usable if one.kind.upper() == ROOT_TYPE]
        found = found or [one for one in usable if _has_file(copies.open(one), init)]
    if len(found) != 1:
        which = "several partitions" if found else "no partition"
        raise BootError(
            f"{image}: {which} could be the root, among: {listed}",
            hint="name it: --root-partition N; it must be squashfs, ext4 or erofs",
        )
    return _aligned(image, found[0])


def _aligned(image: Path, partition: Partition) -> Partition:
    if partition.place.offset % BLOCK_SIZE:
        raise FormatError(
            f"{image}: partition {partition.number} begins at byte {partition.place.offset}, no "
            f"multiple of {BLOCK_SIZE}",
            hint="align the partitions to 1 MiB",
        )
    return partition


def _boot_among(partitions: list[Partition], root: Partition, copies: _Copies) -> Partition | None:
    """The partition that the running system mounts at /boot: the first one with a kernel."""
    for one in partitions:
        if one.file_system and one != root and _has_kernel(copies.open(one), "/"):
            return one
    return None


def _has_kernel(files: RootFs, folder: str) -> bool:
    try:
        path, entry = resolve(files, folder)
    except BootError:
        return False
    names = files.entries(path) if entry.kind == "dir" else {}
    return any(name.startswith("vmlinuz") or name == "loader" for name in names)


def _has_file(files: RootFs, path: str) -> bool:
    try:
        return resolve(files, path)[1].kind == "file"
    except BootError:
        return False


class WithBoot:
    """A root file system with another one mounted at /boot."""

    def __init__(self, root: RootFs, boot: RootFs) -> None:
        self.root = root
        self.boot = boot

    def entries(self, folder: str) -> Mapping[str, Entry]:
        """See ``RootFs``."""
        if folder == _BOOT or folder.startswith(f"{_BOOT}/"):
            return self.boot.entries(folder.removeprefix(_BOOT) or "/")
        found = self.root.entries(folder)
        return {**found, _BOOT[1:]: Entry("dir")} if folder == "/" else found

    def extract(self, path: str, target: Path) -> None:
        """See ``RootFs``."""
        if path.startswith(f"{_BOOT}/"):
            self.boot.extract(path.removeprefix(_BOOT), target)
        else:
            self.root.extract(path, target)
