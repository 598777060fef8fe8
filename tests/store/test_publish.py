"""Publishing: whole or not at all, once, by several at a time; and what a store's keeper does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.errors import PublishError, StoreAccessError
from bootsvc.formats.catalogue import Mode, pack_key, recipe_key
from bootsvc.store.address import open_object_store
from bootsvc.store.documents import PlainDocuments, SignedDocuments
from bootsvc.store.metadata import init_metadata
from bootsvc.store.objects import ObjectStore
from bootsvc.store.publish import (
    Documents,
    PublishedVersion,
    PublishOptions,
    publish,
    read_catalogue,
    read_versions,
    remove_version,
    set_mode,
)
from bootsvc.store.upkeep import collect, find_damage, unnamed
from bootsvc.units import BLOCK_SIZE
from tests.images import LINEAGE, Image, like, make_image, padded, random_blocks
from tests.storage.memory import MemoryDevice
from tests.store.shelf import footer_of, leaves, unseen

V1 = make_image(random_blocks(40, 1), number=1)
V2 = make_image(like(V1.content, {3: 31, 4: 32}), number=2)
MOVED = make_image(V1.content[100:] + random_blocks(1, 5)[:100], number=3)
"""All of V1, moved by a hundred bytes: no block is the same, and nearly all content."""

LATER = 2**40
QUICK = PublishOptions(level=1, now_s=1000)


@pytest.fixture
def documents(objects: ObjectStore, tmp_path: Path) -> Documents:
    init_metadata(objects, tmp_path / "keys")
    return SignedDocuments(objects, tmp_path / "keys")


def put(
    store: ObjectStore, documents: Documents, image: Image, options: PublishOptions = QUICK
) -> PublishedVersion:
    device = MemoryDevice(padded(image.content))
    return publish(store, documents, device, footer_of(image), leaves(image), options, unseen)


def files(store: ObjectStore) -> set[str]:
    return {one.key for folder in ("packs", "recipes") for one in store.list(folder)}


def test_a_published_version_stands_in_the_catalogue_of_its_lineage(
    objects: ObjectStore, documents: Documents
) -> None:
    entry = put(objects, documents, V1, replace(QUICK, mode=Mode.TEST)).entry
    catalogue = read_catalogue(documents.state(), LINEAGE)
    assert catalogue.versions == (entry,)
    assert (entry.identity, entry.number, entry.mode) == (V1.identity, 1, Mode.TEST)
    assert entry.stored_size == sum(
        one.size for folder in ("packs", "recipes") for one in objects.list(folder)
    )


def test_publishing_the_same_image_again_writes_nothing(
    objects: ObjectStore, documents: Documents
) -> None:
    put(objects, documents, V1)
    before = documents.state().keys
    again = put(objects, documents, V1)
    assert not again.is_new
    assert documents.state().keys == before


def test_another_image_under_a_number_that_is_taken_is_refused(
    objects: ObjectStore, documents: Documents
) -> None:
    put(objects, documents, V1)
    with pytest.raises(PublishError, match="number 1 of this lineage is published already"):
        put(objects, documents, make_image(random_blocks(2, 9), number=1))
    assert len(read_catalogue(documents.state(), LINEAGE).versions) == 1


def test_what_was_cut_off_before_the_end_is_seen_by_nobody_and_can_be_published_again(
    objects: ObjectStore, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(objects, documents, V1)
    before = documents.state()
    with monkeypatch.context() as patch:

        def fails(_: Callable[..., object]) -> None:
            raise StoreAccessError("the network is gone")

        patch.setattr(documents, "edit", fails)
        with pytest.raises(StoreAccessError):
            put(objects, documents, V2)
    assert documents.state().names == before.names
    left_over = {one.key for one in unnamed(objects, documents, LATER)}
    assert len(left_over & files(objects)) == 3  # pack, recipe, delta
    put(objects, documents, V2)
    assert not {one.key for one in unnamed(objects, documents, LATER)} & files(objects)


def test_a_delta_is_packed_against_what_is_similar(tmp_path: Path) -> None:
    store = open_object_store(str(tmp_path / "plain"), create=True)
    documents = PlainDocuments(store)
    put(store, documents, V1)
    published = put(store, documents, MOVED)
    (delta,) = published.deltas
    (whole,) = (one for one in read_versions(documents.state())[MOVED.identity].packs)
    assert published.new_blocks == 40
    assert delta.base == V1.identity
    assert delta.pack.size < whole.size / 10


def test_a_version_with_all_its_blocks_in_the_one_before_needs_no_delta(
    objects: ObjectStore, documents: Documents
) -> None:
    put(objects, documents, V1)
    shorter = make_image(V1.content[: 9 * BLOCK_SIZE], number=2)
    assert put(objects, documents, shorter).deltas == ()


def test_a_mode_is_changed_for_one_version_alone(
    objects: ObjectStore, documents: Documents
) -> None:
    put(objects, documents, V1)
    put(objects, documents, V2)
    set_mode(documents, V2.identity, Mode.RELEASED, 500)
    versions = read_catalogue(documents.state(), LINEAGE).versions
    assert [(one.mode, one.released_s) for one in versions] == [
        (Mode.DRAFT, 0),
        (Mode.RELEASED, 500),
    ]
    with pytest.raises(PublishError, match="has no version"):
        set_mode(documents, MOVED.identity, Mode.TEST, 0)


def test_only_what_no_version_needs_is_collected(
    objects: ObjectStore, documents: Documents
) -> None:
    put(objects, documents, V1)
    put(objects, documents, V2)
    kept = read_versions(documents.state())[V1.identity]
    remove_version(documents, V2.identity)
    gone = unnamed(objects, documents, LATER)
    collect(objects, gone)
    assert files(objects) == {
        recipe_key(kept.recipe_sha256),
        *(pack_key(one.identity) for one in kept.packs),
    }
    assert find_damage(objects, documents, unseen) == []


def test_young_files_are_left_alone(objects: ObjectStore, documents: Documents) -> None:
    put(objects, documents, V1)
    remove_version(documents, V1.identity)
    assert unnamed(objects, documents, before_s=1000) == []


def test_a_whole_store_has_no_damage(objects: ObjectStore, documents: Documents) -> None:
    for image in (V1, V2, MOVED):
        put(objects, documents, image)
    assert find_damage(objects, documents, unseen) == []


def test_damage_names_the_file_and_the_versions_that_it_hurts(
    objects: ObjectStore, documents: Documents
) -> None:
    put(objects, documents, V1)
    put(objects, documents, V2)
    shared = read_versions(documents.state())[V1.identity].packs[0]
    key = pack_key(shared.identity)
    content = bytearray(objects.read(key, 10**7))
    content[100] ^= 1
    objects.delete(key)
    objects.write(key, bytes(content))
    (damage, *_) = find_damage(objects, documents, unseen)
    assert damage.what == key
    assert set(damage.versions) == {V1.identity, V2.identity}


def test_a_missing_recipe_is_damage_of_its_version_alone(
    objects: ObjectStore, documents: Documents
) -> None:
    put(objects, documents, V1)
    put(objects, documents, V2)
    objects.delete(recipe_key(read_versions(documents.state())[V2.identity].recipe_sha256))
    assert [one.versions for one in find_damage(objects, documents, unseen)] == [(V2.identity,)]
