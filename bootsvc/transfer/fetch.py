"""Blocks are fetched in frames, several requests at a time, and written where they belong.

Each block is compared with its digest before it is written; what a remote gives wrongly is asked of
the next one. Memory is bounded by the requests under way: some MiB for each.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO

from bootsvc.errors import ChecksumError, FormatError
from bootsvc.formats.pack import FRAME_BLOCKS, unpack_frame
from bootsvc.formats.tree import DIGEST_SIZE, leaves_of
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.device import Device
from bootsvc.transfer.assembly import Want, neighbouring
from bootsvc.transfer.lanes import lanes
from bootsvc.transfer.packs import Pack, read_frames
from bootsvc.transfer.plan import Assembly
from bootsvc.transfer.remote import Remote, Remotes
from bootsvc.units import BLOCK_SIZE

BATCH_FRAMES = 2
"""Neighbouring frames that one request asks for at most: 2 MiB when they are unpacked."""


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
    content: memoryview


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
        StoreDamagedError: a remote gives wrong blocks, and no other gives right ones.
        NetworkError: no remote answers.
        DeviceError: staging cannot be written.
    """
    packs = assembly.plan.packs
    unpacking = threading.Lock()
    batches = tuple(_batches(wants))
    total = sum(len(packs[one.pack].place(one.frames)) for one in batches)
    if not batches:
        return 0

    def take(batch: _Batch) -> int:
        for one in remotes.right(lambda remote: _read(remote, batch, assembly, unpacking)):
            staging.write_at(one.want.first * BLOCK_SIZE, one.content)
        place = packs[batch.pack].place(batch.frames)
        remotes.spool.drop(packs[batch.pack].key, place.start, len(place))
        return len(place)

    # Nobody waits for a server that is silent once something failed, Ctrl-C among that.
    taking = lanes(connections, take, batches, on_failure=remotes.stop.set)
    try:
        with show_work("fetch", total) as work, closing(taking):
            for size in taking:
                work.tick(size)
    finally:
        remotes.stop.clear()
    staging.flush()
    return total


def _batches(wants: dict[tuple[int, int], list[Want]]) -> Iterator[_Batch]:
    """Frames joined to requests; in the order of packs, so that neighbours are found."""
    for index in sorted({pack for pack, _ in wants}):
        for run in neighbouring(sorted(frame for pack, frame in wants if pack == index)):
            # At the same places in every try, so that the spool knows them again.
            for first in range(run.start // BATCH_FRAMES * BATCH_FRAMES, run.stop, BATCH_FRAMES):
                frames = range(max(first, run.start), min(first + BATCH_FRAMES, run.stop))
                yield _Batch(index, frames, tuple(tuple(wants[index, one]) for one in frames))


def _read(
    remote: Remote, batch: _Batch, assembly: Assembly, unpacking: threading.Lock
) -> list[_Found]:
    """The blocks of a batch, each right."""
    pack = assembly.plan.packs[batch.pack]
    found: list[_Found] = []
    stored = read_frames(remote, pack, batch.frames)
    for frame, data, wants in zip(batch.frames, stored, batch.wants, strict=True):
        # One at a time: what it is packed against takes more memory than all else here.
        with unpacking, _blaming_reference(pack, frame, assembly):
            content = _unpacked(remote, pack, frame, data, assembly)
            found += [_Found(one, _cut_out(content, one, assembly.leaves, remote)) for one in wants]
    return found


class FrameReader:
    """Frames on demand, for whoever reads an image here and there; the last ones are kept. Threads
    may use it at the same time; one after the other gets its blocks."""

    def __init__(self, assembly: Assembly, remotes: Remotes, kept: int = 32) -> None:
        """Nothing is fetched yet.

        Args:
            kept: frames, of 1 MiB each.
        """
        self._assembly = assembly
        self._remotes = remotes
        self._kept = kept
        self._contents: OrderedDict[tuple[int, int], bytes | memoryview] = OrderedDict()
        self._reading = threading.Lock()

    def blocks(self, pack: int, want: Want) -> memoryview:
        """Some blocks of one frame, each right.

        Raises:
            StoreDamagedError: a remote gives wrong blocks, and no other gives right ones.
            BootsvcError: no remote answers.
        """
        with self._reading:
            return self._remotes.right(lambda remote: self._blocks(remote, pack, want))

    def _blocks(self, remote: Remote, index: int, want: Want) -> memoryview:
        frame = want.at // FRAME_BLOCKS
        content = self._contents.pop((index, frame), None)
        if content is None:
            pack = self._assembly.plan.packs[index]
            (stored,) = read_frames(remote, pack, range(frame, frame + 1))
            with _blaming_reference(pack, frame, self._assembly):
                content = _unpacked(remote, pack, frame, stored, self._assembly)
                blocks = _cut_out(content, want, self._assembly.leaves, remote)
        else:
            blocks = _cut_out(content, want, self._assembly.leaves, remote)
        self._contents[index, frame] = content
        if len(self._contents) > self._kept:
            self._contents.popitem(last=False)
        return blocks


def _unpacked(
    remote: Remote, pack: Pack, frame: int, stored: memoryview, assembly: Assembly
) -> bytes | memoryview:
    what = f"{pack.name} of {remote.name}"
    reference = _reference(pack, frame, assembly)
    return unpack_frame(stored, len(pack.header.blocks(frame)), what, reference)


def _reference(pack: Pack, frame: int, assembly: Assembly) -> bytes:
    """The blocks that a frame of a delta is packed against, as they lie here."""
    reference = BytesIO()  # joining the runs would take the memory twice
    if base := assembly.plan.base:
        for run in pack.header.frames[frame].reference:
            reference.write(base.read_unchecked(run))
    return reference.getvalue()


@contextmanager
def _blaming_reference(pack: Pack, frame: int, assembly: Assembly) -> Iterator[None]:
    """What a frame gave is wrong: raise RottenHereError where it is packed against wrong blocks."""
    try:
        yield
    except FormatError:
        if base := assembly.plan.base:
            for run in pack.header.frames[frame].reference:
                base.read(run)
        raise


def _cut_out(content: bytes | memoryview, want: Want, leaves: bytes, remote: Remote) -> memoryview:
    """What is wanted of a frame. Raises ChecksumError where it is not right."""
    at = want.at % FRAME_BLOCKS * BLOCK_SIZE
    blocks = memoryview(content)[at : at + want.count * BLOCK_SIZE]
    end = (want.first + want.count) * DIGEST_SIZE
    if leaves_of(blocks) != leaves[want.first * DIGEST_SIZE : end]:
        raise ChecksumError(
            f"{remote.name}: a block near block {want.first} of the image differs from its digest"
        )
    return blocks
