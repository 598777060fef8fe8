"""An image store in memory, for machines that fetch by blocks; and a server that lies about it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from bootsvc.formats.boot_status import BootStatus
from bootsvc.formats.catalogue import VersionDocument
from bootsvc.os_side.machine import Machine
from bootsvc.os_side.store_client import StoreClient
from bootsvc.os_side.updating import AREAS, PlannedUpdate, fetch_goal
from bootsvc.sequence.checks import Site
from bootsvc.sequence.staging import ShowWork
from bootsvc.storage.disk import Disk
from bootsvc.transfer.block_update import IN_TURN
from bootsvc.transfer.fresh_documents import Documents, FreshDocuments
from bootsvc.transfer.held import held_in
from bootsvc.transfer.packs import read_pack
from bootsvc.transfer.plan import Plan, make_plan
from bootsvc.transfer.remote import Remotes
from bootsvc.transfer.throttle import Throttle
from tests.power_cut.scenarios import IMAGES, STORED
from tests.store.shelf import Shelf


@dataclass
class MemoryRemote:
    """A remote that gives what was stored; ``objects``: by their keys."""

    name: str
    objects: dict[str, bytes]

    def read(self, key: str, largest: int) -> bytes:
        """All of an object."""
        return self.objects[key][: largest + 1]

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Part of an object."""
        return self.objects[key][offset : offset + length]


@dataclass
class LyingRemote(MemoryRemote):
    """A remote that changes a byte of every frame; all else that it says is right.

    Attributes:
        frames: key and offset of every frame.
    """

    frames: frozenset[tuple[str, int]]

    def read_range(self, key: str, offset: int, length: int) -> bytes:
        """Part of an object, changed where blocks begin there."""
        data = bytearray(super().read_range(key, offset, length))
        if (key, offset) in self.frames:
            data[length // 2] ^= 1
        return bytes(data)


@dataclass(frozen=True)
class _Stored:
    objects: dict[str, bytes]
    documents: dict[bytes, VersionDocument]
    frames: frozenset[tuple[str, int]]


@lru_cache(maxsize=1)
def _stored() -> _Stored:
    """Made once, by the publisher's own code."""
    with tempfile.TemporaryDirectory(prefix="power-cut-") as folder:
        shelf = Shelf(Path(folder) / "store")
        for name in STORED:
            shelf.add(IMAGES[name])
        objects = {key: path.read_bytes() for key, path in shelf.files.items()}
        packs = {pack for one in shelf.documents.values() for pack in one.packs}
        read = [read_pack(shelf.store, one) for one in packs]
    frames = frozenset((one.key, place.start) for one in read for place in one.places)
    return _Stored(objects, shelf.documents, frames)


class _Planned:
    """As much of ``os_side.updating.PlannedUpdate`` as step 1 looks at."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan


def fetch(disk: Disk, status: BootStatus, name: str, site: Site, show_work: ShowWork) -> None:
    """Step 1 of an update to an image, by the code of ``bootsvc update``. The first server that is
    asked lies about blocks, the second one does not.

    Raises: as ``os_side.updating.fetch_goal``.
    """
    stored = _stored()
    remotes = Remotes(
        [
            LyingRemote("liar", stored.objects, stored.frames),
            MemoryRemote("honest", stored.objects),
        ]
    )

    def replan(without: frozenset[str], by_delta: bool) -> PlannedUpdate:
        areas = held_in((area.name.lower(), disk.areas[area]) for area in AREAS)
        held = [one for one in areas if one.name not in without]
        document = stored.documents[IMAGES[name].identity]
        documents = stored.documents.get
        plan = make_plan(remotes, document, held, documents, by_delta=by_delta)
        return cast("PlannedUpdate", _Planned(plan))

    client = StoreClient(remotes, FreshDocuments(_nobody, Throttle(0)), Throttle(0))
    machine = Machine(disk, status)
    goal = IMAGES[name].identity
    # The same writes in the same order in every run.
    fetch_goal(
        machine, client, goal, replan, site, show_work, _unheard,
        is_requested=False, at_once=IN_TURN,
    )  # fmt: skip


def _nobody() -> Documents:
    raise AssertionError("the documents are here")


def _unheard(_: str) -> None:
    """Nobody listens."""
