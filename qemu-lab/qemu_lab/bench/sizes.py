"""Size of the initramfs as shipped, against its goals."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from initramfs.build import BuildRequest, build
from initramfs.modules import KernelTree
from qemu_lab.bench.figures import Figure
from qemu_lab.images import products
from qemu_lab.images.kernels import Kernel
from qemu_lab.images.tools import IMAGES, run

SECTION = "Initramfs (zstd)"
GOAL_BYTES = 6_500_000
"""Without kernel modules, signature check included."""

DISTRIBUTION_IMAGE = IMAGES / "debian-v1.squashfs"
"""An image with the distribution's initramfs-tools."""


def measure(scratch: Path) -> list[Figure]:
    """Archives without and with modules, and the distribution's initrd of the same kernel."""
    found = products.kernel("cloud")
    products.updater("cloud")  # key and settings file come with it
    tree = KernelTree.extracted(found.tree)
    bare, full = (_size(scratch / "size.cpio.zst", kernel) for kernel in (None, tree))
    theirs, why = _distribution_initrd(scratch / "distribution", found)
    half = None if theirs is None else theirs / 2
    return [
        Figure(SECTION, "without kernel modules", bare, "bytes", GOAL_BYTES),
        Figure(SECTION, "with modules, virtio and NVMe", full, "bytes", half, found.release),
        Figure(SECTION, "the distribution's initrd, same kernel", theirs, "bytes", note=why),
    ]


def _size(out: Path, kernel: KernelTree | None) -> int:
    return build(
        BuildRequest(out, kernel=kernel, config=products.SETTINGS_FILE, keys=(products.PUBLIC_KEY,))
    ).size


def _distribution_initrd(root: Path, kernel: Kernel) -> tuple[int | None, str]:
    """Size in bytes of what Debian's mkinitramfs makes for this kernel by its own settings, or
    None and why there is none.

    The lab's image lists its few modules and has only those; both are undone in a copy.
    """
    if not DISTRIBUTION_IMAGE.exists():
        return None, f"no {DISTRIBUTION_IMAGE.name}: make images builds it"
    unpack = ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-ignore-errors"]
    # What only root may unpack (device nodes) is not needed.
    subprocess.run([*unpack, "-d", root, DISTRIBUTION_IMAGE], capture_output=True, check=False)
    for ours in ("etc/initramfs-tools/conf.d/qemu-lab", "usr/share/initramfs-tools/hooks/bootsvc"):
        (root / ours).unlink(missing_ok=True)
    (root / "etc/initramfs-tools/modules").write_text("")
    (modules,) = kernel.tree.glob(f"**/lib/modules/{kernel.release}")
    target = root / "usr/lib/modules" / kernel.release
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(modules, target, symlinks=True)
    script = (
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin; "
        f"depmod {kernel.release} && mkinitramfs -o /initrd {kernel.release}"
    )
    run(["unshare", "-r", f"--root={root}", "sh", "-c", script])
    return (root / "initrd").stat().st_size, "mkinitramfs, MODULES=most, zstd"
