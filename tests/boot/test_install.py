"""``bootsvc.install``: fetched where primary holds another image; whatever fails stops no start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.boot.download import Fetched
from bootsvc.boot.install import install_from
from bootsvc.boot.network import Network
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.errors import NoNetworkError
from bootsvc.formats.addresses import Address, Dhcp
from bootsvc.formats.boot_status import Area, AreaState, Phase, Request
from bootsvc.sequence.checks import Site
from bootsvc.sequence.runner import Runner, Start
from bootsvc.settings import Settings
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import disk_on
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import BLOCK_SIZE
from qemu_lab.image_server import Faults, ImageServer
from tests.bench import AREA_SIZE, V2, V3, Bench, record_of
from tests.images import COMPATIBLE, KEY, Image

TRANSACTION = bytes(range(16))


class Wire(Network):
    """A network that is there at once, or never."""

    def __init__(self, *, is_cut: bool = False) -> None:
        self.is_cut = is_cut
        self.calls: list[object] = []

    def bring_up(self, how: Dhcp | Address, wait_s: float) -> Address:
        self.calls.append((how, wait_s))
        if self.is_cut:
            raise NoNetworkError("no network after 60 s", hint="look at the cable")
        return Address("10.0.2.15", 24)

    def take_down(self) -> None:
        self.calls.append("down")


class Starting:
    """A start that is told to install."""

    def __init__(self, folder: Path, server: ImageServer) -> None:
        self.bench = Bench(folder / "disk.img")
        self.server = server
        self.wire = Wire()
        self.reporter = ConsoleReporter()
        self.said: list[str] = []
        self.settings = Settings(disk_wait_s=0)
        self.looks = 0
        self.begun = 0
        self.knocked_after: int | None = None

    def __call__(self, source: str = "") -> Fetched | None:
        self.reporter.entries.clear()
        with DirectDevice(self.bench.path, writable=True) as device:
            start = Start(Site((KEY.public(),), COMPATIBLE), fresh_id=TRANSACTION)
            runner = Runner(disk_on(device), start, self.reporter)
            return install_from(
                source or self.server.url("v3.bimg"),
                runner,
                self.settings,
                self.reporter,
                self.is_knocked,
                self.begin,
                self.wire,
            )

    def begin(self) -> None:
        self.begun += 1

    def is_knocked(self) -> bool:
        self.looks += 1
        return self.knocked_after is not None and self.looks > self.knocked_after

    @property
    def text(self) -> str:
        """All that was said."""
        return "\n".join(str(entry["text"]) for entry in self.reporter.entries if "text" in entry)

    def holds(self, area: str, image: Image) -> bool:
        return self.bench.content(area) == image.in_area(AREA_SIZE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starting]:
    with ImageServer({"v3.bimg": V3.as_file(), "v2.bimg": V2.as_file()}) as server:
        yield Starting(tmp_path, server)


def test_another_image_than_primary_holds_is_fetched_and_asked_for(start: Starting) -> None:
    start.settings = Settings(network="10.0.2.77/24", network_wait_s=7)
    fetched = start()
    assert fetched is not None
    assert start.holds("staging", V3)
    status = start.bench.status
    assert (status.request, status.transaction) == (Request.UPDATE, TRANSACTION)
    assert start.wire.calls == [(Address("10.0.2.77", 24), 7), "down"]
    assert "stands in staging, read back in full" in start.text


def test_what_primary_holds_or_staging_waits_with_is_not_fetched_again(start: Starting) -> None:
    before = start.bench.digest()
    assert start(start.server.url("v2.bimg")) is None
    assert "primary holds that image already" in start.text
    assert start.bench.digest() == before
    start()
    before, sent = start.bench.digest(), start.server.sent
    assert start() is None
    assert "waits in staging already" in start.text
    assert start.bench.digest() == before
    assert start.server.sent - sent <= 4 * BLOCK_SIZE


def test_with_a_lost_record_the_areas_tell_what_is_there(start: Starting) -> None:
    start.bench.write(start.bench.place("status")[0], bytes(COPY_OFFSETS[-1] + BLOCK_SIZE))
    assert start(start.server.url("v2.bimg")) is None
    assert "primary holds that image already" in start.text
    assert start() is not None
    assert start.holds("staging", V3)
    start.bench.write(start.bench.place("primary")[0], bytes(AREA_SIZE))
    assert start(start.server.url("v2.bimg")) is not None


def test_an_unfinished_update_is_left_alone_without_a_network(start: Starting) -> None:
    start.bench.on_trial(bytes(16))
    assert start() is None
    assert start.wire.calls == ["down"]
    assert "an update is unfinished (phase TRIAL); the start goes on without it" in start.text
    assert start.bench.status.phase is Phase.TRIAL


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(status=404), "404 Not Found; the start goes on without it"),
        (Faults(half=True), "the start goes on without it"),
        (Faults(redirect="/{path}"), "redirected more than"),
    ],
    ids=["404", "half", "circles"],
)
def test_a_server_of_no_use_stops_no_start(start: Starting, faults: Faults, words: str) -> None:
    before = start.bench.digest()
    start.server.faults = faults
    assert start() is None
    assert words in start.text
    assert start.bench.digest() == before
    assert start.wire.calls[-1] == "down"


def test_no_network_and_no_address_stop_no_start(start: Starting) -> None:
    start.wire = Wire(is_cut=True)
    assert start() is None
    assert "no network after 60 s; the start goes on without it\nlook at the cable" in start.text
    assert start("ftp://host/a") is None
    assert "does not begin with http://" in start.text
    assert start("/dev/none:/a.bimg") is None
    assert "the start goes on without it" in start.text


def test_an_image_that_failed_here_is_not_tried_for_ever(start: Starting) -> None:
    start.bench.change(lambda status: replace(status, failed=(V3.identity,)))
    assert start() is None
    assert "failed on this machine before" in start.text


def test_an_image_on_another_disk_needs_no_network(start: Starting, tmp_path: Path) -> None:
    path = tmp_path / "stick"
    path.write_bytes(V3.as_file())
    assert start(str(path)) is not None
    assert start.wire.calls == ["down"]


@pytest.mark.parametrize(
    "faults",
    [Faults(rate=2000), Faults(stall_after=0)],
    ids=["a few bytes, again and again", "silence"],
)
def test_a_server_that_only_seems_alive_does_not_keep_the_machine(
    start: Starting, faults: Faults
) -> None:
    start.settings = Settings(forced_lock_s=1)
    start.server.faults = faults
    assert start() is None
    assert "ALARM bootsvc.install: no progress for 1 s; the start goes on without it" in start.text
    assert start.wire.calls[-1] == "down"
    assert (start.bench.status.phase, start.bench.status.request) == (Phase.IDLE, Request.NONE)
    start.server.faults = Faults()
    assert start() is not None, "the next start fetches the rest"
    assert start.begun >= 1


def test_only_a_fetch_that_begins_locks_a_screen(start: Starting) -> None:
    start(start.server.url("v2.bimg"))
    assert start.begun == 0
    start()
    assert start.begun == 1


def test_somebody_at_the_console_is_not_kept_waiting(start: Starting) -> None:
    start.knocked_after = 3
    assert start() is None
    assert "broken off for the console" in start.text
    assert start.wire.calls[-1] == "down"
    assert start.bench.status.request is Request.NONE
    looks = start.looks
    start.reporter.tick(0)
    assert start.looks == looks, "later work is not asked any more"


def test_the_machine_installs_what_was_fetched(start: Starting) -> None:
    start()
    with DirectDevice(start.bench.path, writable=True) as device:
        site = Site((KEY.public(),), COMPATIBLE)
        runner = Runner(disk_on(device), Start(site, fresh_id=TRANSACTION), start.reporter)
        runner.run()
    status = start.bench.status
    assert status.phase is Phase.TRIAL
    assert status.primary == record_of(V3, AreaState.VALID)
    assert status.area(Area.BACKUP).identity == V2.identity
    assert start.holds("primary", V3)
