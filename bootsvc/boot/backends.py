"""Handing over to an image: kexec, or switch_root where the kernel is the same (DESIGN 5).

Nothing unsigned decides what is started: paths, digests and options come from the manifest, and
kernel and initrd are loaded from the very memory that was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootsvc.boot import dm, syscalls
from bootsvc.boot.cmdline import compose, same_options
from bootsvc.boot.handover import ENV_FILE, RUN_DIR, START_FILE, Handover, start_cpio
from bootsvc.errors import BootError
from bootsvc.formats.elf_notes import build_id_among
from bootsvc.formats.manifest import BootFile, BootSection, InnerPartition
from bootsvc.formats.verity import Verity
from bootsvc.units import MIB

_MOUNT_POINT = RUN_DIR / "area"
_NOTES = Path("/sys/kernel/notes")

# Where each file system keeps its magic: name, offset, bytes, mount options.
_FILE_SYSTEMS = (
    ("squashfs", 0, b"hsqs", ""),
    ("ext4", 1080, b"\x53\xef", "noload"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0", ""),
)


@dataclass(frozen=True)
class Loaded:
    """An image ready to be started; for kexec ``start`` returns only by raising BootError."""

    method: str
    start: Callable[[], None]


def load(
    boot: BootSection,
    handover: Handover,
    running_cmdline: str,
    record: object,
    progress: Callable[[], None] = lambda: None,
) -> Loaded:
    """Make the image in ``handover.area`` ready to be started by the back end that fits.

    Args:
        record: of this start, for the OS; anything that JSON can hold.
        progress: called for each mebibyte that was read.

    Raises:
        BootError: it cannot be started; nothing has been changed.
    """
    if boot.method == "switch_root" and _same_kernel(boot, running_cmdline):
        return _load_switch_root(boot, handover, record)
    return _load_kexec(boot, handover, record, progress)


def _load_kexec(
    boot: BootSection, handover: Handover, record: object, progress: Callable[[], None]
) -> Loaded:
    try:
        cmdline = compose(boot.options, handover.root_guid, boot.init, handover.kernel_facts())
    except ValueError as exc:
        raise BootError(str(exc)) from exc
    with ExitStack() as open_files:
        # Both files are held against digests of their own.
        with _mounted(handover, boot.boot_partition or boot.root_partition, None) as root:
            kernel_fd = _checked_copy(root, boot.kernel, open_files, progress)
            initrd_fd = None
            if boot.initrd:
                initrd_fd = _checked_copy(root, boot.initrd, open_files, progress)
        if initrd_fd is not None:
            size = os.lseek(initrd_fd, 0, os.SEEK_END)
            os.write(initrd_fd, bytes(-size % 4) + start_cpio(record))
            os.lseek(initrd_fd, 0, os.SEEK_SET)
        syscalls.kexec_file_load(kernel_fd, initrd_fd, cmdline)
    return Loaded("kexec", syscalls.kexec_start)


def _load_switch_root(boot: BootSection, handover: Handover, record: object) -> Loaded:
    with _mounted(handover, boot.root_partition, handover.verity) as root:
        init = root / handover.init.lstrip("/")
        if not init.is_file() and not init.is_symlink():
            raise BootError(f"the image has no {handover.init}")

    def start() -> None:
        # From here on a rotten block is the machine's end, and the next start looks for it.
        nodes = dm.map_area(
            handover.root_node, _mapping_of(handover), boot.root_partition, handover.verity
        )
        START_FILE.write_text(json.dumps(record))
        ENV_FILE.write_text(handover.env_text(nodes[-1] if nodes else ""))

    return Loaded("switch_root", start)


def _same_kernel(boot: BootSection, running_cmdline: str) -> bool:
    """The image's kernel is the one that runs, started with the options that it asks for."""
    same_build = boot.kernel_build_id == _running_build_id()
    return bool(boot.kernel_build_id) and same_build and same_options(boot.options, running_cmdline)


def _running_build_id() -> str:
    """The running kernel's build-id from its ELF notes, empty where it has none."""
    try:
        return build_id_among(_NOTES.read_bytes())
    except OSError:
        return ""


def _mapping_of(handover: Handover) -> str:
    return f"bootsvc-{handover.area.name.lower()}"


@contextmanager
def _mounted(
    handover: Handover, part: InnerPartition | None, verity: Verity | None
) -> Iterator[Path]:
    """The file system in the area, or in ``part`` of it, read-only, device included."""
    area = handover.root_node
    try:
        syscalls.set_read_only(Path(area))
    except OSError as exc:
        raise BootError(f"{area}: cannot be made read-only: {exc.strerror}") from exc
    _MOUNT_POINT.mkdir(parents=True, exist_ok=True)
    with dm.mapped(area, _mapping_of(handover), part, verity) as node:
        kind, options = _file_system(node)
        syscalls.mount(node, _MOUNT_POINT, kind, syscalls.MS_RDONLY, options)
        try:
            yield _MOUNT_POINT
        finally:
            syscalls.umount(_MOUNT_POINT)


def _file_system(node: str) -> tuple[str, str]:
    try:
        with Path(node).open("rb") as file:
            head = file.read(2048)
    except OSError as exc:
        raise BootError(f"{node}: cannot be read: {exc.strerror}") from exc
    for name, offset, magic, options in _FILE_SYSTEMS:
        if head[offset : offset + len(magic)] == magic:
            return name, options
    known = ", ".join(name for name, *_ in _FILE_SYSTEMS)
    raise BootError(f"{node}: holds none of the file systems {known}")


def _checked_copy(
    root: Path, file: BootFile, open_files: ExitStack, progress: Callable[[], None]
) -> int:
    """A memory file with the bytes of ``file``, checked against its signed digest; it is closed
    with ``open_files``.

    Raises:
        BootError: it is missing, cannot be read, or differs.
    """
    digest = hashlib.sha256()
    memory = os.memfd_create(file.path.rsplit("/", 1)[-1])
    open_files.callback(os.close, memory)
    left = file.size
    try:
        with (root / file.path.lstrip("/")).open("rb", buffering=0) as source:
            while left and (data := source.read(min(MIB, left))):
                digest.update(data)
                os.write(memory, data)
                left -= len(data)
                progress()
            is_longer = bool(source.read(1))
    except OSError as exc:
        raise BootError(f"{file.path}: cannot be read: {exc.strerror}") from exc
    if left or is_longer or digest.digest() != file.sha256:
        raise BootError(f"{file.path}: differs from its signed digest")
    return memory
