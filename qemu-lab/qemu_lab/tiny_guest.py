"""A guest for testing the lab itself: a kernel, busybox and the responder, up in seconds.

Needs an extracted kernel package (build/kernels/cloud, or BOOTSVC_LAB_KERNEL_TREE), busybox
and the `cpio` tool. It has no disk of its own: whatever the machine has is only data.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from initramfs.closure import libraries_of, with_links

REPOSITORY = Path(__file__).resolve().parents[2]
RESPONDER = Path(__file__).resolve().parent / "guest" / "responder.sh"

# In the order of their dependencies: insmod does not resolve them.
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
)

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
for module in $(cat /modules/order); do
    insmod /modules/$module.ko || echo "tiny guest: $module cannot be loaded"
done
exec 1>/dev/console 2>&1
setsid /responder.sh
echo "tiny guest: the responder ended"
poweroff -f
"""


@dataclass(frozen=True)
class TinyGuest:
    """Files for a direct boot."""

    kernel: Path
    initrd: Path
    append: str = "console=ttyS0 panic=5"


def kernel_tree() -> Path:
    """The extracted kernel package.

    Raises:
        FileNotFoundError: there is none; the message says how to get one.
    """
    tree = Path(os.environ.get("BOOTSVC_LAB_KERNEL_TREE", REPOSITORY / "build/kernels/cloud"))
    if not list(tree.glob("boot/vmlinuz-*")):
        raise FileNotFoundError(
            f"no kernel in {tree}: build it (make kernels) or set BOOTSVC_LAB_KERNEL_TREE to an"
            " extracted linux-image package"
        )
    return tree


def build(directory: Path, version: str = "1") -> TinyGuest:
    """Writes the initramfs into `directory`.

    Args:
        version: what the responder reports.
    """
    tree = kernel_tree()
    (kernel,) = tree.glob("boot/vmlinuz-*")
    root = directory / "tiny-root"
    for folder in ("bin", "proc", "sys", "dev", "run", "etc", "modules"):
        (root / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise FileNotFoundError("busybox is missing: install the package busybox")
    shutil.copy(busybox, root / "bin/busybox")
    for library in with_links(libraries_of([Path(busybox)])):
        place = root / str(library).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place, follow_symlinks=False)
    shutil.copy(RESPONDER, root / "responder.sh")
    (root / "bin/sh").symlink_to("busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    (root / "etc/os-release").write_text(f'ID=tiny\nIMAGE_VERSION="{version}"\n')
    for module in MODULES:
        (source,) = tree.rglob(f"{module}.ko")
        shutil.copy(source, root / "modules")
    (root / "modules/order").write_text("\n".join(MODULES) + "\n")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    initrd = directory / "tiny.cpio"
    initrd.write_bytes(
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "--owner", "0:0"],
            cwd=root,
            input=names.encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )
    shutil.rmtree(root)
    return TinyGuest(kernel, initrd)
