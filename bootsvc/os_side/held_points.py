"""Restore points give blocks to the images that this machine fetches (S0.4)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bootsvc.errors import BootsvcError
from bootsvc.formats.tree import block_count
from bootsvc.os_side.restore_points import open_points, restore_points_in
from bootsvc.storage.device import Device
from bootsvc.storage.image_file import open_bimg, read_bimg
from bootsvc.store.stored_image import stored_image
from bootsvc.transfer.held import HeldImage, PagedLeaves


def held_points(data: Path) -> tuple[HeldImage, ...]:
    """The restore points as sources of blocks for other images, the newest first; none is opened
    before a block is wanted. What cannot be read is left out."""
    held: list[HeldImage] = []
    try:
        store = open_points(data)
        points = restore_points_in(data)
    except BootsvcError:
        return ()
    for point in points:
        if point.problem or point.identity is None:
            continue
        if point.path is not None:
            held += _held_file(point.path)
        else:
            held.append(stored_image(store.objects, store.documents[point.identity]))
    return tuple(held)


def _held_file(path: Path) -> list[HeldImage]:
    try:
        with open_bimg(path) as (_, footer):
            count = block_count(footer.manifest.size)
    except BootsvcError:
        return []
    number = footer.manifest.number
    return [HeldImage(str(path), number, footer.identity, count, partial(_opened_file, path))]


def _opened_file(path: Path) -> tuple[Device, PagedLeaves]:
    """Open until the program ends, which uses it until then."""
    device, footer = read_bimg(path)
    return device, PagedLeaves(str(path), device, footer)
