"""Blocks are fetched in frames, several requests at a time, and written where they belong.

Each block is compared with its digest before it is written; what a remote gives wrongly is asked of
the next one. Memory is bounded by the requests under way: some MiB for each.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bootsvc.errors import ChecksumError
from bootsvc.formats.pack import FRAME_BLOCKS, unpack_frame
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.device import Device
from bootsvc.transfer.assembly import Want, neighbouring
from bootsvc.transfer.packs import Pack, read_frames
from bootsvc.transfer.plan import Assembly
from bootsvc.transfer.remote import Remote, Remotes
from bootsvc.units import BLOCK_SIZE

CONNECTIONS = 4
"""Requests under way at once: one alone waits for the line's delay again and again."""

BATCH_FRAMES = 4
"""Neighbouring frames that one request asks for at most: 4 MiB when they are unpacked."""


@dataclass(frozen=True)
class _Batch:
    """Neighbouring frames of one pack, and what is wanted of each."""

    pack: int
    frames: range
    wants: tuple[tuple[Want, ...], ...]


@dataclass(frozen=True)
class _Found:
    """What is to be written: a want and its blocks, each right."""

    want: Want
    content: bytes


def fetch_blocks(
    assembly: Assembly,
    wants: dict[tuple[int, int], list[Want]],
    staging: Device,
    remotes: Remotes,
    show_work: ShowWork,
    connections: int,
) -> int:
    """Fetch what is wanted, write it to where it belongs in staging, and flush.

    Args:
        wants: see ``assembly.wants_of``.
        connections: requests under way at once.

    Returns:
        The bytes fetched.

    Raises:
        RottenHereError: a delta is packed against an image of this machine that is not right.
        FormatError: a remote gives wrong blocks, and no other gives right ones.
        NetworkError: no remote answers.
        DeviceError: staging cannot be written.
    """
    packs = assembly.plan.packs
    unpacking = threading.Lock()
    batches = deque(_batches(wants))
    total = sum(_stored_size(one, packs) for one in batches)
    if not batches:
        return 0

    def read_batch(batch: _Batch) -> list[_Found]:
        return remotes.right(lambda remote: _read(remote, batch, assembly, unpacking))

    with show_work("fetch", total) as work, ThreadPoolExecutor(connections) as pool:
        running: deque[tuple[_Batch, Future[list[_Found]]]] = deque()
        try:
            while batches or running:
                while batches and len(running) < 2 * connections:
                    batch = batches.popleft()
                    running.append((batch, pool.submit(read_batch, batch)))
                batch, future = running.popleft()
                for one in future.result():
                    staging.write_at(one.want.first * BLOCK_SIZE, one.content)
                work.tick(_stored_size(batch, packs))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    staging.flush()
    return total


def _batches(wants: dict[tuple[int, int], list[Want]]) -> Iterator[_Batch]:
    """Frames joined to requests; in the order of packs, so that neighbours are found."""
    for index in sorted({pack for pack, _ in wants}):
        for run in neighbouring(sorted(frame for pack, frame in wants if pack == index)):
            for first in range(run.start, run.stop, BATCH_FRAMES):
                frames = range(first, min(first + BATCH_FRAMES, run.stop))
                yield _Batch(index, frames, tuple(tuple(wants[index, one]) for one in frames))


def _stored_size(batch: _Batch, packs: dict[int, Pack]) -> int:
    places = packs[batch.pack].places
    return places[batch.frames[-1]].stop - places[batch.frames[0]].start


def _read(
    remote: Remote, batch: _Batch, assembly: Assembly, unpacking: threading.Lock
) -> list[_Found]:
    """The blocks of a batch, each right; runs in a thread."""
    pack = assembly.plan.packs[batch.pack]
    found: list[_Found] = []
    for frame, stored, wants in zip(
        batch.frames, read_frames(remote, pack, batch.frames), batch.wants, strict=True
    ):
        # One at a time: a reference takes more memory than all else here.
        with unpacking:
            content = unpack_frame(
                stored,
                len(pack.header.blocks(frame)),
                f"{pack.name} of {remote.name}",
                _reference(pack, frame, assembly),
            )
        found += [_cut_out(content, want, assembly.leaves, remote) for want in wants]
    return found


def _reference(pack: Pack, frame: int, assembly: Assembly) -> bytes:
    """The blocks that a frame of a delta is packed against, each right."""
    base = assembly.plan.base
    runs = pack.header.frames[frame].reference
    return b"".join(base.read(run) for run in runs) if base else b""


def _cut_out(content: bytes, want: Want, leaves: bytes, remote: Remote) -> _Found:
    at = want.at % FRAME_BLOCKS * BLOCK_SIZE
    blocks = content[at : at + want.count * BLOCK_SIZE]
    end = (want.first + want.count) * DIGEST_SIZE
    if leaves_of(blocks) != leaves[want.first * DIGEST_SIZE : end]:
        raise ChecksumError(
            f"{remote.name}: a block near block {want.first} of the image differs from its digest"
        )
    return _Found(want, blocks)
