"""Merges a chain into one new file: a new base, or one increment on the old base (N2).

    chain   b <- 1 <- 2 <- 3        to a base:        new              holds what 3 shows
                                    to an increment:  b <- new         holds what 3 shows

No file of the chain is changed. The new one is made under a temporary name, compared with the chain
by qemu-img, flushed, given its check information and manifest, and only then named: a power cut
leaves the chain as it was, and at most a hidden file that the next merge to the same name replaces.

    qemu-img convert (or create, rebase) -> [fsync | compare] -> check -> check information, read
    back -> manifest -> rename -> flush the folder
"""

from __future__ import annotations

import os
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from bootsvc.chains import qemu_img
from bootsvc.chains.chain_files import (
    MANIFEST_SUFFIX,
    Chain,
    ChainFile,
    is_name,
    read_chain,
)
from bootsvc.chains.qcow2_file import read_file, write_information
from bootsvc.chains.qemu_img import Disk, OnProgress
from bootsvc.errors import ChainError, MergeError, StorageError
from bootsvc.formats.check_information import (
    DIGEST_SIZE,
    CheckInformation,
    information_of,
    last_of_chain,
)
from bootsvc.formats.manifest import identity_of, parse_manifest
from bootsvc.storage.files import flush_folder, replace_file
from bootsvc.units import MIB, describe_size

DEFAULT_LIMIT = 5
"""Files of a chain, base included, beyond which a merge is due (N2)."""

_MARGIN = 16 * MIB
"""Room for tables of the new file."""


def ignore_progress(_work: str, _done: int, _total: int) -> None:
    """For those who do not want to know."""


class MergeTo(Enum):
    """What the new file is."""

    BASE = "base"
    INCREMENT = "increment"


@dataclass(frozen=True)
class Merged:
    """The new file, its size in bytes, and its check information; None where there was nothing to
    make it of: neither a manifest nor information in the chain's top file."""

    path: Path
    size: int
    information: CheckInformation | None


def is_due(files: int, limit: int, to: MergeTo) -> bool:
    """Whether a chain of ``files`` files is longer than ``limit``, and merging makes it shorter."""
    return files > max(limit, 1 if to is MergeTo.BASE else 2)


def merge(
    chain: Chain,
    name: str,
    *,
    to: MergeTo,
    manifest: bytes | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Merged:
    """Make the new file ``name`` in the chain's folder, which holds what the chain's top shows.

    Args:
        chain: whole, and long enough: see ``is_due``.
        name: of a file that is not there yet.
        to: what it becomes.
        manifest: of the version that it becomes, with the content of the top file's version; None:
            it is another file of the same version.
        on_progress: told how far the work is.

    Raises:
        BrokenChainError: the chain is not whole.
        ChainError: it is too short, or ``manifest`` is of other content.
        StorageError: ``name`` is taken or no name, or there is no room.
        MergeError: the new file is not what the chain shows; it is gone.
        DiskFileInUseError, ToolError: see ``qemu_img.convert``.
    """
    chain.demand_whole()
    if not is_due(len(chain.files), 1, to):
        raise ChainError(f"{chain.folder / chain.top}: {len(chain.files)} files: nothing to merge")
    if not is_name(name):
        raise StorageError(f"{name!r} is no file name", hint="the new file goes beside the others")
    out = chain.folder / name
    if out.exists() or out.is_symlink():
        raise StorageError(f"{out} exists already", hint="no file is ever replaced: name another")
    manifest = _manifest_of(chain, manifest)
    _demand_room(chain)
    part = chain.folder / f".{name}.part"
    part.unlink(missing_ok=True)
    try:
        merged = _make(chain, part, to, on_progress)
        _demand_same(chain, merged, part, on_progress)
        information = _information(chain, name, to, manifest)
        if information is not None:
            write_information(part, information)
        if manifest is not None:
            replace_file(chain.folder / (name + MANIFEST_SUFFIX), manifest)
        part.rename(out)
        flush_folder(chain.folder)
    except OSError as exc:
        raise StorageError(f"{exc.filename or out}: {exc.strerror}") from exc
    finally:
        part.unlink(missing_ok=True)
    read_chain(out).demand_whole()
    return Merged(out, out.stat().st_blocks * 512, information)


def _manifest_of(chain: Chain, manifest: bytes | None) -> bytes | None:
    top = chain.files[-1]
    if manifest is None:
        return top.manifest_bytes
    new, old = parse_manifest(manifest), top.manifest
    if old is None:
        raise ChainError(
            f"{top.path}: it has no manifest that a new one could be compared with",
            hint=f"put it there as {top.name}{MANIFEST_SUFFIX}",
        )
    if (new.lineage, new.size, new.sha256) != (old.lineage, old.size, old.sha256):
        raise ChainError(
            f"the new manifest is not of the content of number {old.number}, which is merged",
            hint="a merged version has the lineage, size and digest of the version that it holds",
        )
    return manifest


def _demand_room(chain: Chain) -> None:
    present = sum(file.path.stat().st_blocks * 512 for file in chain.files)
    needed = min(present, chain.files[-1].header.size) + _MARGIN
    free = shutil.disk_usage(chain.folder).free
    if free < needed:
        raise StorageError(
            f"{chain.folder}: {describe_size(free)} are free, the merged file may need"
            f" {describe_size(needed)}"
        )


def _make(chain: Chain, part: Path, to: MergeTo, on_progress: OnProgress) -> Disk:
    """Write the new file; what a guest sees of it, parents included."""
    top = chain.files[-1]
    size = top.header.size

    def on_share(share: float) -> None:
        on_progress("merge", int(size * share), size)

    if to is MergeTo.BASE:
        cluster_size = top.header.cluster_size
        qemu_img.convert(chain.disk, part.name, cluster_size=cluster_size, on_share=on_share)
        return Disk(chain.folder, (part.name,))
    # An empty increment on top takes up whatever the base does not have. convert -B would keep
    # the top file's clusters alone.
    base = chain.files[0].name
    qemu_img.create_above(chain.folder, part.name, top.name, size)
    whole = Disk(chain.folder, (*chain.disk.files, part.name))
    qemu_img.rebase(whole, base, on_share)
    return Disk(chain.folder, (base, part.name))


def _demand_same(chain: Chain, merged: Disk, part: Path, on_progress: OnProgress) -> None:
    """Flush the new file and, meanwhile, compare it with the chain."""
    size = chain.files[-1].header.size

    def on_share(share: float) -> None:
        on_progress("compare", int(size * share), size)

    with ThreadPoolExecutor(1) as pool:
        flushed = pool.submit(_flush, part)
        is_same = qemu_img.is_same(chain.disk, merged, on_share)
        flushed.result()
    if not is_same or read_file(part).header.size != size:
        raise MergeError(
            f"{part}: the merged file does not hold what {chain.top} shows; it is removed",
            hint="was a file of the chain written meanwhile? try again",
        )
    why = qemu_img.check(chain.folder, part.name)
    if why:
        raise MergeError(f"{part}: the merged file is damaged: {why}; it is removed")


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _information(
    chain: Chain, name: str, to: MergeTo, manifest: bytes | None
) -> CheckInformation | None:
    """What the new file says of itself."""
    mark = secrets.token_bytes(DIGEST_SIZE)
    parent = None if to is MergeTo.BASE else _own(chain.files[0])
    below = None if to is MergeTo.BASE else _identity(chain.files[0])
    top = chain.files[-1]
    if manifest is not None:
        version = parse_manifest(manifest)
        own = information_of(version.number, version.lineage, name)
        if to is MergeTo.INCREMENT and parent is None:
            return None
        return last_of_chain(own, parent, identity_of(manifest), mark, below)
    if top.information is None or (to is MergeTo.INCREMENT and parent is None):
        return None
    return replace(top.information, parent=parent, next=mark, is_last=True, parent_identity=below)


def _identity(file: ChainFile) -> bytes | None:
    return file.identity or (file.information.identity if file.information else None)


def _own(file: ChainFile) -> bytes | None:
    return file.information.own if file.information else file.expected
