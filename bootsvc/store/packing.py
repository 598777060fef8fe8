"""Writes packs: blocks in frames, packed on all processors, into one object (``formats.pack``)."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bootsvc.errors import AlteredImageError
from bootsvc.formats.catalogue import StoredPack, pack_key
from bootsvc.formats.pack import FRAME_BLOCKS, Frame, PackHeader, build_frame, build_pack_header
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.device import Device
from bootsvc.store.objects import Arriving, ObjectStore
from bootsvc.transfer.assembly import neighbouring
from bootsvc.units import BLOCK_SIZE

MAX_WORKERS = 8


@dataclass(frozen=True)
class References:
    """What the frames of a delta are packed against.

    Attributes:
        base: identity of the image.
        choose: which of its blocks serve some new blocks best, given their content.
        read: gives blocks of it.
    """

    base: bytes
    choose: Callable[[bytes], tuple[range, ...]]
    read: Callable[[range], bytes]


def write_pack(
    store: ObjectStore,
    image: Device,
    leaves: bytes,
    blocks: Sequence[int],
    level: int,
    show_work: ShowWork,
    references: References | None = None,
    *,
    anew: bool = False,
) -> StoredPack:
    """Write a pack of some blocks of an image; where the store has it already, nothing.

    Args:
        leaves: the digests of the image's blocks; each block is compared with its own.
        blocks: numbers of the blocks, in the order in which they are packed.
        level: of zstd, 1 to 22.
        references: for a delta.
        anew: what the store has is not trusted, and replaced.

    Raises:
        AlteredImageError: a block of the image differs from its digest.
        StoreError: the store cannot be written.
        StorageError: the image cannot be read.
    """
    with store.arriving() as file:
        with show_work("pack blocks", len(blocks) * BLOCK_SIZE) as work:
            frames = []
            digests = bytearray()
            for packed in _packed(image, leaves, blocks, level, references):
                file.write(packed.stored)
                digests += packed.page
                frames.append(packed.frame)
                work.tick(len(packed.page) // DIGEST_SIZE * BLOCK_SIZE)
            header = PackHeader(len(blocks), tuple(frames), references.base if references else None)
            stored = _finish(file, bytes(digests), header)
        key = pack_key(stored.identity)
        if anew or store.size(key) != stored.size:
            with show_work("store blocks", stored.size) as work:
                file.name(key, work.tick)
    return stored


def _finish(file: Arriving, digests: bytes, header: PackHeader) -> StoredPack:
    built = build_pack_header(header)
    file.write(digests)
    file.write(built)
    return StoredPack(hashlib.sha256(built).digest(), len(built), header.object_size)


@dataclass(frozen=True)
class _Packed:
    frame: Frame
    page: bytes
    stored: bytes


def _packed(
    image: Device,
    leaves: bytes,
    blocks: Sequence[int],
    level: int,
    references: References | None,
) -> Iterator[_Packed]:
    """The frames in order; some are packed ahead, one on each processor."""
    workers = min(os.cpu_count() or 1, MAX_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        running: deque[Future[_Packed]] = deque()
        try:
            for at in range(0, len(blocks), FRAME_BLOCKS):
                of_frame = blocks[at : at + FRAME_BLOCKS]
                page = b"".join(leaves[n * DIGEST_SIZE : (n + 1) * DIGEST_SIZE] for n in of_frame)
                content = _content(image, of_frame, page)
                chosen = references.choose(content) if references else ()
                reference = b"".join(references.read(run) for run in chosen) if references else b""
                running.append(pool.submit(_pack, content, page, level, chosen, reference))
                if len(running) > workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _pack(
    content: bytes, page: bytes, level: int, chosen: tuple[range, ...], reference: bytes
) -> _Packed:
    stored = build_frame(content, level, reference)
    return _Packed(Frame(len(stored), hashlib.sha256(page).digest(), chosen), page, stored)


def _content(image: Device, blocks: Sequence[int], page: bytes) -> bytes:
    content = b"".join(
        image.read_at(run.start * BLOCK_SIZE, len(run) * BLOCK_SIZE) for run in neighbouring(blocks)
    )
    if leaves_of(content) != page:
        raise AlteredImageError(
            f"{image.name}: a block near block {blocks[0]} differs from its digest",
            hint="make or fetch the image again; nothing names what was stored of it",
        )
    return content
