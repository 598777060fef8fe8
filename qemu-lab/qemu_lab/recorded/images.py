"""Probe images a quarter as large: a start after a power cut reads whole images several times.

They hold what the probe image of the same number holds, but for kernel and initrd in /boot: the
updater goes on in its own kernel by switch_root and asks the manifest for the kernel's build-id
only. So the kernel of the manifest is an ELF file that bears this build-id and nothing else.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

from bootsvc.image.kernel_notes import kernel_build_id
from bootsvc.image.make import BootOptions, make_image
from bootsvc.units import MIB
from qemu_lab.images import cache, probe, products
from qemu_lab.images.products import CONSOLE
from qemu_lab.images.tools import IMAGES, mebibytes, run, step

AREA_SIZE = 10 * MIB
"""Of the disks that these images are for."""

_KERNEL_NAME = "cloud"
_PAYLOAD = "0-payload"
"""The first file of the tree; its length differs from version to version and so moves all that
follows: hardly any block of two versions is the same, and a copy has to write them all."""

_PAYLOAD_BYTES = MIB // 2
_SQUASH = ("-comp", "zstd", "-Xcompression-level", "6", "-noappend", "-all-root", "-no-xattrs")
_QUIET = ("-quiet", "-no-progress")
_NT_GNU_BUILD_ID = 3


def small_image(number: int) -> Path:
    """The signed image file with this number; made where it is missing or old."""
    variant = probe.Variant(number, "good", products.kernel(_KERNEL_NAME))
    signing_key = products.lab_key()
    out = IMAGES / f"probe-{number}-small.bimg"
    with cache.locked(out):
        (rootfs,) = probe.build([variant], IMAGES, (products.PUBLIC_KEY,), products.SETTINGS)
        key = cache.key_of([cache.note_of(rootfs), products.PUBLIC_KEY, Path(__file__)])
        if cache.is_fresh(out, key):
            return out
        with step(out.name) as result, tempfile.TemporaryDirectory(prefix="small-probe-") as folder:
            make_image(
                _small_rootfs(rootfs, variant, Path(folder)),
                out,
                key=signing_key,
                number=number,
                label=f"{number}.0",
                lineage=products.LINEAGE,
                compatible=products.COMPATIBLE,
                boot=BootOptions("switch_root", (CONSOLE,), with_initrd=False),
                force=True,
            )
            result.note = mebibytes(out)
        cache.mark(out, key)
    return out


def _small_rootfs(rootfs: Path, variant: probe.Variant, folder: Path) -> Path:
    tree, small = folder / "tree", folder / "small.squashfs"
    run(["unsquashfs", *_QUIET, "-dest", str(tree), str(rootfs)])
    for unneeded in (tree / "boot").iterdir():
        unneeded.unlink()
    (tree / "variant/payload").unlink()
    payload = probe.payload(variant.version, _PAYLOAD_BYTES + 100 * variant.version)
    (tree / _PAYLOAD).write_bytes(payload)
    build_id = bytes.fromhex(kernel_build_id(variant.kernel.vmlinuz))
    (tree / f"boot/vmlinuz-{variant.kernel.release}").write_bytes(elf_with_build_id(build_id))
    run(["mksquashfs", str(tree), str(small), *_SQUASH, *_QUIET])
    return small


def elf_with_build_id(build_id: bytes) -> bytes:
    """An ELF file that consists of the note with this build-id."""
    header_size, segment_size = 64, 56
    note = struct.pack("<III4s", 4, len(build_id), _NT_GNU_BUILD_ID, b"GNU\0") + build_id
    at = header_size + segment_size
    # ELF-64, little-endian; an executable for x86-64 without entry point; one segment, no section.
    header = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0,
        2, 62, 1, 0, header_size, 0, 0, header_size, segment_size, 1, 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(note), len(note), 4)
    return header + segment + note
