"""An image file (.bimg): opens it, and says what is wrong with a file that is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootsvc.errors import IncompleteImageError, NoImageError, SizeMismatchError, StorageError
from bootsvc.storage.device import Device, DirectDevice
from bootsvc.storage.image_area import Footer, read_footer
from bootsvc.units import BLOCK_SIZE

_SQUASHFS_MAGIC = b"hsqs"
_EXT4_MAGIC = b"\x53\xef"


def read_bimg(path: Path) -> tuple[DirectDevice, Footer]:
    """The image file at ``path``, open for reading, and its footer. The caller closes it.

    Nothing is verified yet but that the sizes fit together.

    Raises:
        StorageError: it cannot be opened or read.
        IncompleteImageError: bytes are missing at its end.
        NoImageError: it is something else.
        SizeMismatchError: its footer claims another size than the file has.
        FormatError: its footer is damaged.
    """
    if path.is_dir():
        raise StorageError(f"{path} is a folder, not an image file")
    device = DirectDevice(path, writable=False)
    try:
        return device, read_file_footer(device)
    except BaseException:
        device.close()
        raise


@contextmanager
def open_bimg(path: Path) -> Iterator[tuple[DirectDevice, Footer]]:
    """``read_bimg`` for a with statement: the file is closed at its end."""
    device, footer = read_bimg(path)
    with device:
        yield device, footer


def read_file_footer(file: Device) -> Footer:
    """The footer of an image file, wherever it lies. Raises as ``read_bimg`` does."""
    if file.size % BLOCK_SIZE:
        raise IncompleteImageError(
            f"{file.name}: {file.size} bytes are not a whole number of {BLOCK_SIZE}-byte blocks",
            hint="fetch or copy the image again; if it is a root file system: bootsvc image make",
        )
    try:
        footer = read_footer(file)
    except NoImageError as exc:
        if _begins_like_file_system(file):
            raise IncompleteImageError(
                f"{file.name}: it begins with a file system, but its footer is missing",
                hint="fetch the image again; if it is a root file system: bootsvc image make",
            ) from exc
        raise NoImageError(
            f"{file.name}: not an image file (.bimg)",
            hint="name an image file, whole; one is made by: bootsvc image make",
        ) from exc
    if footer.locator.total_size != file.size:
        raise SizeMismatchError(
            f"{file.name}: its footer claims {footer.locator.total_size} bytes, the file has"
            f" {file.size}",
            hint="fetch or copy the image again",
        )
    return footer


def _begins_like_file_system(file: Device) -> bool:
    head = file.read_at(0, min(file.size, BLOCK_SIZE))
    return head.startswith(_SQUASHFS_MAGIC) or head[1080:1082] == _EXT4_MAGIC
