"""Copying an image from area to area, and believing only what was read back (DESIGN 2, 4)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

import pytest

from bootsvc.errors import (
    AlteredImageError,
    DeviceError,
    ImageTooLargeError,
    NoImageError,
    ReadBackError,
    SizeMismatchError,
)
from bootsvc.storage.image_area import (
    CopyCounts,
    Footer,
    copy_image,
    read_footer,
    read_leaves,
    verify_content,
    verify_copy,
)
from bootsvc.units import BLOCK_SIZE
from tests.images import Image, like, make_image, random_blocks
from tests.storage.memory import Flushed, MemoryDevice, WasRead, Written

SIZE = 40 * BLOCK_SIZE
OLD = make_image(random_blocks(20, 1), number=1)
NEW = make_image(like(OLD.content, {2: 1, 3: 2, 11: 3}) + b"tail", number=2)


T = TypeVar("T")


def area(image: Image | None, size: int = SIZE) -> MemoryDevice:
    return MemoryDevice(image.in_area(size) if image else bytes(size))


def opened(source: MemoryDevice) -> tuple[Footer, bytes]:
    footer = read_footer(source)
    return footer, read_leaves(source, footer)


def copied(source: MemoryDevice, target: MemoryDevice) -> CopyCounts:
    footer, leaves = opened(source)
    source.log.clear()
    counts = CopyCounts()
    copy_image(source, target, footer, leaves, counts)
    verify_copy(target, footer, leaves)
    return counts


def test_a_copy_makes_the_target_hold_the_image_whatever_it_held() -> None:
    for held in (None, OLD, NEW):
        target = area(held, 50 * BLOCK_SIZE)
        copied(area(NEW), target)
        assert bytes(target.bytes[: len(NEW.content)]) == NEW.content
        assert target.bytes.endswith(NEW.footer)


def test_only_blocks_that_differ_are_written_and_counted() -> None:
    target = area(OLD)
    counts = copied(area(NEW), target)
    body = [one for one in target.writes() if one.offset < 21 * BLOCK_SIZE]
    assert [(one.offset // BLOCK_SIZE, len(one.data) // BLOCK_SIZE) for one in body] == [
        (2, 2),
        (11, 1),
        (20, 1),
    ]
    assert counts.written == sum(len(one.data) for one in target.writes())
    assert counts.written == 4 * BLOCK_SIZE + len(NEW.footer)
    assert counts.skipped == 17 * BLOCK_SIZE


def test_a_copy_of_what_is_there_already_writes_nothing() -> None:
    target = area(NEW)
    assert copied(area(NEW), target).written == 0
    assert not target.writes()


def test_the_footer_is_written_last_and_its_locator_after_all_else_was_flushed() -> None:
    target = area(OLD)
    copied(area(NEW), target)
    order = [one for one in target.log if not isinstance(one, WasRead)]
    footer_at = SIZE - len(NEW.footer)
    kinds = [
        "flush"
        if isinstance(one, Flushed)
        else "content"
        if isinstance(one, Written) and one.offset < footer_at
        else "locator"
        if isinstance(one, Written) and one.offset == SIZE - BLOCK_SIZE
        else "tree and manifest"
        for one in order
    ]
    assert kinds == [
        "content",
        "content",
        "content",
        "flush",
        "tree and manifest",
        "flush",
        "locator",
        "flush",
    ]


def test_an_image_too_large_for_the_target_is_refused_before_anything_is_written() -> None:
    target = area(None, 22 * BLOCK_SIZE)
    with pytest.raises(ImageTooLargeError):
        copied(area(NEW), target)
    assert not target.writes()


def test_a_block_of_the_source_that_changed_since_it_was_verified_is_not_written() -> None:
    source, target = area(NEW), area(OLD)
    footer, leaves = opened(source)
    source.bytes[11 * BLOCK_SIZE] ^= 1
    with pytest.raises(AlteredImageError):
        copy_image(source, target, footer, leaves, CopyCounts())
    assert [one.offset // BLOCK_SIZE for one in target.writes()] == [2]


@pytest.mark.parametrize("work", [copy_image, verify_copy])
def test_work_that_is_broken_off_is_ended_before_anybody_hears_of_it(
    work: Callable[..., None],
) -> None:
    """Threads that went on would write to a disk that is closed, or is another one by then."""
    ended: list[bool] = []

    def each(work: Callable[[int], T], items: Iterable[int]) -> Generator[T, None, None]:
        try:
            yield from map(work, items)
        finally:
            ended.append(True)

    def break_off(_: int) -> None:
        raise KeyboardInterrupt

    source, target = area(NEW), area(NEW)
    footer, leaves = opened(source)
    areas = (source, target) if work is copy_image else (target,)
    counts = (CopyCounts(),) if work is copy_image else ()
    with pytest.raises(KeyboardInterrupt) as told:
        work(*areas, footer, leaves, *counts, break_off, each=each)
    assert ended, "before the error, which keeps everything alive, is forgotten"
    del told


def test_verifying_reads_every_byte_of_content_tree_manifest_and_locator() -> None:
    source, target = area(NEW), area(NEW)
    footer, leaves = opened(source)
    target.log.clear()
    verify_copy(target, footer, leaves)
    read = {
        block
        for one in target.log
        if isinstance(one, WasRead)
        for block in range(one.offset // BLOCK_SIZE, -(-(one.offset + one.length) // BLOCK_SIZE))
    }
    assert read == {*range(21), *range((SIZE - len(NEW.footer)) // BLOCK_SIZE, SIZE // BLOCK_SIZE)}


def every_place(image: Image) -> list[int]:
    """One byte of each content block, of the tree, the manifest and the locator."""
    footer_at = SIZE - len(image.footer)
    return [*range(5, 21 * BLOCK_SIZE, BLOCK_SIZE), footer_at, footer_at + BLOCK_SIZE, SIZE - 4090]


@pytest.mark.parametrize("at", every_place(NEW))
def test_one_flipped_bit_anywhere_in_a_copy_is_a_read_back_error(at: int) -> None:
    footer, leaves = opened(area(NEW))
    target = area(NEW)
    target.bytes[at] ^= 1
    with pytest.raises(ReadBackError):
        verify_copy(target, footer, leaves)


def test_an_altered_block_is_named_by_its_number() -> None:
    changed = area(NEW)
    changed.bytes[7 * BLOCK_SIZE + 100] ^= 1
    _, leaves = opened(area(NEW))
    with pytest.raises(AlteredImageError, match="block 7 "):
        verify_content(changed, leaves)


def test_a_disk_that_fails_while_copying_is_a_device_error() -> None:
    target = area(OLD)
    target.bad_writes = [range(11 * BLOCK_SIZE, 12 * BLOCK_SIZE)]
    with pytest.raises(DeviceError):
        copied(area(NEW), target)


def test_an_area_without_a_footer_holds_no_image() -> None:
    with pytest.raises(NoImageError):
        read_footer(area(None))
    with pytest.raises(NoImageError):
        read_footer(MemoryDevice(bytes(BLOCK_SIZE)))


def test_a_footer_that_claims_more_than_its_area_is_refused() -> None:
    with pytest.raises(SizeMismatchError):
        read_footer(MemoryDevice(NEW.footer))
