"""Catalogues and version documents: they come back as they were built; what is odd is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.errors import FieldError, FormatError, SizeMismatchError
from bootsvc.formats.catalogue import (
    Catalogue,
    CatalogueEntry,
    Mode,
    StoredDelta,
    StoredPack,
    VersionDocument,
    build_catalogue,
    build_version,
    parse_catalogue,
    parse_version,
)
from tests.images import LINEAGE, make_image, random_blocks

IMAGE = make_image(random_blocks(3, 1), number=4)
PACK = StoredPack(b"p" * 32, 100, 5000)
DOCUMENT = VersionDocument(
    IMAGE.manifest_bytes,
    IMAGE.locator.signatures,
    b"r" * 32,
    77,
    (PACK,),
    (StoredDelta(b"o" * 32, PACK),),
)
DIGESTS = st.binary(min_size=32, max_size=32)
ENTRIES = st.builds(
    CatalogueEntry,
    identity=DIGESTS,
    parent=st.none() | DIGESTS,
    number=st.integers(0, 2**63),
    label=st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
    compatible=st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
    mode=st.sampled_from(Mode),
    published_s=st.integers(0, 2**40),
    released_s=st.integers(0, 2**40),
    size=st.integers(1, 2**44),
    stored_size=st.integers(0, 2**44),
    notes=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)


@given(entries=st.lists(ENTRIES, max_size=5, unique_by=lambda one: one.identity))
def test_a_catalogue_comes_back_as_it_was_built(entries: list[CatalogueEntry]) -> None:
    catalogue = Catalogue(LINEAGE, tuple(entries))
    assert parse_catalogue(build_catalogue(catalogue)) == catalogue


def test_a_version_twice_is_refused() -> None:
    entry = CatalogueEntry(b"i" * 32, None, 1, "1", "lab", Mode.DRAFT, 0, 0, 1, 0)
    with pytest.raises(FieldError, match="stands twice"):
        parse_catalogue(build_catalogue(Catalogue(LINEAGE, (entry, entry))))


def test_a_document_comes_back_and_speaks_of_its_image() -> None:
    document = parse_version(build_version(DOCUMENT), IMAGE.identity)
    assert document == DOCUMENT
    assert document.manifest == IMAGE.manifest
    assert document.locator == IMAGE.locator


def test_another_versions_document_is_refused() -> None:
    other = make_image(random_blocks(3, 2), number=5)
    with pytest.raises(SizeMismatchError, match="its document is that of"):
        parse_version(build_version(DOCUMENT), other.identity)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("recipe", "size"), 0),
        (("recipe", "sha256"), "AB" * 32),
        (("packs", 0, "header_size"), 2**60),
        (("packs", 0, "identity"), "00"),
        (("packs",), {}),
        (("deltas", 0, "base"), None),
        (("signatures", 0, "key_id"), "zz" * 8),
    ],
)
def test_a_field_out_of_range_is_refused_by_its_name(
    path: tuple[str | int, ...], value: object
) -> None:
    document = json.loads(build_version(DOCUMENT))
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(FormatError):
        parse_version(json.dumps(document).encode(), IMAGE.identity)


def test_a_manifest_keeps_every_byte_in_a_document() -> None:
    odd = replace(DOCUMENT, manifest_bytes=IMAGE.manifest_bytes.replace(b"\n", b"\n \t"))
    assert parse_version(build_version(odd), odd.identity).manifest_bytes == odd.manifest_bytes
