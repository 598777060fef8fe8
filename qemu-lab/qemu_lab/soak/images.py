"""The images of the stories: good ones, bad ones, and one that nobody may install.

All are made from one probe, without kernel and initrd as the small images of ``recorded`` are: a
start reads whole images several times, so that a quarter of the size is half of a run.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bootsvc.image.kernel_notes import kernel_build_id
from bootsvc.image.keys import load_signing_key
from bootsvc.image.make import BootOptions, make_image
from bootsvc.units import MIB
from qemu_lab.images import cache, probe, products
from qemu_lab.images.tools import IMAGES, mebibytes, run, step
from qemu_lab.recorded.images import elf_with_build_id


class Behaviour(StrEnum):
    """What an image does once it is started; all but GOOD must be thrown back."""

    GOOD = "good"
    SILENT = "silent"  # runs, and never confirms
    PANIC = "panic"
    HANG = "hang"
    REBOOT = "reboot"  # restarts at once
    NO_KERNEL = "no-kernel"  # bears another kernel than the updater's, which no machine can load


@dataclass(frozen=True)
class SoakImage:
    """One image.

    Attributes:
        number: its version; no two images share one.
        floor: the version floor that it brings once it is confirmed.
        is_approved: signed by the key that machines trust.
    """

    number: int
    behaviour: Behaviour = Behaviour.GOOD
    floor: int = 0
    is_approved: bool = True

    @property
    def path(self) -> Path:
        """The image file."""
        return IMAGES / f"soak-{self.number}-{self.behaviour}.bimg"


FORMER, FIRST = 1, 2
"""Numbers of the images that every machine begins with: in backup, and in primary."""

STRANGER = 12

CATALOGUE = {
    image.number: image
    for image in (
        SoakImage(FORMER),
        SoakImage(FIRST),
        SoakImage(3),
        SoakImage(4, floor=2),
        SoakImage(5, floor=4),
        SoakImage(6, Behaviour.SILENT),
        SoakImage(7, Behaviour.PANIC),
        SoakImage(8, Behaviour.HANG),
        SoakImage(9, Behaviour.REBOOT),
        SoakImage(10, Behaviour.NO_KERNEL),
        SoakImage(STRANGER, is_approved=False),
    )
}
"""All images of the stories by number."""

_KERNEL_NAME = "cloud"
_PAYLOAD = "0-payload"
"""The first file of the tree; its length differs from image to image and so moves all that follows:
hardly any block of two images is the same, and a copy has to write them all."""
_PAYLOAD_BYTES = MIB // 2
_SQUASH = ("-comp", "zstd", "-Xcompression-level", "6", "-noappend", "-all-root", "-no-xattrs")
_QUIET = ("-quiet", "-no-progress")
_ANOTHER_BUILD_ID = bytes.fromhex("ee" * 20)


def build_all() -> None:
    """Make whatever of the catalogue is missing or old."""
    products.lab_key()
    variant = probe.Variant(FIRST, "good", products.kernel(_KERNEL_NAME))
    with cache.locked(IMAGES / "soak"), ExitStack() as stack:
        (rootfs,) = probe.build([variant], IMAGES, (products.PUBLIC_KEY,), products.SETTINGS)
        made_from = [cache.note_of(rootfs), products.PUBLIC_KEY, Path(__file__)]
        tree: Path | None = None
        for image in CATALOGUE.values():
            key = cache.key_of([*made_from, repr(image)])
            if cache.is_fresh(image.path, key):
                continue
            if tree is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-images-"))
                tree = _bare_tree(rootfs, Path(folder))
            with step(image.path.name) as result:
                _build(image, tree, variant)
                result.note = mebibytes(image.path)
            cache.mark(image.path, key)


def _bare_tree(rootfs: Path, folder: Path) -> Path:
    tree = folder / "tree"
    run(["unsquashfs", *_QUIET, "-dest", str(tree), str(rootfs)])
    for unneeded in (tree / "boot").iterdir():
        unneeded.unlink()
    (tree / "variant/payload").unlink()
    return tree


def _build(image: SoakImage, tree: Path, variant: probe.Variant) -> None:
    build_id = bytes.fromhex(kernel_build_id(variant.kernel.vmlinuz))
    behaviour = image.behaviour
    if behaviour is Behaviour.NO_KERNEL:
        build_id, behaviour = _ANOTHER_BUILD_ID, Behaviour.GOOD
    kernel = tree / f"boot/vmlinuz-{variant.kernel.release}"
    kernel.write_bytes(elf_with_build_id(build_id))
    payload = probe.payload(image.number, _PAYLOAD_BYTES + 100 * image.number)
    (tree / _PAYLOAD).write_bytes(payload)
    settings = f"VERSION={image.number}\nBEHAVIOUR={behaviour}\n"
    (tree / "variant/probe.conf").write_text(settings, encoding="ascii")
    rootfs = tree.with_name("image.squashfs")
    run(["mksquashfs", str(tree), str(rootfs), *_SQUASH, *_QUIET])
    make_image(
        rootfs,
        image.path,
        key=load_signing_key(products.KEY if image.is_approved else products.OTHER_KEY),
        number=image.number,
        label=f"{image.number}.0",
        lineage=products.LINEAGE,
        compatible=products.COMPATIBLE,
        floor=image.floor,
        boot=BootOptions("switch_root", (products.CONSOLE,), with_initrd=False),
        force=True,
    )
