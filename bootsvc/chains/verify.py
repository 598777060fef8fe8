"""Checks a chain in full: structure by qemu-img, content by the manifests' digests (S2.19)."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bootsvc.chains import qemu_img
from bootsvc.chains.chain_files import Chain
from bootsvc.chains.qemu_img import Disk, OnProgress
from bootsvc.errors import StorageError
from bootsvc.formats.manifest import Manifest
from bootsvc.storage.device import CHUNK_SIZE
from bootsvc.units import SECTOR_SIZE


def find_damage(
    chain: Chain, on_progress: OnProgress, *, with_content: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with the chain, as file names and words. Writes nothing to the chain.

    With its content, the view of every version that has a manifest is written into a sparse file
    beside the chain, which is removed again, and compared with the manifest's size and digest.

    Raises:
        ToolError, DiskFileInUseError, StorageError: the check could not be done.
    """
    for trouble in chain.troubles:
        yield trouble.name, f"{trouble.fault.value}: {trouble.text}"
    for file in chain.files:
        words = qemu_img.check(chain.folder, file.name)
        if words:
            yield file.name, f"structure: {words}"
    if chain.troubles or not with_content:
        return
    for index, file in enumerate(chain.files):
        manifest = file.manifest
        if manifest is not None and not is_content_of(chain.below(index), manifest, on_progress):
            yield file.name, f"its content is not that of number {manifest.number}"


def is_content_of(disk: Disk, manifest: Manifest, on_progress: OnProgress) -> bool:
    """Whether a guest sees on ``disk`` what ``manifest`` says: size and SHA-256.

    A version whose size is no multiple of a sector is followed by zeros on a qcow2 disk.

    Raises:
        ToolError, DiskFileInUseError, StorageError: as ``find_damage``.
    """
    size = manifest.size

    def on_share(share: float) -> None:
        on_progress(f"read {disk.files[-1]}", int(size * share), size)

    try:
        with tempfile.TemporaryDirectory(prefix=".check-", dir=disk.folder) as folder:
            view = Path(folder) / "view"
            qemu_img.convert_to_raw(disk, view, on_share)
            if not size <= view.stat().st_size < size + SECTOR_SIZE:
                return False
            return _digest(view, size) == manifest.sha256
    except OSError as exc:
        raise StorageError(f"{exc.filename or disk.folder}: {exc.strerror}") from exc


def _digest(path: Path, size: int) -> bytes:
    """SHA-256 of the first ``size`` bytes; empty where anything but zeros follows."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(min(size, CHUNK_SIZE)):
            whole.update(chunk)
            size -= len(chunk)
        if any(file.read(SECTOR_SIZE)):
            return b""
    return whole.digest()
