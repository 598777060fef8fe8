"""What a machine keeps as restore points, looked at from outside."""

from __future__ import annotations

from pathlib import Path

from bootsvc.os_side.restore_points import RestorePoint, open_point, restore_points_in
from tests.images import Image


def files_in(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}


def content_of(data: Path, point: RestorePoint) -> bytes:
    """The image file that a restore point is equal to."""
    with open_point(data, point) as (device, footer):
        content = device.read_at(0, device.size - footer.locator.footer_size)
        return content + device.read_at(len(content), footer.locator.footer_size)


def only_point(data: Path) -> RestorePoint:
    (point,) = restore_points_in(data)
    return point


def is_absent_or_whole(data: Path, image: Image) -> bool:
    points = restore_points_in(data)
    return not points or content_of(data, only_point(data)) == image.as_file()
