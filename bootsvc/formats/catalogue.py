"""What an image store says of itself, in JSON: one catalogue for a lineage, one document a version.

    lineages/<uuid>.json         the versions of a lineage, the oldest first
    versions/<identity>.json     how one of them is put together
    recipes/<sha256>.recipe      (``formats.recipe``)
    packs/<identity>.pack        (``formats.pack``; deltas are packs with a base)

Recipes and packs are named by what they hold and never change. Catalogues and documents are what a
publisher vouches for as a whole (``store.metadata``): they make the rest findable, and keep old
states from being passed off as the present one. What may be *installed* the signed manifest alone
decides.

catalogue: {"format": 1, "lineage": UUID, "versions": [{"identity": hex, "parent": hex or null,
            "number": 2, "label": "1.1", "compatible": "lab", "mode": "released",
            "published_s": seconds since 1970, "released_s": the same: not to be offered before,
            "size": bytes of the image, "stored_size": bytes that it added to the store,
            "notes": text, "why": of a restore point, why it was kept; else not there}]}
document:  {"format": 1, "manifest": text, "signatures": [{"key_id": hex, "signature": hex}],
            "recipe": {"sha256": hex, "size": bytes},
            "packs": [{"identity": hex, "header_size": bytes, "size": bytes}],
            "deltas": [{"base": hex, the same three}]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum

from bootsvc.errors import FieldError, SizeMismatchError
from bootsvc.formats._json import JsonFields, parse_json
from bootsvc.formats.footer import (
    MAX_IMAGE_SIZE,
    MAX_MANIFEST_SIZE,
    MAX_SIGNATURES,
    Locator,
    Signature,
)
from bootsvc.formats.manifest import MAX_LABEL_LENGTH, Manifest, identity_of, parse_manifest
from bootsvc.formats.pack import MAX_HEADER_SIZE
from bootsvc.formats.recipe import MAX_PACKS, MAX_RECIPE_SIZE
from bootsvc.formats.tree import tree_size
from bootsvc.units import MIB

LINEAGES, VERSIONS, RECIPES, PACKS = "lineages", "versions", "recipes", "packs"
"""The folders of a store."""

FORMAT = 1
MAX_DOCUMENT_SIZE = 16 * MIB
MAX_CATALOGUE_SIZE = 16 * MIB
MAX_VERSIONS = 100_000
MAX_DELTAS = 64
_LATEST_S = 1 << 40


class Mode(StrEnum):
    """Who is offered a version (N1)."""

    DRAFT = "draft"
    TEST = "test"
    RELEASED = "released"


@dataclass(frozen=True)
class CatalogueEntry:
    """One version of a lineage, as a list shows it. Sizes are bytes, times seconds since 1970.

    Attributes:
        why: of a restore point: why it was kept.
    """

    identity: bytes
    parent: bytes | None
    number: int
    label: str
    compatible: str
    mode: Mode
    published_s: int
    released_s: int
    size: int
    stored_size: int
    notes: str = ""
    why: str = ""


@dataclass(frozen=True)
class Catalogue:
    """The versions of a lineage, in the order in which they were published."""

    lineage: str
    versions: tuple[CatalogueEntry, ...] = ()

    def entry(self, identity: bytes) -> CatalogueEntry | None:
        """The version with that identity."""
        return next((one for one in self.versions if one.identity == identity), None)


@dataclass(frozen=True)
class StoredPack:
    """Where a pack is found: its identity and, in bytes, its header and all of it."""

    identity: bytes
    header_size: int
    size: int


@dataclass(frozen=True)
class StoredDelta:
    """A pack for machines that hold the image ``base`` (its identity)."""

    base: bytes
    pack: StoredPack


@dataclass(frozen=True)
class VersionDocument:
    """How one version is put together.

    Attributes:
        manifest_bytes: what was signed.
        signatures: of the manifest.
        recipe_sha256, recipe_size: of the recipe's object.
        packs: as the recipe counts them.
        deltas: the same blocks for machines with an earlier version, packed smaller.
    """

    manifest_bytes: bytes = field(repr=False)
    signatures: tuple[Signature, ...]
    recipe_sha256: bytes
    recipe_size: int
    packs: tuple[StoredPack, ...]
    deltas: tuple[StoredDelta, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """The manifest. Raises FormatError."""
        return parse_manifest(self.manifest_bytes)

    @property
    def identity(self) -> bytes:
        """The version's identity, 32 bytes."""
        return identity_of(self.manifest_bytes)

    @property
    def locator(self) -> Locator:
        """The locator of the image's footer."""
        size = self.manifest.size
        return Locator(size, tree_size(size), len(self.manifest_bytes), self.signatures)


def catalogue_key(lineage: str) -> str:
    """Name of a lineage's catalogue in the store."""
    return f"{LINEAGES}/{lineage}.json"


def version_key(identity: bytes) -> str:
    """Name of a version's document."""
    return f"{VERSIONS}/{identity.hex()}.json"


def recipe_key(sha256: bytes) -> str:
    """Name of a recipe."""
    return f"{RECIPES}/{sha256.hex()}.recipe"


def pack_key(identity: bytes) -> str:
    """Name of a pack."""
    return f"{PACKS}/{identity.hex()}.pack"


def build_catalogue(catalogue: Catalogue) -> bytes:
    """The catalogue's bytes."""
    return _json_bytes(
        {
            "format": FORMAT,
            "lineage": catalogue.lineage,
            "versions": [
                {
                    "identity": one.identity.hex(),
                    "parent": one.parent.hex() if one.parent else None,
                    "number": one.number,
                    "label": one.label,
                    "compatible": one.compatible,
                    "mode": one.mode.value,
                    "published_s": one.published_s,
                    "released_s": one.released_s,
                    "size": one.size,
                    "stored_size": one.stored_size,
                    "notes": one.notes,
                    **({"why": one.why} if one.why else {}),
                }
                for one in catalogue.versions
            ],
        }
    )


def parse_catalogue(data: bytes) -> Catalogue:
    """The catalogue in ``data``.

    Raises:
        FormatError: not JSON, of an unknown format, or a field is out of range.
        FieldError: a version stands twice in it.
    """
    fields = _opened(data, "catalogue")
    versions = tuple(map(_entry, fields.inner_list("versions", MAX_VERSIONS)))
    if len({one.identity for one in versions}) != len(versions):
        raise FieldError("catalogue: a version stands twice")
    return Catalogue(fields.uuid("lineage"), versions)


def _entry(fields: JsonFields) -> CatalogueEntry:
    return CatalogueEntry(
        identity=fields.digest("identity"),
        parent=fields.digest("parent") if fields.has("parent") else None,
        number=fields.integer("number", 0, 2**63),
        label=fields.text("label", MAX_LABEL_LENGTH),
        compatible=fields.text("compatible", 128),
        mode=Mode(fields.choice("mode", tuple(Mode))),
        published_s=fields.integer("published_s", 0, _LATEST_S),
        released_s=fields.integer("released_s", 0, _LATEST_S),
        size=fields.integer("size", 1, MAX_IMAGE_SIZE),
        stored_size=fields.integer("stored_size", 0, 2 * MAX_IMAGE_SIZE),
        notes=fields.text("notes", MAX_MANIFEST_SIZE),
        why=fields.text("why", 64) if fields.has("why") else "",
    )


def build_version(document: VersionDocument) -> bytes:
    """The document's bytes."""
    return _json_bytes(
        {
            "format": FORMAT,
            "manifest": document.manifest_bytes.decode(),
            "signatures": [
                {"key_id": one.key_id.hex(), "signature": one.signature.hex()}
                for one in document.signatures
            ],
            "recipe": {"sha256": document.recipe_sha256.hex(), "size": document.recipe_size},
            "packs": [_pack_document(one) for one in document.packs],
            "deltas": [
                {"base": one.base.hex(), **_pack_document(one.pack)} for one in document.deltas
            ],
        }
    )


def parse_version(data: bytes, identity: bytes) -> VersionDocument:
    """The document of the version ``identity`` in ``data``.

    Raises:
        FormatError: not JSON, of an unknown format, or a field is out of range.
        SizeMismatchError: it is another version's.
    """
    fields = _opened(data, "version")
    recipe = fields.inner("recipe")
    deltas = fields.inner_list("deltas", MAX_DELTAS)
    document = VersionDocument(
        manifest_bytes=fields.text("manifest", MAX_MANIFEST_SIZE).encode(),
        signatures=tuple(map(_signature, fields.inner_list("signatures", MAX_SIGNATURES))),
        recipe_sha256=recipe.digest("sha256"),
        recipe_size=recipe.integer("size", 1, MAX_RECIPE_SIZE),
        packs=tuple(map(_pack, fields.inner_list("packs", MAX_PACKS))),
        deltas=tuple(StoredDelta(one.digest("base"), _pack(one)) for one in deltas),
    )
    if document.identity != identity:
        raise SizeMismatchError(
            f"version {identity.hex()[:12]}: its document is that of {document.identity.hex()[:12]}"
        )
    return document


def _signature(fields: JsonFields) -> Signature:
    return Signature(fields.raw("key_id", 8), fields.raw("signature", 64))


def _pack(fields: JsonFields) -> StoredPack:
    return StoredPack(
        fields.digest("identity"),
        fields.integer("header_size", 1, MAX_HEADER_SIZE),
        fields.integer("size", 1, 2 * MAX_IMAGE_SIZE),
    )


def _pack_document(pack: StoredPack) -> dict[str, object]:
    return {
        "identity": pack.identity.hex(),
        "header_size": pack.header_size,
        "size": pack.size,
    }


def _opened(data: bytes, what: str) -> JsonFields:
    if len(data) > MAX_DOCUMENT_SIZE:
        raise FieldError(f"{what}: {len(data)} bytes, at most {MAX_DOCUMENT_SIZE}")
    fields = parse_json(data, what)
    if fields.integer("format", 0, 2**31) != FORMAT:
        raise FieldError(
            f"{what}: format {fields.document['format']} is unknown (written by a newer bootsvc?)"
        )
    return fields


def _json_bytes(document: dict[str, object]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
