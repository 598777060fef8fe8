"""An image made of what is here: whoever gave wrong blocks of it is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootsvc.errors import RottenHereError
from bootsvc.transfer.assembled_image import AssembledImage
from bootsvc.transfer.held import held_in
from bootsvc.transfer.plan import complete, make_plan
from bootsvc.transfer.remote import Remotes
from bootsvc.units import BLOCK_SIZE
from tests.images import make_image, random_blocks
from tests.storage.memory import MemoryDevice
from tests.store.shelf import Shelf

OLD = make_image(random_blocks(600, 1), number=1)
NEW = make_image(random_blocks(2, 2) + OLD.content, number=2)


def assembled(folder: Path, hurt_block: int | None = None) -> AssembledImage:
    """The new image, for a machine with the old one in which a block may be wrong."""
    shelf = Shelf(folder)
    for image in (OLD, NEW):
        shelf.add(image)
    remotes = Remotes([shelf.store])
    content = bytearray(OLD.as_file())
    if hurt_block is not None:
        content[hurt_block * BLOCK_SIZE] ^= 1
    held = held_in([("primary", MemoryDevice(bytes(content)))])
    document, known = shelf.documents[NEW.identity], shelf.documents.get
    return AssembledImage(complete(make_plan(remotes, document, held, known), remotes, print))


@pytest.mark.parametrize("block", [0, 255, 256, 599])
def test_the_image_that_gave_a_wrong_block_is_named_with_the_block(
    tmp_path: Path, block: int
) -> None:
    with pytest.raises(RottenHereError, match=f"primary: block {block} "):
        assembled(tmp_path, block).blame()


def test_nobody_is_blamed_where_all_is_right(tmp_path: Path) -> None:
    assembled(tmp_path).blame()
