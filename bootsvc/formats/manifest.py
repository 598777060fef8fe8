"""The manifest: the signed description of one version of an image (DESIGN 7).

A JSON object in UTF-8, at most 64 KiB. The bytes as they stand are what is signed, and their
SHA-256 is the image's *identity*; the number orders versions and the label is for people.
Unknown keys are left alone, so that an older updater accepts a newer manifest.

    {"format": 1, "lineage": UUID, "number": 2, "label": "1.1", "compatible": "lab",
     "size": bytes, "sha256": hex of the whole image, "block_size": 4096, "root": hex of the tree,
     "floor": lowest number that may be installed after this one proved itself,
     "parent": identity or null, "notes": text,
     "boot": {"method": "kexec" | "switch_root", "kernel": {"path", "size", "sha256"},
              "initrd": the same or null, "options": text, "kernel_build_id": hex,
              "overlay": "volatile" | "kept", "init": path}}
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from bootsvc.errors import FieldError, FormatError
from bootsvc.formats._json import JsonFields, parse_json
from bootsvc.formats.footer import MAX_IMAGE_SIZE, MAX_MANIFEST_SIZE
from bootsvc.units import BLOCK_SIZE, MIB

FORMAT = 1
METHODS = ("kexec", "switch_root")
OVERLAYS = ("volatile", "kept")
MAX_BOOT_FILE_SIZE = 512 * MIB
MAX_OPTIONS_LENGTH = 1024
MAX_LABEL_LENGTH = 64


@dataclass(frozen=True)
class BootFile:
    """A kernel or initrd inside the image: absolute path, size in bytes, SHA-256 (32 bytes)."""

    path: str
    size: int
    sha256: bytes


@dataclass(frozen=True)
class BootSection:
    """How the image is started (DESIGN 5); all of it is signed."""

    method: str
    kernel: BootFile
    initrd: BootFile | None = None
    options: str = ""
    kernel_build_id: str = ""
    overlay: str = "volatile"
    init: str = "/sbin/init"


@dataclass(frozen=True)
class Manifest:
    """One version of an image. Sizes are bytes, digests are 32 raw bytes."""

    lineage: str
    number: int
    label: str
    compatible: str
    size: int
    sha256: bytes
    root: bytes
    boot: BootSection
    floor: int = 0
    parent: bytes | None = None
    notes: str = ""


def identity_of(manifest_bytes: bytes) -> bytes:
    """The image's identity: SHA-256 of its manifest's bytes."""
    return hashlib.sha256(manifest_bytes).digest()


def build_manifest(manifest: Manifest) -> bytes:
    """The bytes to sign: JSON with sorted keys and a line end."""
    boot = manifest.boot
    document = {
        "format": FORMAT,
        "lineage": manifest.lineage,
        "number": manifest.number,
        "label": manifest.label,
        "compatible": manifest.compatible,
        "size": manifest.size,
        "sha256": manifest.sha256.hex(),
        "block_size": BLOCK_SIZE,
        "root": manifest.root.hex(),
        "floor": manifest.floor,
        "parent": manifest.parent.hex() if manifest.parent else None,
        "notes": manifest.notes,
        "boot": {
            "method": boot.method,
            "kernel": _boot_file_document(boot.kernel),
            "initrd": _boot_file_document(boot.initrd) if boot.initrd else None,
            "options": boot.options,
            "kernel_build_id": boot.kernel_build_id,
            "overlay": boot.overlay,
            "init": boot.init,
        },
    }
    data = (json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()
    if parse_manifest(data) != manifest:
        raise FieldError("manifest: a field does not survive being written")
    return data


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in ``data``.

    Raises:
        FormatError: not JSON, or larger than 64 KiB.
        FieldError: a field is missing, of the wrong kind or out of range; it is named.
    """
    if len(data) > MAX_MANIFEST_SIZE:
        raise FormatError(f"manifest: {len(data)} bytes, at most {MAX_MANIFEST_SIZE}")
    fields = parse_json(data, "manifest")
    if fields.integer("format", FORMAT, 2**31) != FORMAT:
        raise FieldError(f"manifest: format {fields.document['format']} is unknown")
    if fields.integer("block_size", 0, 2**31) != BLOCK_SIZE:
        raise FieldError(f"manifest: block_size is not {BLOCK_SIZE}")
    return Manifest(
        lineage=fields.uuid("lineage"),
        number=fields.integer("number", 0, 2**63),
        label=fields.text("label", MAX_LABEL_LENGTH),
        compatible=fields.text("compatible", 128),
        size=fields.integer("size", 1, MAX_IMAGE_SIZE),
        sha256=fields.digest("sha256"),
        root=fields.digest("root"),
        floor=fields.integer("floor", 0, 2**63),
        parent=fields.digest("parent") if fields.has("parent") else None,
        notes=fields.text("notes", MAX_MANIFEST_SIZE),
        boot=_boot_section(fields.inner("boot")),
    )


def _boot_section(fields: JsonFields) -> BootSection:
    options = fields.text("options", MAX_OPTIONS_LENGTH)
    if not (options.isascii() and options.isprintable()):
        # Beyond ASCII the kernel and we might see other words in the same bytes.
        raise FieldError("manifest: boot.options: holds more than printable ASCII")
    return BootSection(
        method=fields.choice("method", METHODS),
        kernel=_boot_file(fields.inner("kernel")),
        initrd=_boot_file(fields.inner("initrd")) if fields.has("initrd") else None,
        options=options,
        kernel_build_id=fields.text("kernel_build_id", 128),
        overlay=fields.choice("overlay", OVERLAYS),
        init=fields.file_path("init"),
    )


def _boot_file(fields: JsonFields) -> BootFile:
    size = fields.integer("size", 1, MAX_BOOT_FILE_SIZE)
    return BootFile(fields.file_path("path"), size, fields.digest("sha256"))


def _boot_file_document(file: BootFile) -> dict[str, object]:
    return {"path": file.path, "size": file.size, "sha256": file.sha256.hex()}
