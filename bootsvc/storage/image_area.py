"""An image in an area: finding its footer, believing its content, copying it (DESIGN 2, 4).

Nothing is believed unread: content counts as verified only after every block was read from the
medium and fits the signed tree.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from bootsvc.errors import (
    AlteredImageError,
    DeviceError,
    FieldError,
    FormatError,
    ImageTooLargeError,
    NoImageError,
    ReadBackError,
    SizeMismatchError,
)
from bootsvc.formats.footer import Locator, build_locator, parse_locator
from bootsvc.formats.manifest import Manifest, identity_of, parse_manifest
from bootsvc.formats.tree import leaves_by_level, leaves_of
from bootsvc.storage.device import CHUNK_SIZE, Device
from bootsvc.trust.keys import PublicKey, signing_key_of
from bootsvc.units import BLOCK_SIZE, round_up

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ForEach(Protocol):
    """Does a piece of work with each item; gives the results in the order of the items."""

    def __call__(
        self, work: Callable[[_Item], _Result], items: Iterable[_Item], /
    ) -> Generator[_Result, None, None]:
        """The results, as they are asked for; it may be at several items at once. Whoever does not
        take all of them closes it, which ends the work."""
        ...


def in_turn(
    work: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Generator[_Result, None, None]:
    """One after the other."""
    for item in items:
        yield work(item)


Tick = Callable[[int], None]
"""Called with the number of bytes just worked on."""


def no_tick(_: int) -> None:
    """For work that nobody watches."""


@dataclass(frozen=True)
class Footer:
    """A footer that was read and parsed; ``manifest_bytes`` is what was signed."""

    locator: Locator
    manifest: Manifest
    manifest_bytes: bytes = field(repr=False)

    @property
    def identity(self) -> bytes:
        """The image's identity, 32 bytes."""
        return identity_of(self.manifest_bytes)


@dataclass
class CopyCounts:
    """What a copy did, in bytes; grows while the copy runs."""

    read: int = 0
    written: int = 0
    skipped: int = 0

    def add(self, more: CopyCounts) -> None:
        """What a part of the copy did."""
        self.read += more.read
        self.written += more.written
        self.skipped += more.skipped


def read_footer(area: Device) -> Footer:
    """The footer at the end of ``area`` (an area, or a .bimg file).

    Raises:
        NoImageError: there is none.
        FormatError: it is damaged.
        SizeMismatchError: its sizes contradict each other or the area's.
        DeviceError: the disk cannot be read.
    """
    if area.size < 2 * BLOCK_SIZE:
        raise NoImageError(f"{area.name}: too small for an image")
    locator = parse_locator(area.read_at(area.size - BLOCK_SIZE, BLOCK_SIZE))
    if locator.total_size > area.size:
        raise SizeMismatchError(
            f"{area.name}: image and footer claim {locator.total_size} of {area.size} bytes"
        )
    manifest_at = area.size - BLOCK_SIZE - round_up(locator.manifest_size, BLOCK_SIZE)
    manifest_bytes = area.read_at(manifest_at, locator.manifest_size)
    manifest = parse_manifest(manifest_bytes)
    if manifest.size != locator.image_size:
        raise SizeMismatchError(
            f"{area.name}: the manifest says {manifest.size} bytes, the footer {locator.image_size}"
        )
    return Footer(locator, manifest, manifest_bytes)


def read_leaves(area: Device, footer: Footer) -> bytes:
    """The digests of the image's blocks, checked up to the manifest's root.

    Raises:
        AlteredImageError: the tree is damaged.
        DeviceError: the disk cannot be read.
    """
    tree_at = area.size - footer.locator.footer_size
    return leaves_by_level(
        lambda at, size: area.read_at(tree_at + at, size),
        footer.locator.tree_size,
        footer.manifest.root,
        footer.manifest.size,
    )


def footer_parts(footer: Footer, levels: Sequence[bytes]) -> tuple[bytes, ...]:
    """All bytes of a footer: the levels of its digest tree; padded manifest and locator."""
    manifest = footer.manifest_bytes
    padding = bytes(round_up(len(manifest), BLOCK_SIZE) - len(manifest))
    return (*levels, manifest + padding + build_locator(footer.locator))


def check_signature(footer: Footer, keys: Iterable[PublicKey], *, installing: bool) -> PublicKey:
    """The key that signed the footer; a retired one counts unless ``installing``.

    Raises:
        SignatureError, RetiredKeyError: see ``trust.keys``.
    """
    return signing_key_of(
        footer.manifest_bytes, footer.locator.signatures, keys, allow_retired=not installing
    )


def check_fits(footer: Footer, area: Device) -> None:
    """Raise ImageTooLargeError unless image and footer fit into ``area`` (S4.18)."""
    if footer.locator.total_size > area.size:
        raise ImageTooLargeError(
            f"the image needs {footer.locator.total_size} bytes, {area.name} has {area.size}",
            hint="make a smaller image, or a disk with larger areas",
        )


def verify_content(
    area: Device, leaves: bytes, tick: Tick = no_tick, *, each: ForEach = in_turn
) -> None:
    """Read every block of the image in ``area`` and compare it with ``leaves``.

    Args:
        each: goes through the chunks.

    Raises:
        AlteredImageError: the first block that differs is named.
        DeviceError: the disk cannot be read.
    """
    end = len(leaves) // 32 * BLOCK_SIZE

    def verify(at: int) -> int:
        data = area.read_at(at, min(CHUNK_SIZE, end - at))
        expected = leaves[at // BLOCK_SIZE * 32 : (at + len(data)) // BLOCK_SIZE * 32]
        found = leaves_of(data)
        if found != expected:
            block = at // BLOCK_SIZE + _differing(found, expected)[0]
            raise AlteredImageError(
                f"{area.name}: block {block} (byte {block * BLOCK_SIZE}) differs from its digest"
            )
        return len(data)

    with closing(each(verify, range(0, end, CHUNK_SIZE))) as verified:
        for length in verified:
            tick(length)


def copy_image(
    source: Device,
    target: Device,
    footer: Footer,
    leaves: bytes,
    counts: CopyCounts,
    tick: Tick = no_tick,
    *,
    chunk_size: int = CHUNK_SIZE,
    each: ForEach = in_turn,
) -> None:
    """Make ``target`` hold the image of ``source``: differing blocks only, footer last.

    Each block of the source is checked before it is written. The target is flushed between content
    and footer, so that a footer never stands before what it describes. Nothing is believed yet:
    the caller reads the target back.

    Args:
        chunk_size: bytes compared at once and written by one write at most, whole blocks.
        each: goes through the chunks.

    Raises:
        ImageTooLargeError: it does not fit; nothing was written.
        AlteredImageError: a block of the source differs from its digest.
        DeviceError: either disk failed.
    """
    check_fits(footer, target)
    end = len(leaves) // 32 * BLOCK_SIZE

    def copy(at: int) -> tuple[CopyCounts, int]:
        length = min(chunk_size, end - at)
        expected = leaves[at // BLOCK_SIZE * 32 : (at + length) // BLOCK_SIZE * 32]
        return _copy_chunk(source, target, at, length, expected), length

    with closing(each(copy, range(0, end, chunk_size))) as copied:
        for found, length in copied:
            counts.add(found)
            tick(length)
    target.flush()
    _copy_footer(source, target, footer, counts)


def verify_copy(
    target: Device,
    footer: Footer,
    leaves: bytes,
    tick: Tick = no_tick,
    *,
    each: ForEach = in_turn,
) -> None:
    """Read a finished copy back in full.

    Args:
        each: goes through the chunks.

    Raises:
        ReadBackError: footer or content differ from what was to be written.
        DeviceError: the disk cannot be read.
    """
    try:
        found = read_footer(target)
        if found != footer or read_leaves(target, found) != leaves:
            raise ReadBackError(f"{target.name}: the footer read back is another one")
        verify_content(target, leaves, tick, each=each)
    except (NoImageError, FormatError, AlteredImageError, SizeMismatchError) as exc:
        raise ReadBackError(f"{target.name}: not what was written: {exc}") from exc


def _copy_chunk(
    source: Device,
    target: Device,
    at: int,
    length: int,
    expected: bytes,
) -> CopyCounts:
    there = _readable(target, at, length)
    present = bytes(len(expected)) if there is None else leaves_of(there)
    counts = CopyCounts(read=length)
    for first, last in _runs(_differing(present, expected)):
        run_at, run_length = at + first * BLOCK_SIZE, (last - first) * BLOCK_SIZE
        data = source.read_at(run_at, run_length)
        if leaves_of(data) != expected[first * 32 : last * 32]:
            raise AlteredImageError(f"{source.name}: a block near byte {run_at} is altered")
        target.write_at(run_at, data)
        counts.read += run_length
        counts.written += run_length
        length -= run_length
    counts.skipped += length
    return counts


def _copy_footer(source: Device, target: Device, footer: Footer, counts: CopyCounts) -> None:
    locator_block = build_locator(footer.locator)
    body_size = footer.locator.footer_size - BLOCK_SIZE
    source_at = source.size - footer.locator.footer_size
    target_at = target.size - footer.locator.footer_size
    for at in range(0, body_size, CHUNK_SIZE):
        length = min(CHUNK_SIZE, body_size - at)
        data = source.read_at(source_at + at, length)
        counts.read += length
        if _readable(target, target_at + at, length) == data:
            counts.skipped += length
            continue
        target.write_at(target_at + at, data)
        counts.written += length
    target.flush()
    if _readable(target, target.size - BLOCK_SIZE, BLOCK_SIZE) != locator_block:
        target.write_at(target.size - BLOCK_SIZE, locator_block)
        counts.written += BLOCK_SIZE
    target.flush()


def _readable(target: Device, at: int, length: int) -> bytes | None:
    """What stands where a copy may have to write; None where it cannot be read.

    Many a disk puts another sector in the place of an unreadable one as soon as it is written.
    Where it does not, reading back shows it.
    """
    try:
        return target.read_at(at, length)
    except DeviceError:
        return None


def _differing(found: bytes, expected: bytes) -> list[int]:
    """Indexes of the blocks whose digests differ."""
    if found == expected:
        return []
    if len(found) != len(expected):
        raise FieldError("digests of different ranges compared")
    return [
        at // 32 for at in range(0, len(found), 32) if found[at : at + 32] != expected[at : at + 32]
    ]


def _runs(indexes: list[int]) -> Iterable[tuple[int, int]]:
    """Half-open runs of neighbouring indexes."""
    start = previous = -1
    for index in indexes:
        if start < 0:
            start = index
        elif index != previous + 1:
            yield start, previous + 1
            start = index
        previous = index
    if start >= 0:
        yield start, previous + 1
