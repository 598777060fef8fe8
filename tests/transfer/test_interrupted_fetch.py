"""A fetch that is cut off goes on where it was, and whoever breaks it off is heard at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootsvc.boot.connection import Patience
from bootsvc.disk.create import first_status
from bootsvc.disk.partition import plan, write_table
from bootsvc.formats.boot_status import Area
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.transfer.block_update import Updated, update_staging
from bootsvc.transfer.plan import complete, make_plan
from bootsvc.transfer.remote import HttpRemote, Remotes
from bootsvc.transfer.spool import Spool
from bootsvc.units import KIB, MIB
from qemu_lab.image_server import Faults, ImageServer
from tests.boot.watching import Watching
from tests.images import make_image, random_blocks
from tests.store.shelf import Shelf, footer_of, unseen

IMAGE = make_image(random_blocks(4000, 7), number=1)
"""Sixteen frames: 16 MiB."""

AREA_SIZE = 20 * MIB


class PowerError(Exception):
    """The power is gone."""


class Machine:
    """An empty machine, and a web server with a store that has one image for it."""

    def __init__(self, folder: Path) -> None:
        self.shelf = Shelf(folder / "store")
        self.shelf.add(IMAGE)
        self.server = ImageServer(self.shelf.files)
        self.spool_folder: Path | None = folder / "spool"
        self.patience = Patience(connect_s=2.0, silence_s=0.2, tries=20, longest_pause_s=0.02)
        self.fetched = 0
        self.blamed: list[str] = []
        self.disk = folder / "disk.img"
        self.make_disk()

    def make_disk(self) -> None:
        """A new disk without images, as it comes from the factory."""
        layout = plan(area_size=AREA_SIZE)
        with self.disk.open("wb") as file:
            file.truncate(layout.size)
        write_table(self.disk, layout)
        with DirectDevice(self.disk, writable=True) as device:
            disk = disk_on(device)
            layout_hash = disk.gpt.layout_hash()
            disk.status.replace(first_status(footer_of(IMAGE), layout_hash, confirmed=True))

    def update(self, on_bytes: Callable[[int], None] = lambda _: None) -> Updated:
        """Fetch the image into staging, in a process of its own as it were."""

        def arrived(count: int) -> None:
            self.fetched += count
            on_bytes(count)

        spool, stop = Spool(self.spool_folder), threading.Event()
        watch, address = Watching(), self.server.url("")
        with (
            HttpRemote(address, watch, arrived, self.patience, spool=spool, stop=stop) as http,
            DirectDevice(self.disk, writable=True) as device,
        ):
            remotes = Remotes([http], spool, stop)
            spool.begin(IMAGE.identity)
            document = self.shelf.documents[IMAGE.identity]
            assembly = complete(
                make_plan(remotes, document, (), self.shelf.documents.get), remotes, lambda _: None
            )
            disk = disk_on(device)
            updated = update_staging(disk, disk.status.read(), assembly, remotes, None, unseen)
            self.blamed = [name for name, tally in remotes.tallies.items() if tally.bad]
            return updated

    def update_with_power_for(self, count: int) -> None:
        """Fetch until so many bytes have come."""
        left = count

        def draw(count: int) -> None:
            nonlocal left
            left -= count
            if left < 0:
                raise PowerError

        with pytest.raises(PowerError):
            self.update(draw)

    @property
    def has_image(self) -> bool:
        with DirectDevice(self.disk, writable=False) as device:
            staging = disk_on(device).areas[Area.STAGING]
            return staging.read_at(0, staging.size) == IMAGE.in_area(staging.size)

    @property
    def spooled(self) -> list[Path]:
        folder = self.spool_folder
        return [one for one in folder.rglob("*") if one.is_file()] if folder else []


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    with machine.server:
        yield machine


def test_over_ten_cuts_hardly_a_byte_is_fetched_twice(machine: Machine) -> None:
    machine.update()
    whole, machine.fetched = machine.fetched, 0
    machine.make_disk()
    for _ in range(10):
        machine.update_with_power_for(whole // 12)
    machine.update()
    assert machine.has_image
    assert machine.fetched <= 1.02 * whole


def test_without_a_place_to_keep_it_in_an_interrupted_fetch_ends_well_all_the_same(
    machine: Machine,
) -> None:
    machine.spool_folder = None
    machine.update_with_power_for(3 * MIB)
    machine.update()
    assert machine.has_image


def test_once_the_image_stands_in_staging_nothing_is_kept(machine: Machine) -> None:
    machine.update_with_power_for(3 * MIB)
    assert machine.spooled
    machine.update()
    assert not machine.spooled


def test_what_is_kept_is_not_more_than_digests_and_the_frames_under_way(machine: Machine) -> None:
    machine.update_with_power_for(15 * MIB)
    assert sum(one.stat().st_size for one in machine.spooled) < 11 * MIB


def test_what_rotted_here_meanwhile_is_fetched_again_and_no_server_is_blamed(
    machine: Machine,
) -> None:
    machine.update_with_power_for(3 * MIB)
    for path in machine.spooled:
        path.write_bytes(bytes(255 - one for one in path.read_bytes()))
    machine.update()
    assert machine.has_image
    assert machine.blamed == []


def test_a_server_that_sends_something_wrong_after_a_cut_is_blamed(machine: Machine) -> None:
    machine.update_with_power_for(3 * MIB)
    end = range(15 * MIB, 15 * MIB + 100)
    machine.server.faults = Faults(other_bytes=(end,), only="packs/", times=1)
    machine.update()
    assert machine.has_image
    assert machine.blamed == [machine.server.url("").rstrip("/")]


def test_a_server_that_stays_silent_does_not_hold_up_whoever_breaks_the_fetch_off(
    machine: Machine,
) -> None:
    machine.server.faults = Faults(stall_after=64 * KIB)  # one frame takes many tries
    is_pressed = threading.Event()

    def press_ctrl_c(_: int) -> None:
        if machine.fetched > 256 * KIB and not is_pressed.is_set():
            is_pressed.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    # A shell's background jobs are started deaf to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            machine.update(press_ctrl_c)
    finally:
        signal.signal(signal.SIGINT, before)
    assert is_pressed.is_set()
    assert len(machine.server.asked) < 30
