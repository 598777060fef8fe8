"""The Debian images as signed image files (.bimg): build/images/<name>-<method>.bimg.

The probe's are made in ``products``, which also has the key and everything that all of the
lab's images have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootsvc.image.make import BootOptions, make_image
from bootsvc.packaging import deb
from bootsvc.storage.image_file import open_bimg
from qemu_lab.images import cache, debian, kernels, products
from qemu_lab.images.tools import IMAGES, PROJECT, mebibytes, step

DEBS = PROJECT / "build" / "debs"

NUMBERS = {"debian-v1": 1, "debian-v2": 2, "debian-v3": 3, "debian-v4": 4}
"""Image -> its number, each the parent of the next; every bad image has the number after v2's."""
BAD_NUMBER = int(debian.BAD_VERSION)


@dataclass(frozen=True)
class DebianImage:
    """One signed Debian image.

    Attributes:
        rootfs: name of the squashfs that is in it, one of ``debian.names()``.
        method: back end that its manifest asks for.
        verity: its blocks are checked while it runs.
    """

    rootfs: str
    method: str = "kexec"
    verity: bool = False

    @property
    def number(self) -> int:
        """The number that its manifest states."""
        return NUMBERS.get(self.rootfs, BAD_NUMBER)

    @property
    def name(self) -> str:
        """For example debian-v1-kexec."""
        return f"{self.rootfs}-{self.method}{'-verity' if self.verity else ''}"

    @property
    def parent(self) -> DebianImage | None:
        """The version before, for the same back end."""
        before = f"debian-v{self.number - 1}"
        return DebianImage(before, self.method) if before in NUMBERS else None

    @property
    def path(self) -> Path:
        """The image file."""
        return IMAGES / f"{self.name}.bimg"


CHECKED = DebianImage("debian-v2", verity=True)
"""Its own initrd, made by Debian's tools, has the blocks checked."""

CATALOGUE = (
    *(DebianImage(name, method) for name in debian.names() for method in ("kexec", "switch_root")),
    CHECKED,
)
"""Every Debian image, for both back ends: the same squashfs, another manifest; parents first."""


def _package() -> Path:
    """The bootsvc package, built if the sources changed."""
    package = DEBS / f"bootsvc_{deb.version()}_all.deb"
    key = cache.key_of([PROJECT / "bootsvc", PROJECT / "initramfs/overlay.sh"])
    if not cache.is_fresh(package, key):
        deb.build(DEBS)
        cache.mark(package, key)
    return package


def _identity(image: Path) -> bytes:
    with open_bimg(image) as (_, footer):
        return footer.identity


def build_all() -> list[Path]:
    """Make every signed Debian image that is not fresh, and whatever it is made of."""
    signing_key = products.lab_key()
    package = _package()
    kernel = kernels.fetch("cloud")
    keys = (products.PUBLIC_KEY,)
    debian.build(debian.Request(IMAGES, kernel, package, keys, products.SETTINGS))
    for image in CATALOGUE:
        rootfs = IMAGES / f"{image.rootfs}.squashfs"
        parent = image.parent
        key = cache.key_of(
            [
                repr(image),
                *([cache.note_of(parent.path)] if parent else ()),
                cache.note_of(rootfs),
                products.PUBLIC_KEY,
                PROJECT / "bootsvc/image",
                PROJECT / "bootsvc/formats",
            ]
        )
        if cache.is_fresh(image.path, key):
            continue
        with step(image.name) as result:
            make_image(
                rootfs,
                image.path,
                key=signing_key,
                number=image.number,
                label=f"{image.number}.0",
                lineage=products.LINEAGE,
                compatible=products.COMPATIBLE,
                boot=BootOptions(image.method, (products.CONSOLE,), verity=image.verity),
                parent=_identity(parent.path) if parent else None,
                force=True,
            )
            cache.mark(image.path, key)
            result.note = mebibytes(image.path)
    return [image.path for image in CATALOGUE]
