"""A version of a store becomes the image in staging: every source, every cut, every bad server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.boot.connection import Patience
from bootsvc.errors import (
    AlteredImageError,
    NetworkError,
    RottenHereError,
    StoreDamagedError,
)
from bootsvc.formats.boot_status import Area, AreaState, Request
from bootsvc.formats.catalogue import VersionDocument
from bootsvc.sequence.staging import UpdateRequest
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.transfer.block_update import Updated, update_staging
from bootsvc.transfer.held import held_in
from bootsvc.transfer.plan import Plan, complete, make_plan
from bootsvc.transfer.remote import HttpRemote, Remote, Remotes
from bootsvc.units import BLOCK_SIZE
from qemu_lab.image_server import Faults, ImageServer
from tests.bench import AREA_SIZE, V1, V2, V3, Bench
from tests.boot.watching import Watching
from tests.images import Image, make_image, random_blocks
from tests.store.shelf import Shelf, unseen

REQUEST = UpdateRequest(bytes(range(16)))
SOON = Patience(connect_s=2.0, silence_s=2.0, tries=3, longest_pause_s=0.02)
AT_ONCE = replace(SOON, silence_s=0.3)

MOVED = make_image(
    V2.content[5 * BLOCK_SIZE :] + random_blocks(2, 41) + V2.content[: 5 * BLOCK_SIZE]
)
"""All blocks of V2 at other places, and two new ones."""


class Updating:
    """A bench with V2 in primary and V1 in backup, a store with both and more, its web server."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder / "disk.img")
        self.shelf = Shelf(folder / "store")
        for image in (V1, V2, V3, MOVED):
            self.shelf.add(image)
        self.server = ImageServer(self.shelf.files)
        self.fetched = 0
        self.patience = SOON
        self.more_remotes: list[Remote] = []

    def _count(self, count: int) -> None:
        self.fetched += count

    @contextmanager
    def remotes(self) -> Iterator[Remotes]:
        with HttpRemote(self.server.url(""), Watching(), self._count, self.patience) as http:
            yield Remotes([http, *self.more_remotes])

    def plan(self, image: Image, areas: tuple[Area, ...] = (Area.PRIMARY, Area.BACKUP)) -> Plan:
        with DirectDevice(self.bench.path, writable=False) as device, self.remotes() as remotes:
            disk = disk_on(device)
            held = held_in((area.name.lower(), disk.areas[area]) for area in areas)
            return make_plan(remotes, self.document(image), held, self.shelf.documents.get)

    def document(self, image: Image) -> VersionDocument:
        return self.shelf.documents[image.identity]

    def __call__(
        self,
        image: Image,
        areas: tuple[Area, ...] = (Area.PRIMARY, Area.BACKUP),
        *,
        document_of: Callable[[bytes], VersionDocument | None] | None = None,
    ) -> Updated:
        with DirectDevice(self.bench.path, writable=True) as device, self.remotes() as remotes:
            disk = disk_on(device)
            held = held_in((area.name.lower(), disk.areas[area]) for area in areas)
            known = document_of or self.shelf.documents.get
            plan = make_plan(remotes, self.document(image), held, known)
            assembly = complete(plan, remotes, lambda _: None)
            return update_staging(disk, disk.status.read(), assembly, remotes, REQUEST, unseen)

    def holds(self, image: Image) -> bool:
        return self.bench.content("staging") == image.in_area(AREA_SIZE)


@pytest.fixture
def update(tmp_path: Path) -> Iterator[Updating]:
    updating = Updating(tmp_path)
    with updating.server:
        yield updating


def test_only_what_is_nowhere_on_this_machine_is_fetched(update: Updating) -> None:
    updated = update(V3)
    assert update.holds(V3)
    assert updated.local == 16 * BLOCK_SIZE
    assert updated.counts.written == len(V3.as_file()) - 2 * BLOCK_SIZE


def test_the_next_start_is_asked_to_install_what_was_fetched(update: Updating) -> None:
    update(V3)
    status = update.bench.status
    assert (status.staging.state, status.staging.identity) == (AreaState.VALID, V3.identity)
    assert (status.request, status.transaction) == (Request.UPDATE, REQUEST.transaction)


def test_blocks_that_moved_are_found_at_their_new_places(update: Updating) -> None:
    updated = update(MOVED)
    assert update.holds(MOVED)
    assert updated.local == 18 * BLOCK_SIZE


def test_what_is_here_already_is_not_fetched_at_all(update: Updating) -> None:
    updated = update(V1)
    assert update.holds(V1)
    assert (updated.fetched, updated.plan.fetch_size) == (0, 0)


def test_a_machine_that_holds_nothing_fetches_everything(update: Updating) -> None:
    updated = update(V3, ())
    assert update.holds(V3)
    assert updated.local == 0


def test_blocks_of_an_image_that_the_store_forgot_are_found_by_their_digests(
    update: Updating,
) -> None:
    updated = update(V3, document_of=lambda _: None)
    assert update.holds(V3)
    assert updated.local == 16 * BLOCK_SIZE


def test_a_plan_says_beforehand_what_will_be_fetched(update: Updating) -> None:
    plan = update.plan(V3)
    assert plan.local_size == 16 * BLOCK_SIZE
    assert update(V3).fetched <= plan.fetch_size < update.plan(V3, ()).fetch_size


def test_a_second_run_fetches_nothing_that_stands_in_staging(update: Updating) -> None:
    update(V3)
    again = update(V3)
    assert (again.fetched, again.resumed) == (0, 2 * BLOCK_SIZE)
    assert again.counts.written == 0


def test_blocks_that_were_written_before_a_cut_are_not_fetched_again(update: Updating) -> None:
    whole = update(V3, ()).fetched
    offset, _ = update.bench.place("staging")
    update.bench.write(offset, bytes(4 * BLOCK_SIZE))
    again = update(V3, ())
    assert update.holds(V3)
    assert again.resumed == 14 * BLOCK_SIZE
    assert 0 < again.fetched <= whole


def test_a_rotten_block_of_this_machine_is_told_and_never_copied(update: Updating) -> None:
    offset, _ = update.bench.place("primary")
    update.bench.write(offset + 3 * BLOCK_SIZE, random_blocks(1, 99))
    with pytest.raises(RottenHereError, match=r"primary.*: block 3 ") as told:
        update(V3)
    assert told.value.name == "primary"
    assert update.bench.status.staging.state is AreaState.WRITING
    update(V3, (Area.BACKUP,))
    assert update.holds(V3)


def test_a_server_that_sends_other_bytes_is_named(update: Updating) -> None:
    (pack,) = update.plan(V3).packs.values()
    update.server.faults = Faults(other_bytes=(pack.places[0],))
    with pytest.raises(StoreDamagedError, match=r"http://127\.0\.0\.1"):
        update(V3)
    assert not update.holds(V3)


def test_what_one_server_gives_wrongly_comes_from_the_next_one(update: Updating) -> None:
    update.more_remotes = [update.shelf.store]
    update.server.faults = Faults(other_bytes=(range(100),))
    update(V3)
    assert update.holds(V3)


def test_a_server_that_vanished_is_told_and_the_next_one_asked(update: Updating) -> None:
    update.server.stop()
    with pytest.raises(NetworkError):
        update(V3)
    update.more_remotes = [update.shelf.store]
    update(V3)
    assert update.holds(V3)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(hang_up=True),
        Faults(break_after=3000),
        Faults(stall_after=100, times=2),
        Faults(status=503, times=2),
    ],
    ids=str,
)
def test_a_server_that_is_merely_bad_is_survived(update: Updating, faults: Faults) -> None:
    update.patience = AT_ONCE
    update.server.faults = faults
    update(V3)
    assert update.holds(V3)


@pytest.mark.parametrize(
    ("faults", "problem"),
    [
        (Faults(redirect="/{path}"), "redirected more than 5 times"),
        (Faults(status=404), "answers 404"),
        (Faults(half=True), "the file is empty"),
        (Faults(other_range=1), "were asked for"),
        (Faults(stall_after=0), "given up"),
        (Faults(no_ranges=True), "gives no ranges"),
    ],
    ids=str,
)
def test_a_server_that_is_of_no_use_is_named_with_its_fault(
    update: Updating, faults: Faults, problem: str
) -> None:
    update.patience = AT_ONCE
    update.server.faults = faults
    with pytest.raises(NetworkError, match=problem):
        update(V3)
    assert not update.holds(V3)


def test_a_store_that_makes_another_image_than_was_signed_is_refused_before_any_write(
    update: Updating,
) -> None:
    signed, other = update.document(V3), update.document(V2)
    update.shelf.documents[V3.identity] = replace(
        other, manifest_bytes=signed.manifest_bytes, signatures=signed.signatures
    )
    before = update.bench.digest()
    with pytest.raises(AlteredImageError, match="another image than the one that was signed"):
        update(V3)
    assert update.bench.digest() == before
