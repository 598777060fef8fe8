"""Blocks are stored once; recipes put any version together again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.errors import AlteredImageError
from bootsvc.formats.pack import FRAME_BLOCKS
from bootsvc.store.add_version import add_version
from bootsvc.store.block_index import BlockIndex, read_index
from bootsvc.transfer.assembled_image import AssembledImage
from bootsvc.transfer.fetch import FrameReader
from bootsvc.transfer.plan import complete, make_plan
from bootsvc.transfer.remote import Remotes
from bootsvc.units import BLOCK_SIZE
from tests.images import Image, make_image, random_blocks
from tests.storage.memory import MemoryDevice
from tests.store.shelf import Shelf, footer_of, leaves, unseen

BLOCKS = [random_blocks(1, seed) for seed in range(6)] + [bytes(BLOCK_SIZE)]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "store")


def image_of(numbers: list[int], number: int = 1) -> Image:
    return make_image(b"".join(BLOCKS[one] for one in numbers), number=number)


def read_whole(shelf: Shelf, image: Image) -> bytes:
    """The image file, put together from the store alone."""
    remotes = Remotes([shelf.store])
    plan = make_plan(remotes, shelf.documents[image.identity], (), shelf.documents.get)
    assembly = complete(plan, remotes, lambda _: None)
    device = AssembledImage(assembly, FrameReader(assembly, remotes, kept=1))
    content = device.read_at(0, assembly.plan.footer.manifest.size // BLOCK_SIZE * BLOCK_SIZE)
    return content + device.read_at(len(content), device.size - len(content))


def test_a_version_comes_out_of_the_store_as_it_went_in(shelf: Shelf) -> None:
    image = make_image(random_blocks(FRAME_BLOCKS + 3, 9))
    shelf.add(image)
    assert read_whole(shelf, image) == image.as_file()


def test_a_block_that_the_store_has_is_not_stored_again(shelf: Shelf) -> None:
    first = shelf.add(image_of([0, 1, 6, 1, 2]))
    second = shelf.add(image_of([2, 0, 3, 6, 6, 3], number=2))
    assert (first.new_blocks, second.new_blocks) == (3, 1)
    assert len(second.document.packs) == 2


def test_the_same_version_twice_stores_nothing_twice(shelf: Shelf) -> None:
    image = image_of([0, 1, 2])
    shelf.add(image)
    before = shelf.files
    again = shelf.add(image)
    assert (again.new_blocks, again.stored_size) == (0, 0)
    assert shelf.files.keys() == before.keys()


def test_an_index_read_from_the_store_knows_what_was_added(shelf: Shelf) -> None:
    shelf.add(image_of([0, 1, 2]))
    shelf.add(image_of([3, 1, 4], number=2))
    read = read_index(shelf.store, shelf.documents.values(), unseen)
    assert read.places == shelf.index.places
    assert read.digests == shelf.index.digests


def test_an_image_that_is_not_what_its_digests_say_is_not_stored(shelf: Shelf) -> None:
    image = image_of([0, 1, 2])
    other = MemoryDevice(image_of([0, 3, 2]).content)
    with pytest.raises(AlteredImageError, match="differs from its digest"):
        add_version(
            shelf.store, other, footer_of(image), leaves(image), BlockIndex(), unseen, level=1
        )
    assert not shelf.files


@settings(max_examples=25, deadline=None)
@given(
    history=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12), min_size=1, max_size=4)
)
def test_any_history_of_versions_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, history: list[list[int]]
) -> None:
    shelf = Shelf(tmp_path_factory.mktemp("store"))
    images = [image_of(numbers, number) for number, numbers in enumerate(history)]
    for image in images:
        shelf.add(image)
    for image in images:
        assert read_whole(shelf, image) == image.as_file()
