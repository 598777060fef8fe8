"""Restore points as sources of blocks for an update from a store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bootsvc.formats.boot_status import Area
from bootsvc.formats.catalogue import Catalogue, CatalogueEntry, Mode
from bootsvc.os_side.held_points import held_points
from bootsvc.os_side.keep_restore_point import Keeping, keep
from bootsvc.os_side.machine import Machine, open_machine
from bootsvc.os_side.store_client import StoreClient
from bootsvc.os_side.updating import PlannedUpdate, fetch_goal, plan_update
from bootsvc.sequence.checks import Site
from bootsvc.transfer.assembly import Held
from bootsvc.transfer.held import HeldImage
from bootsvc.transfer.remote import Remotes
from bootsvc.units import BLOCK_SIZE
from tests.bench import AREA_SIZE, V1, V2, V3, Bench
from tests.images import COMPATIBLE, KEY, LINEAGE, Image, like, make_image, random_blocks
from tests.store.shelf import Shelf, unseen

EARLIER = make_image(random_blocks(18, seed=77), number=5)
"""No area holds a block of it; it is a restore point."""
GOAL = make_image(like(EARLIER.content, {3: 91, 11: 92}), number=6)


class Updating:
    """A machine with V2 in primary, V1 in backup, EARLIER as a restore point; a store with more."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder / "disk.img")
        self.data = folder / "data"
        self.data.mkdir()
        self.shelf = Shelf(folder / "store")
        for image in (V1, V2, V3, EARLIER, GOAL):
            self.shelf.add(image)
        self.keep(EARLIER)
        self.said: list[str] = []

    def keep(self, image: Image) -> None:
        self.bench.put(Area.BACKUP, image)
        with open_machine(self.bench.path, writable=True) as machine:
            area, keeping = machine.disk.areas[Area.BACKUP], Keeping("by hand", 3, 1)
            keep(area, image.identity, (KEY.public(),), self.data, keeping, unseen)
        self.bench.put(Area.BACKUP, V1)

    def plan(
        self,
        machine: Machine,
        goal: Image,
        held: tuple[HeldImage, ...],
        without: frozenset[str] = frozenset(),
    ) -> PlannedUpdate:
        entries = [entry_of(one) for one in (V1, V2, V3, EARLIER, GOAL)]
        catalogue = Catalogue(LINEAGE, tuple(entries))
        wanted = catalogue.entry(goal.identity)
        assert wanted is not None
        return plan_update(machine, self.client, catalogue, wanted, held, without=without)

    @property
    def client(self) -> StoreClient:
        client = SimpleNamespace(
            remotes=Remotes([self.shelf.store]),
            document=self.shelf.documents.get,
            fresh=SimpleNamespace(rest=lambda: None),
        )
        return cast("StoreClient", client)

    def planned(self, goal: Image, held: tuple[HeldImage, ...]) -> PlannedUpdate:
        with open_machine(self.bench.path, writable=False) as machine:
            return self.plan(machine, goal, held)

    def __call__(self, goal: Image) -> int:
        """Bytes taken from this machine."""
        site = Site((KEY.public(),), COMPATIBLE)
        held = held_points(self.data)
        with open_machine(self.bench.path, writable=True) as machine:
            updated = fetch_goal(
                machine,
                self.client,
                goal.identity,
                lambda without, _by_delta: self.plan(machine, goal, held, without),
                site,
                unseen,
                self.said.append,
                is_requested=True,
            )
        assert self.bench.content("staging") == goal.in_area(AREA_SIZE)
        return updated.local


def entry_of(image: Image) -> CatalogueEntry:
    size = image.manifest.size
    return CatalogueEntry(
        image.identity, None, image.number, "", COMPATIBLE, Mode.RELEASED, 0, 0, size, size
    )


@pytest.fixture
def update(tmp_path: Path) -> Updating:
    return Updating(tmp_path)


def test_what_only_a_restore_point_holds_is_not_fetched(update: Updating) -> None:
    alone = update.planned(GOAL, ()).plan
    beside = update.planned(GOAL, held_points(update.data)).plan
    assert (alone.local_size, beside.local_size) == (0, 16 * BLOCK_SIZE)
    assert beside.fetch_size < alone.fetch_size
    assert update(GOAL) == 16 * BLOCK_SIZE


def test_a_version_that_is_a_restore_point_is_not_fetched_at_all(update: Updating) -> None:
    planned = update.planned(EARLIER, held_points(update.data))
    assert planned.plan.fetch_size == 0
    assert update(EARLIER) == 18 * BLOCK_SIZE


def test_planning_opens_no_restore_point(update: Updating, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a restore point was opened")

    monkeypatch.setattr("bootsvc.store.stored_image.open_stored", refuse)
    assert update.planned(GOAL, held_points(update.data)).plan.local_size == 16 * BLOCK_SIZE


def test_primary_and_backup_are_preferred_to_restore_points(update: Updating) -> None:
    update.keep(V2)
    plan = update.planned(V3, held_points(update.data)).plan
    assert len(plan.held) == 4
    assert {one.origin.image for one in plan.pieces if isinstance(one.origin, Held)} == {0}


def test_where_the_areas_give_all_no_restore_point_is_asked(update: Updating) -> None:
    assert len(update.planned(V1, held_points(update.data)).plan.held) == 2


@pytest.mark.parametrize("folder", ["packs", "recipes"])
def test_a_rotten_restore_point_is_named_and_left_out(update: Updating, folder: str) -> None:
    (path,) = (update.data / "restore-points" / folder).iterdir()
    path.write_bytes(path.read_bytes()[:20] + b"?!" + path.read_bytes()[22:])
    assert update(GOAL) == 0
    (line,) = update.said
    assert "number 5" in line
    assert "left out" in line


def test_a_store_of_restore_points_that_cannot_be_read_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "restore-points").write_text("a file where the folder should be")
    assert held_points(tmp_path) == ()
