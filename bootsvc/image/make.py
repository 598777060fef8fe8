"""Makes a signed image file (.bimg) of a root file system, in one pass over it.

    read rootfs -> write, hash whole, hash blocks -> tree -> manifest -> sign -> locator, last

The work is done under a temporary name beside the target; only a finished image gets the name.
The same input, key and options always give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from bootsvc.errors import BootError, IncompleteImageError, StorageError
from bootsvc.formats.footer import Locator, build_locator
from bootsvc.formats.manifest import (
    METHODS,
    OVERLAYS,
    BootFile,
    BootSection,
    Manifest,
    build_manifest,
)
from bootsvc.formats.tree import build_tree, leaves_of
from bootsvc.image.boot_files import combine_options, extract_boot_file, find_boot_files
from bootsvc.image.kernel_notes import kernel_build_id
from bootsvc.image.keys import SigningKey
from bootsvc.image.whole_disk import Root, opened_root
from bootsvc.storage.device import CHUNK_SIZE
from bootsvc.storage.image_area import Tick, no_tick
from bootsvc.units import BLOCK_SIZE, round_up

LINEAGE_NAMESPACE = uuid.UUID("b0075c00-0006-5b5a-8f3e-6d1c52a90001")
"""Lineages given by name are UUIDs (version 5) in this namespace."""


@dataclass(frozen=True)
class BootOptions:
    """How the image is to be started.

    Attributes:
        method: kexec, or switch_root where the updater's own kernel is the image's.
        options: kernel options beside those of the image's boot entry.
        overlay: where the running system's writes go: volatile (memory) or kept (data).
        init: path of the first program.
        kernel: path of the kernel in the image; empty: that of the boot entry, or the newest.
        with_initrd: False: the kernel mounts its root without one.
        verity: every block is held against its digest while the image runs.
        root_partition: number of the root partition in a whole-disk image; 0: it is found.
    """

    method: str = METHODS[0]
    options: tuple[str, ...] = ()
    overlay: str = OVERLAYS[0]
    init: str = "/sbin/init"
    kernel: str = ""
    with_initrd: bool = True
    verity: bool = False
    root_partition: int = 0


def lineage_of(text: str) -> str:
    """The lineage that ``text`` means: a UUID as it is, any other name by a UUID of its own."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid5(LINEAGE_NAMESPACE, text))


def make_image(
    rootfs: Path,
    out: Path,
    *,
    key: SigningKey,
    number: int,
    label: str,
    lineage: str,
    compatible: str,
    floor: int = 0,
    boot: BootOptions | None = None,
    notes: str = "",
    parent: bytes | None = None,
    force: bool = False,
    tick: Tick = no_tick,
) -> Manifest:
    """Make the image file ``out`` of the file system in ``rootfs``.

    Args:
        rootfs: a squashfs, ext4 or erofs file system with a kernel in its /boot, or a disk with
            such a partition, as raw bytes; see ``source`` for other shapes.
        out: the image file; it appears whole or not at all.
        key: signs the manifest.
        number: orders the versions of a lineage.
        label: the version for people.
        lineage: a UUID; see ``lineage_of``.
        compatible: the machine type that the image is for.
        floor: the lowest number that may be installed once this image proved itself.
        boot: how it is started.
        notes: release notes.
        parent: identity of the version that this one follows.
        force: an existing ``out`` is replaced.
        tick: told the bytes done.

    Raises:
        StorageError: ``out`` exists and ``force`` is not set; a file cannot be read or written.
        FormatError: ``rootfs`` is of an unknown kind, or a field of the manifest is out of range.
        BootError: no kernel or no initrd in it, or an option that the updater sets.
        IncompleteImageError: ``rootfs`` changed or ended while it was read.
        ToolError: a program is missing (its package is named) or failed.
    """
    if out.exists() and not force:
        raise StorageError(f"{out} exists already", hint="use --force to replace it")
    boot_section = read_boot_section(rootfs, boot or BootOptions(), out.absolute().parent)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with rootfs.open("rb") as source, part.open("xb") as target:
            size, digest, leaves = _copy(source, target, tick)
            tree, root = build_tree(leaves)
            manifest = Manifest(
                lineage=lineage,
                number=number,
                label=label,
                compatible=compatible,
                size=size,
                sha256=digest,
                root=root,
                boot=boot_section,
                floor=floor,
                parent=parent,
                notes=notes,
            )
            _write_footer(target, tree, build_manifest(manifest), size, key)
        part.replace(out)
        _flush_folder(out.parent)
    except OSError as exc:
        raise StorageError(f"{exc.filename or out}: {exc.strerror}") from exc
    finally:
        part.unlink(missing_ok=True)
    return manifest


def read_boot_section(rootfs: Path, boot: BootOptions, scratch: Path | None = None) -> BootSection:
    """The boot section for the file system or disk in ``rootfs``; see ``make_image`` for the
    errors. ``scratch`` is a folder with room for copies of a disk's partitions."""
    with (
        tempfile.TemporaryDirectory(prefix="bootsvc-image-") as folder,
        opened_root(rootfs, scratch or Path(folder), boot.root_partition, boot.init) as root,
    ):
        found = find_boot_files(root.files, kernel=boot.kernel, with_initrd=boot.with_initrd)
        options = combine_options(found.options, boot.options)
        copy = Path(folder) / "file"
        kernel = _boot_file(root, found.kernel, copy)
        build_id = kernel_build_id(copy)
        initrd = _boot_file(root, found.initrd, copy) if found.initrd else None
        root_partition, boot_partition = root.partition, root.boot_partition
    if (boot.verity or root_partition) and initrd is None:
        raise BootError(
            f"{found.kernel}: without an initrd the kernel can neither check the blocks of its "
            "root nor find it in a disk",
            hint="leave --no-initrd out",
        )
    if boot.method == "switch_root" and not build_id:
        raise BootError(
            f"{found.kernel}: it has no build-id, so it cannot be compared with the running kernel",
            hint="use --method kexec",
        )
    return BootSection(
        method=boot.method,
        kernel=kernel,
        initrd=initrd,
        options=options,
        kernel_build_id=build_id,
        overlay=boot.overlay,
        init=boot.init,
        root_partition=root_partition,
        boot_partition=boot_partition,
        verity=boot.verity,
    )


def _boot_file(root: Root, path: str, copy: Path) -> BootFile:
    found = extract_boot_file(root.files, path, copy)
    return replace(found, path=root.path_in_partition(path))


def _copy(source: BinaryIO, target: BinaryIO, tick: Tick) -> tuple[int, bytes, bytes]:
    """Copy all of ``source``, zeros as holes: its size, SHA-256 and the digests of its blocks."""
    before = os.fstat(source.fileno())
    whole = hashlib.sha256()
    leaves = bytearray()
    size = 0
    zeros = bytes(CHUNK_SIZE)
    zero_leaves = leaves_of(zeros)
    while chunk := source.read(CHUNK_SIZE):
        whole.update(chunk)
        size += len(chunk)
        padded = chunk + bytes(round_up(len(chunk), BLOCK_SIZE) - len(chunk))
        if padded == zeros:
            leaves += zero_leaves
            target.seek(len(padded), os.SEEK_CUR)
        else:
            leaves += leaves_of(padded)
            target.write(padded)
        tick(len(chunk))
    after = os.fstat(source.fileno())
    if size != before.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise IncompleteImageError(
            f"{source.name}: it changed while it was read ({size} of {before.st_size} bytes)",
            hint="let whatever writes it finish first",
        )
    return size, whole.digest(), bytes(leaves)


def _write_footer(
    target: BinaryIO, tree: bytes, manifest_bytes: bytes, size: int, key: SigningKey
) -> None:
    """Tree and manifest, then the locator: only with it is the file an image."""
    padding = bytes(round_up(len(manifest_bytes), BLOCK_SIZE) - len(manifest_bytes))
    target.write(tree + manifest_bytes + padding)
    _flush(target)
    signature = key.sign(manifest_bytes)
    locator = Locator(size, len(tree), len(manifest_bytes), (signature,))
    target.write(build_locator(locator))
    _flush(target)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
