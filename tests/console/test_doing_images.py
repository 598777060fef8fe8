"""Installing from elsewhere at the console: what is listed, what is taken, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootsvc.boot.sources import FoundImage
from bootsvc.console.actions import Outcome, Then
from bootsvc.errors import NoNetworkError
from bootsvc.formats.addresses import Address, Dhcp
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request, StatusCode
from bootsvc.sequence.actions import Boot
from bootsvc.settings import Settings
from tests.console.console_bench import Bench
from tests.images import OTHER_KEY, make_image, random_blocks
from tests.sequence.machine import PARTS, V1, V2, V3, Machine, area_record, settled_machine
from tests.sequence.test_by_hand_story import on_trial

FOREIGN = make_image(random_blocks(18, 9), number=9, compatible="another")
STOLEN = make_image(random_blocks(18, 9), number=9, key=OTHER_KEY)


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A folder with image files."""
    for name, image in (("v1", V1), ("v3", V3), ("foreign", FOREIGN), ("stolen", STOLEN)):
        (tmp_path / f"{name}.bimg").write_bytes(image.as_file())
    return tmp_path


def install(bench: Bench, source: object) -> Outcome:
    return bench.do("install", source=str(source))


def stuck_in_restore() -> Machine:
    """V3 failed; V2 is to be restored from backup, where it rotted, as V3 did in primary."""
    machine = settled_machine(V3, V2)
    machine.change_record(
        status_code=StatusCode.BACKUP,
        phase=Phase.RESTORE,
        boot_area=Area.BACKUP,
        primary=area_record(V3, AreaState.BAD),
    )
    for area in (Area.PRIMARY, Area.BACKUP):
        machine.flip(area, 4096 * 3)
    return machine


def lose_record(machine: Machine) -> None:
    where = PARTS["status"]
    machine.device.bytes[where.start : where.stop] = bytes(len(where))


# --- installing ---------------------------------------------------------------------------------


def test_an_image_file_goes_through_staging_into_the_ordinary_update(stick: Path) -> None:
    bench = Bench(settled_machine(V2, V1))
    outcome = install(bench, stick / "v3.bimg")
    assert outcome.is_done
    assert outcome.then is Then.GO_ON
    assert dict(outcome.facts)["number"] == 3
    assert bench.record.request is Request.UPDATE
    assert any(bench.record.transaction)
    assert bench.machine.holds(Area.STAGING, V3)
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY, is_trial=True)
    assert bench.machine.holds(Area.PRIMARY, V3)
    assert bench.machine.holds(Area.BACKUP, V2)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("foreign.bimg", "machine type"),
        ("stolen.bimg", "no signature by any of the"),
        ("v1.bimg", "below the version floor"),
        ("absent.bimg", "cannot be opened"),
    ],
)
def test_what_may_not_be_installed_is_refused_before_anything_is_written(
    stick: Path, file: str, words: str
) -> None:
    bench = Bench(settled_machine(V2, V1))
    bench.machine.change_record(version_floor=2)
    bench.session.used_runner.look_afresh()
    bench.machine.device.log.clear()
    outcome = install(bench, stick / file)
    assert not outcome.is_done
    assert words in " ".join(outcome.lines)
    assert not bench.has_written


def test_an_image_that_failed_here_is_tried_again_when_a_person_names_it(stick: Path) -> None:
    machine = settled_machine(V2, V1)
    machine.change_record(failed=(V3.identity,))
    bench = Bench(machine)
    outcome = install(bench, stick / "v3.bimg")
    assert outcome.is_done
    assert "failed on this machine before" in outcome.lines[1]
    assert bench.record.failed == ()
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY, is_trial=True)


def test_a_fetch_that_was_broken_off_asks_for_nothing(stick: Path) -> None:
    bench = Bench(settled_machine(V2, V1))
    bench.is_cancelled = True
    outcome = install(bench, stick / "v3.bimg")
    assert not outcome.is_done
    assert bench.session.used_runner.status == bench.record
    assert bench.record.request is Request.NONE


def test_nothing_is_installed_in_the_middle_of_an_update(stick: Path) -> None:
    bench = Bench(on_trial())
    assert not install(bench, stick / "v3.bimg").is_done
    assert not bench.has_written


# --- installing on a machine that has halted ----------------------------------------------------


def test_a_machine_that_halted_is_installed_anew_whichever_phase_it_was_in(stick: Path) -> None:
    bench = Bench(stuck_in_restore(), problem="nothing can be started")
    outcome = install(bench, stick / "v3.bimg")
    assert outcome.is_done, outcome.lines
    assert bench.record.phase is Phase.INSTALL
    assert bench.record.last_failure.reason == Reason.ASKED_AT_CONSOLE
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY, is_trial=True)
    assert bench.machine.holds(Area.PRIMARY, V3)


def test_a_machine_that_halted_takes_even_an_image_that_failed_here(stick: Path) -> None:
    machine = stuck_in_restore()
    machine.change_record(failed=(V3.identity,))
    bench = Bench(machine, problem="nothing can be started")
    assert install(bench, stick / "v3.bimg").is_done
    assert machine.record.failed == (), "after a power cut now it would be refused"
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)


def test_the_version_floor_holds_on_a_machine_that_halted(stick: Path) -> None:
    machine = stuck_in_restore()
    machine.change_record(version_floor=2)
    outcome = install(Bench(machine, problem="nothing can be started"), stick / "v1.bimg")
    assert not outcome.is_done
    assert "version floor" in " ".join(outcome.lines)
    assert machine.record.phase is Phase.RESTORE


def test_a_machine_without_record_and_image_is_installed_anew(stick: Path) -> None:
    machine = settled_machine(V2, V1)
    lose_record(machine)
    for area in (Area.PRIMARY, Area.BACKUP):
        machine.flip(area, 4096 * 3)
    bench = Bench(machine, problem="no image was found")
    assert install(bench, stick / "v3.bimg").then is Then.GO_ON
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY, is_trial=True)
    assert bench.machine.holds(Area.PRIMARY, V3)


def test_the_disk_of_another_machine_is_never_written_to(stick: Path) -> None:
    machine = stuck_in_restore()
    machine.change_record(layout_hash=bytes(32))
    bench = Bench(machine, problem="nothing can be started")
    outcome = install(bench, stick / "v3.bimg")
    assert "another disk" in outcome.lines[0]
    assert not bench.has_written


# --- where from ---------------------------------------------------------------------------------


def test_enter_lists_the_images_on_other_disks_and_a_number_chooses(
    stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (
        FoundImage("/dev/sdb1:/bad.bimg", "bad.bimg", 1, problem="no signature"),
        FoundImage(str(stick / "v3.bimg"), "v3.bimg", 4096, 3, "3.0", V3.identity, "key1"),
    )
    monkeypatch.setattr("bootsvc.boot.sources.find_images", lambda *_: found)
    bench = Bench(settled_machine(V2, V1))
    outcome = bench.do("install")
    assert outcome.then is Then.STAY
    assert outcome.lines[0] == "1: /dev/sdb1:/bad.bimg: no signature"
    assert outcome.lines[1].startswith("2: ")
    assert "signed by key1" in outcome.lines[1]
    assert install(bench, 2).is_done
    assert bench.machine.holds(Area.STAGING, V3)


def test_a_number_that_was_not_listed_is_refused() -> None:
    outcome = install(Bench(settled_machine(V2, V1)), 3)
    assert "no number 3 in the list" in outcome.lines[0]


class FakeNetwork:
    """A network that comes up as asked, unless ``problem``."""

    problem = ""

    def __init__(self, _: object) -> None:
        self.address: Address | None = None
        self.asked: list[tuple[object, float]] = []
        self.taken_down = 0

    def bring_up(self, how: Dhcp | Address, wait_s: float) -> Address:
        self.asked.append((how, wait_s))
        if self.problem:
            raise NoNetworkError(self.problem, hint="look at the cable")
        self.address = Address("10.0.2.15", 24)
        return self.address

    def take_down(self) -> None:
        self.taken_down += 1
        self.address = None


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> type[FakeNetwork]:
    monkeypatch.setattr("bootsvc.boot.network.Network", FakeNetwork)
    monkeypatch.setattr(FakeNetwork, "problem", "")
    return FakeNetwork


def of_session(bench: Bench) -> FakeNetwork:
    found: object = bench.session.network
    assert isinstance(found, FakeNetwork)
    return found


def test_an_address_brings_the_network_up_by_the_setting(network: type[FakeNetwork]) -> None:
    bench = Bench(settled_machine(V2, V1), settings=Settings(compatible="test", network_wait_s=7))
    network.problem = "no link"
    outcome = install(bench, "http://10.0.2.2/v3.bimg")
    assert outcome.lines[0] == "Not done: no link."
    assert of_session(bench).asked == [(Dhcp(), 7)]


@pytest.mark.usefixtures("network")
def test_a_mistyped_address_waits_for_no_network() -> None:
    bench = Bench(settled_machine(V2, V1))
    outcome = install(bench, "http://10.0.2.2:many/v3.bimg")
    assert not outcome.is_done
    assert bench.session.network is None


def test_an_address_that_a_person_set_is_used(network: type[FakeNetwork]) -> None:
    bench = Bench(settled_machine(V2, V1))
    outcome = bench.do("set-address", address="192.168.1.20/24,gateway=192.168.1.1")
    assert outcome.is_done
    assert "this start" in outcome.lines[0] or "next start" in outcome.lines[0]
    wanted = Address("192.168.1.20", 24, "192.168.1.1")
    assert of_session(bench).asked[0][0] == wanted
    assert network.problem == ""


def test_an_address_that_is_none_is_refused(network: type[FakeNetwork]) -> None:
    outcome = Bench(settled_machine()).do("set-address", address="192.168.1.20")
    assert not outcome.is_done
    assert network.problem == ""


def test_the_network_is_given_back_when_the_console_is_left(network: type[FakeNetwork]) -> None:
    bench = Bench(settled_machine())
    bench.do("set-address")
    bench.do("verify", area="backup")
    assert of_session(bench).taken_down == 0
    bench.do("go-on")
    assert of_session(bench).taken_down == 1
    assert network.problem == ""


def test_a_bare_name_is_taken_from_the_mirror(network: type[FakeNetwork]) -> None:
    bench = Bench(settled_machine(V2, V1))
    network.problem = "no link"
    assert bench.do("set-mirror", url="http://10.0.2.2:8080/images/").is_done
    assert bench.session.mirror == "http://10.0.2.2:8080/images/"
    assert "no link" in install(bench, "v3.bimg").lines[0]


def test_a_mirror_that_is_no_address_is_refused() -> None:
    bench = Bench(settled_machine())
    assert not bench.do("set-mirror", url="ftp://10.0.2.2/").is_done
    assert bench.session.mirror == ""


def test_the_mirror_of_the_setting_serves_until_another_is_set() -> None:
    settings = Settings(compatible="test", mirror="http://mirror.example/images")
    assert Bench(settled_machine(), settings=settings).session.mirror == settings.mirror
