"""Where an image can come from: disks that are not ours, image files on them, addresses.

A source is a text that a person can type:

    http://host/path/kiosk-2.bimg   a file on a server
    /dev/sdb                        an image that was written to a disk or partition as it is
    /dev/sdb1:/images/kiosk-2.bimg  a file on a partition
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootsvc.boot import media
from bootsvc.boot.disks import NEVER, SYS_BLOCK
from bootsvc.boot.drivers import wake_new_hardware
from bootsvc.boot.watch import Watch
from bootsvc.errors import BootsvcError, IncompleteImageError, NoImageError, StorageError
from bootsvc.formats.url import is_url, parse_url
from bootsvc.storage.device import Device, DirectDevice
from bootsvc.storage.image_area import Footer, check_signature
from bootsvc.storage.image_file import read_file_footer
from bootsvc.trust.keys import PublicKey

SUFFIX = ".bimg"
MAX_FILES = 100
"""Images listed of one partition; a disk with more is no installation medium."""

DEV = Path("/dev")
Mount = Callable[[Path], AbstractContextManager[Path]]


@dataclass(frozen=True)
class FoundImage:
    """An image that could be installed from.

    Attributes:
        source: the text by which ``open_source`` finds it again.
        name: of the file, or of the node where there is none.
        size: bytes of the file.
        number, label, identity: what its manifest says; 0 and "" where it cannot be read.
        signed_by: the key that signed it, "" where no key does that may install here.
        problem: why it cannot be installed, "" where nothing speaks against it yet.
    """

    source: str
    name: str
    size: int
    number: int = 0
    label: str = ""
    identity: bytes = b""
    signed_by: str = ""
    problem: str = ""


def find_images(
    ours: str,
    keys: tuple[PublicKey, ...],
    mount: Mount = media.mounted,
    wake: Callable[[], None] = wake_new_hardware,
) -> tuple[FoundImage, ...]:
    """All images on disks of this machine that are not ours, by the order of their nodes.

    Only footers and signatures are read; the content is checked when it is installed.

    Args:
        ours: node of the disk that images are installed to, "" where there is none.
        wake: has disks shown that were plugged in after the start.
    """
    wake()
    found: list[FoundImage] = []
    for node in _nodes(Path(ours).name if ours else ""):
        try:
            found += _images_on(node, keys, mount)
        except BootsvcError:
            continue  # a disk that cannot be read holds nothing to install
    return tuple(found)


@contextmanager
def open_source(
    source: str, largest: int, watch: Watch, mount: Mount = media.mounted
) -> Iterator[Device]:
    """What ``source`` names, open for reading.

    Args:
        largest: bytes that an image file may have at most.

    Raises:
        NetworkError: see ``HttpFile``.
        StorageError, BootError: it cannot be opened, or its partition not be mounted.
        ImageTooLargeError: see ``HttpFile``; of others, the footer tells.
    """
    if is_url(source):
        from bootsvc.boot.http_file import HttpFile  # sockets, for those who need them

        with HttpFile(parse_url(source), largest, watch) as file:
            yield file
        return
    node, is_inside, path = source.partition(":")
    if not is_inside:
        with DirectDevice(Path(source), writable=False) as device:
            yield device
        return
    with mount(Path(node)) as folder, _opened_below(folder, path, source) as device:
        device.name = source
        yield device


def _opened_below(folder: Path, path: str, source: str) -> DirectDevice:
    """Open a file on a mounted disk. A link there may lead out of it: no image is reached so."""
    file = (folder / path.lstrip("/")).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise StorageError(f"{source}: there is no such file", hint="its name has to be exact")
    return DirectDevice(file, writable=False)


def _nodes(ours: str) -> Iterator[Path]:
    """Partitions of disks that are not ours, and disks without any."""
    for disk in sorted(SYS_BLOCK.iterdir()):
        if disk.name.startswith(NEVER) or disk.name == ours:
            continue
        parts = sorted(one.parent.name for one in disk.glob("*/partition"))
        yield from (DEV / name for name in parts or [disk.name])


def _images_on(node: Path, keys: tuple[PublicKey, ...], mount: Mount) -> list[FoundImage]:
    with DirectDevice(node, writable=False) as device:
        try:
            return [_described(str(node), node.name, device, keys)]
        except (NoImageError, IncompleteImageError):
            pass  # no footer at its end: files, or nothing
        except BootsvcError as exc:
            return [FoundImage(str(node), node.name, device.size, problem=str(exc))]
    with mount(node) as folder:
        return [_file_on(node, folder, path, keys) for path in _files(folder)]


def _files(folder: Path) -> Iterable[Path]:
    """Image files at the top of a disk and in its folders, one level down."""
    found = [*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*/*{SUFFIX}")]
    return sorted(one for one in found if one.is_file())[:MAX_FILES]


def _file_on(node: Path, folder: Path, path: Path, keys: tuple[PublicKey, ...]) -> FoundImage:
    source = f"{node}:/{path.relative_to(folder)}"
    try:
        with DirectDevice(path, writable=False) as device:
            device.name = source
            return _described(source, path.name, device, keys)
    except BootsvcError as exc:
        return FoundImage(source, path.name, path.stat().st_size, problem=str(exc))


def _described(source: str, name: str, device: Device, keys: tuple[PublicKey, ...]) -> FoundImage:
    footer = read_file_footer(device)
    manifest = footer.manifest
    signed_by, problem = _verdict(footer, keys)
    return FoundImage(
        source,
        name,
        device.size,
        manifest.number,
        manifest.label,
        footer.identity,
        signed_by,
        problem,
    )


def _verdict(footer: Footer, keys: tuple[PublicKey, ...]) -> tuple[str, str]:
    try:
        return check_signature(footer, keys, installing=True).name, ""
    except BootsvcError as exc:
        return "", str(exc)
