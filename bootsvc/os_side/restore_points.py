"""Restore points: images that a rollback left, kept in data as ordinary image files (DESIGN 4).

    <data>/restore-points/<identity, 64 hex digits>.bimg    a restore point, whole
    <data>/restore-points/.<identity>.part                  one being written, or cut off

A file gets its name only when all of it was flushed and read back past the page cache against the
signed digests. ``bootsvc stage`` takes it back as any other image file. Nothing here removes a
whole restore point: that is the operator's choice (N17).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bootsvc.errors import BootsvcError, ImageError, StorageError
from bootsvc.storage.device import Device, DirectDevice
from bootsvc.storage.files import flush_folder
from bootsvc.storage.image_area import (
    CopyCounts,
    Footer,
    check_signature,
    copy_image,
    read_footer,
    read_leaves,
    verify_copy,
)
from bootsvc.storage.image_file import open_bimg
from bootsvc.trust.keys import PublicKey
from bootsvc.units import describe_size

FOLDER = "restore-points"
SUFFIX = ".bimg"
PART_SUFFIX = ".part"

FREE_SHARE = 10
"""One part in so many of the data file system stays free, for what the machine itself writes."""


class Bar(Protocol):
    """Told how many bytes more are done."""

    def tick(self, count: int) -> None:
        """``count`` more bytes are done."""
        ...


Watch = Callable[[str, int], AbstractContextManager[Bar]]
"""Called with the name of a piece of work and its bytes; see ``cli.output.progress``."""


@dataclass(frozen=True)
class RestorePoint:
    """An image file among the restore points; only its footer was read.

    Attributes:
        path: the file.
        size: its bytes, footer included.
        kept_s: when it was written, seconds since 1970 by the machine's clock.
        identity: 32 bytes, by its name; None where the name is none.
        number, label: of the version; None where ``problem`` says why the file is damaged.
    """

    path: Path
    size: int
    kept_s: int
    identity: bytes | None
    number: int | None = None
    label: str | None = None
    problem: str = ""


def usable_data(run_dir: Path) -> Path | None:
    """The data file system of this start, or None where it has none that takes writes.

    Args:
        run_dir: what ``overlay.sh`` left of this start: /run/bootsvc.
    """
    try:
        facts = (run_dir / "overlay.env").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return run_dir / "data" if "BOOTSVC_DATA_USED=1" in facts.splitlines() else None


def restore_points_in(data: Path) -> tuple[RestorePoint, ...]:
    """All restore points, the newest first; a damaged one is among them, with its problem.

    Raises:
        StorageError: their folder cannot be read.
    """
    folder = data / FOLDER
    try:
        paths = [path for path in folder.iterdir() if path.suffix == SUFFIX]
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise StorageError(f"{folder}: cannot be read: {exc.strerror}") from exc
    return tuple(sorted(map(_look_at, paths), key=lambda one: (-one.kept_s, one.path)))


def keep(
    area: Device, identity: bytes, keys: Iterable[PublicKey], data: Path, watch: Watch
) -> RestorePoint:
    """Keep the image in ``area`` as a restore point; nothing is written where it is one already.

    A power cut at any moment leaves it absent or whole; what was cut off is removed by the next
    call. Memory is bounded by the image's digests (32 bytes for each block) and 1 MiB.

    Args:
        identity: the image that the record names there.
        keys: the trusted keys; a retired one counts.
        data: the data file system.

    Raises:
        ImageError, FormatError: the image in ``area`` is another one, or does not verify.
        StorageError: no room, or area or file cannot be read or written.
    """
    footer = read_footer(area)
    if footer.identity != identity:
        raise ImageError(
            f"{area.name} holds image {footer.identity.hex()[:12]}, "
            f"the record names {identity.hex()[:12]}"
        )
    check_signature(footer, keys, installing=False)
    leaves = read_leaves(area, footer)
    folder = data / FOLDER
    path = folder / f"{identity.hex()}{SUFFIX}"
    with _naming(folder):
        _make_folder(folder)
        _remove_parts(folder)
        if not _is_whole(path, footer, leaves, watch):
            _remove_damaged(path)
            _check_room(folder, footer.locator.total_size)
            _write(area, path, footer, leaves, watch)
    return _look_at(path)


# --- looking ------------------------------------------------------------------------------------


def _look_at(path: Path) -> RestorePoint:
    size = kept_s = 0
    try:
        facts = path.stat()
        size, kept_s = facts.st_size, int(facts.st_mtime)
        if not path.is_file():
            raise StorageError("not a file")
        with open_bimg(path) as (_, footer):
            manifest = footer.manifest
        if f"{footer.identity.hex()}{SUFFIX}" != path.name:
            raise ImageError(f"it is image {footer.identity.hex()[:12]}, not as named")
    except (BootsvcError, OSError) as exc:
        problem = str(exc.strerror if isinstance(exc, OSError) else exc).removeprefix(f"{path}: ")
        return RestorePoint(path, size, kept_s, _named(path), problem=problem)
    return RestorePoint(path, size, kept_s, footer.identity, manifest.number, manifest.label)


def _named(path: Path) -> bytes | None:
    """The identity in the file's name."""
    try:
        identity = bytes.fromhex(path.stem)
    except ValueError:
        return None
    return identity if len(identity) == 32 else None


def _is_whole(path: Path, footer: Footer, leaves: bytes, watch: Watch) -> bool:
    if not path.exists():
        return False
    try:
        with (
            open_bimg(path) as (copy, _),
            watch("check restore point", footer.manifest.size) as bar,
        ):
            verify_copy(copy, footer, leaves, bar.tick)
    except BootsvcError:
        return False
    return True


# --- writing ------------------------------------------------------------------------------------


def _write(area: Device, path: Path, footer: Footer, leaves: bytes, watch: Watch) -> None:
    """Write, flush, read back, and only then name it; blocks of zeros stay holes."""
    part = path.with_name(f".{path.stem}{PART_SUFFIX}")
    size = footer.manifest.size
    try:
        _make_blank(part, footer.locator.total_size)
        with (
            DirectDevice(part, writable=True) as target,
            watch("write restore point", size) as bar,
        ):
            copy_image(area, target, footer, leaves, CopyCounts(), bar.tick)
        with open_bimg(part) as (copy, _), watch("read restore point back", size) as bar:
            verify_copy(copy, footer, leaves, bar.tick)
        part.replace(path)
        flush_folder(path.parent)
    finally:
        # Where not even this works, the next keeping removes it.
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _check_room(folder: Path, needed: int) -> None:
    """Raise StorageError unless ``needed`` bytes leave enough of the file system free."""
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    reserve = facts.f_blocks * facts.f_frsize // FREE_SHARE
    if free < needed + reserve:
        raise StorageError(
            f"{folder}: {describe_size(needed + reserve)} needed ({describe_size(needed)} for the "
            f"image, {describe_size(reserve)} stay free), {describe_size(free)} there"
        )


def _make_folder(folder: Path) -> None:
    """An image may hold secrets that its own file permissions guard: the folder is root's alone."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700)
        flush_folder(folder.parent)


def _make_blank(path: Path, size: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _remove_parts(folder: Path) -> None:
    for part in folder.glob(f".*{PART_SUFFIX}"):
        part.unlink()


def _remove_damaged(path: Path) -> None:
    """Before its room is counted, and for good: it must not stand there after a power cut."""
    if path.exists():
        path.unlink()
        flush_folder(path.parent)


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Have errors of the file system name what they happened to."""
    try:
        yield
    except OSError as exc:
        raise StorageError(f"{exc.filename or folder}: {exc.strerror}") from exc
