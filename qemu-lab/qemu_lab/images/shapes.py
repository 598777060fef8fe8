"""A probe's root file system in the shapes that images may have: as it is, as erofs, in a disk.

The shapes are turned into raw bytes by bootsvc's own code, as whoever makes an image would.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootsvc.image.source import SourceOptions, opened_as_raw
from bootsvc.image.trees import TreeOptions
from bootsvc.units import MIB
from qemu_lab.images.tools import BUILD, run

SHAPES = ("squashfs", "erofs", "disk")
_ROOT_AT = 3 * MIB


@contextmanager
def shaped(rootfs: Path, shape: str) -> Iterator[Path]:
    """Raw bytes of an image of that shape with what the squashfs file ``rootfs`` holds."""
    if shape == "squashfs":
        yield rootfs
        return
    with tempfile.TemporaryDirectory(prefix="shape-", dir=BUILD) as scratch:
        folder = Path(scratch)
        make = _folder_of if shape == "erofs" else _qcow2_of
        options = SourceOptions(tree=TreeOptions("erofs", "root"))
        with opened_as_raw(make(rootfs, folder), scratch=folder, options=options) as raw:
            yield raw


def _folder_of(rootfs: Path, folder: Path) -> Path:
    tree = folder / "tree"
    run(["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-dest", str(tree), str(rootfs)])
    return tree


def _qcow2_of(rootfs: Path, folder: Path) -> Path:
    """A disk as a cloud image has it: GPT, another partition first, then the root."""
    disk = folder / "disk.raw"
    size = rootfs.stat().st_size
    with disk.open("wb") as file:
        file.seek(_ROOT_AT)
        file.write(rootfs.read_bytes())
        file.truncate(_ROOT_AT + -(-size // MIB) * MIB + MIB)
    sectors = -(-size // MIB) * MIB // 512
    table = folder / "table"
    table.write_text(
        "label: gpt\nlabel-id: B0075C00-0008-4B5A-8F3E-6D1C52A90001\n"
        f"start=2048, size=4096, type=uefi\nstart={_ROOT_AT // 512}, size={sectors}, type=linux\n"
    )
    run(["sh", "-c", 'sfdisk -q "$1" <"$2"', "sh", str(disk), str(table)])
    made = folder / "disk.qcow2"
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), str(made)])
    disk.unlink()
    return made
