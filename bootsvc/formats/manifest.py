"""The manifest: the signed description of one version of an image (DESIGN 7).

A JSON object in UTF-8, at most 64 KiB. The bytes as they stand are what is signed, and their
SHA-256 is the image's *identity*; the number orders versions and the label is for people.
Unknown keys are left alone, so that an older updater accepts a newer manifest. What must not be
left alone is announced: a manifest of format 2 lists in ``needs`` what its reader has to know, and
an unknown word there is refused by name; readers of format 1 alone refuse all of format 2. A
manifest that needs nothing is of format 1.

    {"format": 1, "lineage": UUID, "number": 2, "label": "1.1", "compatible": "lab",
     "size": bytes, "sha256": hex of the whole image, "block_size": 4096, "root": hex of the tree,
     "floor": lowest number that may be installed after this one proved itself,
     "parent": identity or null, "notes": text,
     "boot": {"method": "kexec" | "switch_root", "kernel": {"path", "size", "sha256"},
              "initrd": the same or null, "options": text, "kernel_build_id": hex,
              "overlay": "volatile" | "kept", "init": path}}

Format 2 adds:

    {"needs": ["partition", "verity"] or one of them,
     "boot": {"root_partition": {"offset": bytes, "size": bytes},       with need "partition"
              "boot_partition": the same or null: holds kernel and initrd instead of the root,
              "verity": true}}                                          with need "verity"

The image is then a whole disk and its root one of its partitions; with ``verity`` the running
kernel holds every block it reads against the digest tree (dm-verity).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from bootsvc.errors import FieldError, FormatError
from bootsvc.formats._json import JsonFields, parse_json
from bootsvc.formats.footer import MAX_IMAGE_SIZE, MAX_MANIFEST_SIZE
from bootsvc.units import BLOCK_SIZE, MIB, round_up

FORMAT = 1
FORMAT_WITH_NEEDS = 2
NEED_PARTITION, NEED_VERITY = "partition", "verity"
NEEDS = (NEED_PARTITION, NEED_VERITY)
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
class InnerPartition:
    """A partition inside a whole-disk image: byte offset and size, both multiples of 4 KiB."""

    offset: int
    size: int


@dataclass(frozen=True)
class BootSection:
    """How the image is started (DESIGN 5); all of it is signed.

    Attributes:
        root_partition: where the root file system is in a whole-disk image; None: the image is it.
        boot_partition: where kernel and initrd are, if not in the root.
        verity: the root is checked block by block while it runs.
    """

    method: str
    kernel: BootFile
    initrd: BootFile | None = None
    options: str = ""
    kernel_build_id: str = ""
    overlay: str = "volatile"
    init: str = "/sbin/init"
    root_partition: InnerPartition | None = None
    boot_partition: InnerPartition | None = None
    verity: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """What a reader must know to start this image rightly."""
        needs = [NEED_PARTITION] if self.root_partition else []
        return tuple([*needs, NEED_VERITY] if self.verity else needs)


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
    document: dict[str, object] = {
        "format": FORMAT_WITH_NEEDS if boot.needs else FORMAT,
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
        "boot": _boot_document(boot),
    }
    if boot.needs:
        document["needs"] = list(boot.needs)
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
    needs = _needs(fields)
    if fields.integer("block_size", 0, 2**31) != BLOCK_SIZE:
        raise FieldError(f"manifest: block_size is not {BLOCK_SIZE}")
    size = fields.integer("size", 1, MAX_IMAGE_SIZE)
    return Manifest(
        lineage=fields.uuid("lineage"),
        number=fields.integer("number", 0, 2**63),
        label=fields.text("label", MAX_LABEL_LENGTH),
        compatible=fields.text("compatible", 128),
        size=size,
        sha256=fields.digest("sha256"),
        root=fields.digest("root"),
        floor=fields.integer("floor", 0, 2**63),
        parent=fields.digest("parent") if fields.has("parent") else None,
        notes=fields.text("notes", MAX_MANIFEST_SIZE),
        boot=_boot_section(fields.inner("boot"), needs, size),
    )


def _needs(fields: JsonFields) -> list[str]:
    """What the manifest's reader must know; format 1 needs nothing."""
    found = fields.integer("format", FORMAT, 2**31)
    if found == FORMAT:
        return []
    if found != FORMAT_WITH_NEEDS:
        raise FieldError(f"manifest: format {found} is unknown")
    needs = fields.document.get("needs")
    if not isinstance(needs, list) or not needs or len(set(map(repr, needs))) != len(needs):
        raise FieldError("manifest: needs: a list of different words expected")
    for one in needs:
        if one not in NEEDS:
            raise FieldError(
                f"manifest: needs: {one!r} is unknown to this bootsvc",
                hint="update the updater first (bootsvc updater stage)",
            )
    return needs


def _boot_section(fields: JsonFields, needs: list[str], image_size: int) -> BootSection:
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
        root_partition=_inner_partition(fields.inner("root_partition"), image_size)
        if NEED_PARTITION in needs
        else None,
        boot_partition=_inner_partition(fields.inner("boot_partition"), image_size)
        if NEED_PARTITION in needs and fields.has("boot_partition")
        else None,
        verity=NEED_VERITY in needs and _verity(fields),
    )


def _inner_partition(fields: JsonFields, image_size: int) -> InnerPartition:
    end = round_up(image_size, BLOCK_SIZE)
    offset = fields.integer("offset", BLOCK_SIZE, end)
    size = fields.integer("size", BLOCK_SIZE, end)
    if offset % BLOCK_SIZE or size % BLOCK_SIZE or offset + size > end:
        raise FieldError(
            f"{fields.where}: offset {offset}, size {size}: multiples of {BLOCK_SIZE} within the "
            f"image expected"
        )
    return InnerPartition(offset, size)


def _verity(fields: JsonFields) -> bool:
    if fields.document.get("verity") is not True:
        raise FieldError(f"{fields.where}: verity: true expected, for it stands in needs")
    return True


def _boot_file(fields: JsonFields) -> BootFile:
    size = fields.integer("size", 1, MAX_BOOT_FILE_SIZE)
    return BootFile(fields.file_path("path"), size, fields.digest("sha256"))


def _boot_file_document(file: BootFile) -> dict[str, object]:
    return {"path": file.path, "size": file.size, "sha256": file.sha256.hex()}


def _boot_document(boot: BootSection) -> dict[str, object]:
    document: dict[str, object] = {
        "method": boot.method,
        "kernel": _boot_file_document(boot.kernel),
        "initrd": _boot_file_document(boot.initrd) if boot.initrd else None,
        "options": boot.options,
        "kernel_build_id": boot.kernel_build_id,
        "overlay": boot.overlay,
        "init": boot.init,
    }
    if boot.root_partition:
        document["root_partition"] = _partition_document(boot.root_partition)
    if boot.boot_partition:
        document["boot_partition"] = _partition_document(boot.boot_partition)
    if boot.verity:
        document["verity"] = True
    return document


def _partition_document(partition: InnerPartition) -> dict[str, object]:
    return {"offset": partition.offset, "size": partition.size}
