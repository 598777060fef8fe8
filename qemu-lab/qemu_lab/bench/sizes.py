"""Size of the initramfs as shipped, against its goals."""

from __future__ import annotations

import subprocess
from pathlib import Path

from initramfs.build import BuildRequest, build
from initramfs.modules import KernelTree
from qemu_lab.bench.figures import Figure
from qemu_lab.images import products
from qemu_lab.images.tools import IMAGES

SECTION = "Initramfs (zstd)"
GOAL_BYTES = 6_500_000
"""Without kernel modules, signature check included."""

DISTRIBUTION_IMAGE = IMAGES / "debian-v1.squashfs"
"""An image with the distribution's own initrd in its /boot."""


def measure(scratch: Path) -> list[Figure]:
    """Archives without and with modules, and the distribution's initrd of the same kernel."""
    found = products.kernel("cloud")
    products.updater("cloud")  # key and settings file come with it
    tree = KernelTree.extracted(found.tree)
    bare, full = (_size(scratch / "size.cpio.zst", kernel) for kernel in (None, tree))
    theirs, why = _distribution_initrd(found.release)
    half = None if theirs is None else theirs / 2
    return [
        Figure(SECTION, "without kernel modules", bare, "bytes", GOAL_BYTES),
        Figure(SECTION, "with modules, virtio and NVMe", full, "bytes", half, found.release),
        Figure(SECTION, "the distribution's own initrd", theirs, "bytes", note=why),
    ]


def _size(out: Path, kernel: KernelTree | None) -> int:
    return build(
        BuildRequest(out, kernel=kernel, config=products.SETTINGS_FILE, keys=(products.PUBLIC_KEY,))
    ).size


def _distribution_initrd(release: str) -> tuple[int | None, str]:
    """Size in bytes, and where it was found or why it was not."""
    if not DISTRIBUTION_IMAGE.exists():
        return None, f"no {DISTRIBUTION_IMAGE.name}: make images builds it"
    name = f"boot/initrd.img-{release}"
    done = subprocess.run(
        ["unsquashfs", "-cat", str(DISTRIBUTION_IMAGE), name], capture_output=True, check=False
    )
    if done.returncode != 0 or not done.stdout:
        return None, f"{DISTRIBUTION_IMAGE.name} has no {name}: its kernel is another one"
    return len(done.stdout), f"{name} in {DISTRIBUTION_IMAGE.name}"
