"""Finds what an image starts: kernel, initrd and options (DESIGN 5).

A Boot Loader Specification entry in /boot/loader/entries (the one with the highest version) says
it all; without one, the newest /boot/vmlinuz-RELEASE and its initrd are taken. What is found goes
into the signed boot section with digests, so nothing unsigned in the area decides what is started.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootsvc.boot.cmdline import image_words, split_words
from bootsvc.errors import BootError
from bootsvc.formats.manifest import BootFile
from bootsvc.image.rootfs import RootFs, read_text, resolve
from bootsvc.image.versions import version_key

ENTRIES = "/boot/loader/entries"
BOOT = "/boot"

INITRD_NAMES = ("initrd.img-{release}", "initramfs-{release}.img", "initrd-{release}")
"""What Debian, Fedora and SUSE call the initrd of a kernel release."""


@dataclass(frozen=True)
class FoundFiles:
    """Paths in the image, free of links; no initrd is None; options of the entry, or empty."""

    kernel: str
    initrd: str | None
    options: str = ""


def find_boot_files(rootfs: RootFs, *, kernel: str = "", with_initrd: bool = True) -> FoundFiles:
    """Kernel, initrd and options of the image.

    Args:
        kernel: path of the kernel in the image; empty: the newest that is found.
        with_initrd: False: the kernel is started without one.

    Raises:
        BootError: no kernel, or no initrd where one is wanted.
    """
    entry = _newest_entry(rootfs)
    newest, initrd, options = entry or _newest_kernel(rootfs)
    kernel = kernel or newest
    if not with_initrd:
        initrd = None
    elif initrd is None:
        raise BootError(
            f"{kernel}: there is no initrd for this kernel in the image",
            hint="give --no-initrd if the kernel mounts its root by itself",
        )
    return FoundFiles(
        _file_at(rootfs, kernel), _file_at(rootfs, initrd) if initrd else None, options
    )


def extract_boot_file(rootfs: RootFs, path: str, target: Path) -> BootFile:
    """Copy the file at ``path`` out of the image and describe it with size and digest.

    Raises:
        BootError: it is empty, or shorter or longer than the file system says.
    """
    rootfs.extract(path, target)
    size = target.stat().st_size
    _, entry = resolve(rootfs, path)
    if not size or size != entry.size:
        raise BootError(f"{path}: {size} bytes were read, the file system says {entry.size}")
    with target.open("rb") as file:
        return BootFile(path, size, hashlib.file_digest(file, "sha256").digest())


def combine_options(found: str, extra: Sequence[str]) -> str:
    """The options to sign: those of the boot entry without what the updater sets, then ``extra``.

    Raises:
        BootError: ``extra`` names an option that the updater sets.
    """
    for text in extra:
        kept = set(image_words(text))
        for word in split_words(text):
            if word not in kept or word.startswith("init="):
                raise BootError(
                    f"option {word!r}: not for an image to decide; the updater sets it at a start",
                    hint="leave it out; the first program is given as --init",
                )
    # A boot entry was written for the place it was installed to: root= there means nothing here.
    words = [word for word in image_words(found) if not word.startswith("init=")]
    return " ".join([*words, *extra]).strip()


def _newest_entry(rootfs: RootFs) -> tuple[str, str | None, str] | None:
    entries = []
    for name in _names(rootfs, ENTRIES):
        if not name.endswith(".conf"):
            continue
        path, _ = resolve(rootfs, f"{ENTRIES}/{name}")
        fields = parse_entry(read_text(rootfs, path))
        if "linux" in fields:
            version = fields.get("version", [name.removesuffix(".conf")])[-1]
            entries.append((version_key(version), name, fields))
    if not entries:
        return None
    _, name, fields = max(entries, key=lambda entry: entry[:2])
    initrds = fields.get("initrd", [])
    if len(initrds) > 1:
        raise BootError(
            f"{ENTRIES}/{name}: {len(initrds)} initrds; an image has one at most",
            hint="join them into one file",
        )
    initrd = _in_boot(rootfs, initrds[0]) if initrds else None
    kernel = _in_boot(rootfs, fields["linux"][-1])
    return kernel, initrd, " ".join(fields.get("options", []))


def parse_entry(text: str) -> dict[str, list[str]]:
    """The fields of a Boot Loader Specification entry, each with all its values in order."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key and not key.startswith("#"):
            fields.setdefault(key, []).append(value.strip())
    return fields


def _in_boot(rootfs: RootFs, path: str) -> str:
    """A path of an entry: relative to the partition with the entries, which is /boot or /."""
    for candidate in (f"{BOOT}/{path.lstrip('/')}", f"/{path.lstrip('/')}"):
        try:
            resolve(rootfs, candidate)
        except BootError:
            continue
        return candidate
    raise BootError(f"{path}: named by an entry in {ENTRIES}, but not in the image")


def _newest_kernel(rootfs: RootFs) -> tuple[str, str | None, str]:
    names = _names(rootfs, BOOT)
    kernels = [name for name in names if name.startswith("vmlinuz-")]
    if not kernels and "vmlinuz" in names:
        kernels = ["vmlinuz"]
    if not kernels:
        raise BootError(
            "there is no kernel in the image: neither an entry in "
            f"{ENTRIES} nor {BOOT}/vmlinuz-RELEASE",
            hint="install a kernel package into the root file system",
        )
    kernel = max(kernels, key=version_key)
    release = kernel.removeprefix("vmlinuz-")
    if release == kernel:
        candidates = ["initrd.img", "initrd", "initramfs.img"]
    else:
        candidates = [pattern.format(release=release) for pattern in INITRD_NAMES]
    initrd = next((f"{BOOT}/{name}" for name in candidates if name in names), None)
    return f"{BOOT}/{kernel}", initrd, ""


def _names(rootfs: RootFs, folder: str) -> list[str]:
    try:
        path, entry = resolve(rootfs, folder)
    except BootError:
        return []
    return sorted(rootfs.entries(path)) if entry.kind == "dir" else []


def _file_at(rootfs: RootFs, path: str) -> str:
    real, entry = resolve(rootfs, path)
    if entry.kind != "file":
        raise BootError(f"{path}: not a regular file in the image")
    return real
