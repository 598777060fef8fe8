"""What is done at the updater's console, from installing to exporting, and what comes of it.

Back end: switch_root, but for the watchdog, which only the generic kernel has a driver for.
"""

import base64
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from qemu_lab import Bad, Machine, Stage
from qemu_lab.image_server import GUEST_SEES, ImageServer
from qemu_lab.images.products import ProbeImage
from qemu_lab.machine import Drive
from qemu_lab.subject import UPDATE_DEVICE, ProbeMaker, Subject, decode_record, parts_of
from qemu_lab.updater_port import UpdaterPort

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
CONNECTED = Machine(updater_port=True)
ONLINE = replace(CONNECTED, network=True)
GUARDED = replace(CONNECTED, watchdog="i6300esb", watchdog_action="pause")
FAILED_ON_REQUEST = 27
"""The number of the reason that a technician asked for it."""


def held(machine: Subject) -> UpdaterPort:
    """The next start of ``machine``, stopped at its console."""
    if machine.vm.running:
        machine.restart()
    else:
        machine.power_on()
    machine.vm.updater.hold()
    return machine.vm.updater


def keeps_version_2(machine: Subject) -> None:
    """Confirmed, it runs on and fills the backup."""
    machine.confirm()
    machine.restart()
    machine.runs(2)
    machine.power_cut()
    for area in ("primary", "backup"):
        assert machine.holds(area, V2.path)


def test_an_image_from_a_second_disk_is_installed_abandoned_and_retried(probe: ProbeMaker) -> None:
    machine = probe(V1, update=V2, base=CONNECTED)
    updater = held(machine)
    (found,) = updater.perform("install").require().facts["images"]
    assert found == {"source": UPDATE_DEVICE, "number": 2}
    assert updater.perform("install", source="1").require().then == "go-on"
    machine.runs(2, trial=True)

    updater = held(machine)
    assert not updater.perform("abandon", word="abandon").is_done
    assert updater.perform("abandon", word="ABANDON").require().then == "go-on"
    machine.wait(Stage.RESTORE)
    machine.runs(1)
    assert machine.record().failure == (FAILED_ON_REQUEST, 2)

    updater = held(machine)
    assert len(updater.facts()["failed"]) == 1
    assert updater.perform("retry").require().then == "go-on"
    machine.runs(2, trial=True)
    machine.confirm()
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert machine.holds("backup", V1.path)
    assert machine.record().phase == "idle"


@pytest.mark.thorough
def test_an_update_is_rolled_back_at_the_console(probe: ProbeMaker) -> None:
    machine = probe(V1, base=CONNECTED)
    assert machine.stage_from_outside(V2.path).returncode == 0
    machine.power_on()
    machine.runs(2, trial=True)
    machine.confirm()

    updater = held(machine)
    assert updater.perform("boot-once", area="backup").require().then == "boot"
    machine.runs(1, area="backup")

    updater = held(machine)
    assert updater.perform("roll-back", word="ROLLBACK").require().then == "go-on"
    machine.wait(Stage.ROLLBACK)
    machine.runs(1)
    assert machine.status()["failed"] == []
    machine.power_cut()
    assert machine.holds("primary", V1.path)
    assert (machine.record().code, machine.record().phase) == (1, "idle")


@pytest.mark.thorough
def test_a_machine_that_halted_is_installed_from_a_second_disk(probe: ProbeMaker) -> None:
    """Primary and backup are no use, and staging is empty."""
    machine = probe(V1, update=V2, base=CONNECTED)
    for area in ("primary", "backup"):
        machine.damage(f"bootsvc-{area}", 4096, bytes(4096))
        _, size = machine.range_of(f"bootsvc-{area}")
        machine.damage(f"bootsvc-{area}", size - 4096, bytes(4096))
    machine.power_on()
    updater = machine.vm.updater
    with machine.vm.console.expecting(Bad.HALT):
        machine.wait(Stage.HALT)
        assert updater.facts()["problem"]
        assert not updater.perform("restore", word="RESTORE").is_done
        assert updater.perform("install", source=UPDATE_DEVICE).require().then == "go-on"
        machine.wait(Stage.TRIAL)
        machine.runs(2, trial=True)
    keeps_version_2(machine)


@pytest.mark.thorough
def test_all_that_is_known_is_left_on_a_stick_and_a_failing_disk_is_named(
    probe: ProbeMaker, tmp_path: Path
) -> None:
    stick = tmp_path / "stick.img"
    subprocess.run(["truncate", "-s", "16M", stick], check=True)
    subprocess.run(["mkfs.vfat", "-n", "STICK", stick], check=True, capture_output=True)
    machine = probe(V1, base=CONNECTED)
    drives = (*machine.vm.machine.drives, Drive(stick))
    machine.vm.machine = replace(machine.vm.machine, drives=drives)
    updater = held(machine)

    start, _ = machine.range_of("bootsvc-staging")
    bad = start + 8 * 2**20
    machine.vm.faults.io_error(0, bad, 8192, operations=("read",))
    scanned = updater.perform("scan-disk", timeout=240).require()
    assert scanned.facts["unreadable"] == [[bad, bad + 8192]]
    assert "bootsvc-staging" in scanned.lines[1]

    assert updater.perform("export").require().facts == {"places": [UPDATE_DEVICE]}
    assert not updater.perform("export", to="/dev/vda6").is_done
    name = updater.perform("export", to="1").require().facts["file"]
    assert updater.perform("power-off").then == "power-off"
    machine.vm.wait_off(30)
    copied = tmp_path / "document.json"
    subprocess.run(["mcopy", "-i", stick, f"::{name}", copied], check=True)
    document = json.loads(copied.read_text())
    copies = [base64.b64decode(one["base64"]) for one in document["record"]]
    assert decode_record(copies) == machine.record()
    assert {one["node"] for one in document["hardware"]["disks"]} >= {"/dev/vda", UPDATE_DEVICE}
    assert any("Linux version" in line for line in document["hardware"]["kernel_log"])
    assert any(one.get("work", "").startswith("read ") for one in document["start"])


@pytest.mark.thorough
def test_the_clock_is_set_a_stick_is_filled_and_an_image_fetched_in_one_start(
    probe: ProbeMaker, tmp_path: Path
) -> None:
    """The stick has ext4, on the whole of it."""
    stick = tmp_path / "stick.img"
    subprocess.run(["truncate", "-s", "16M", stick], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-L", "STICK", stick], check=True)
    machine = probe(V1, base=ONLINE)
    drives = (*machine.vm.machine.drives, Drive(stick))
    machine.vm.machine = replace(machine.vm.machine, drives=drives)
    updater = held(machine)

    assert not updater.perform("set-date", date="2031-02-29T06:30").is_done
    set_to = updater.perform("set-date", date="2031-02-28T06:30").require().facts["clock_s"]
    assert 0 <= updater.facts()["clock_s"] - set_to < 600

    assert updater.perform("export").require().facts == {"places": [UPDATE_DEVICE]}
    name = updater.perform("export", to=UPDATE_DEVICE).require().facts["file"]

    with ImageServer({"v2.bimg": V2.path}) as server:
        source = server.url("v2.bimg", GUEST_SEES)
        assert not updater.perform("install", source=f"{source}.old", timeout=240).is_done
        fetched = updater.perform("install", source=source, timeout=240).require()
    assert fetched.then == "go-on"
    machine.runs(2, trial=True)
    year = machine.shell("date -u +%Y-%m-%d").strip()
    machine.power_cut()
    assert year == "2031-02-28"
    assert machine.holds("primary", V2.path)
    assert machine.holds("backup", V1.path)
    shown = subprocess.run(
        ["debugfs", "-R", f"cat /{name}", stick], check=True, capture_output=True
    )
    document = json.loads(shown.stdout)
    assert document["made_at_s"] >= set_to
    subprocess.run(["e2fsck", "-fn", stick], check=True, capture_output=True)


@pytest.mark.thorough
def test_an_update_is_installed_although_nothing_is_left_to_fall_back_to(
    probe: ProbeMaker,
) -> None:
    """Primary starts, but neither it nor backup has every byte that was signed."""
    machine = probe(V1, base=CONNECTED)
    content, _ = parts_of(V1.path)
    for area in ("primary", "backup"):
        machine.damage(f"bootsvc-{area}", content - 1, b"\xff")  # behind the file system's end
    assert machine.stage_from_outside(V2.path).returncode == 0
    machine.power_on()
    machine.runs(1)
    assert machine.failure()[1:] == ("nothing_to_fall_back_to", 1)

    updater = held(machine)
    assert not updater.perform("install-without-backup").is_done
    done = updater.perform("install-without-backup", word="INSTALL", timeout=240).require()
    assert done.then == "go-on"
    machine.runs(2, trial=True)
    keeps_version_2(machine)


@pytest.mark.thorough
def test_a_watchdog_that_works_bites_when_it_is_tested(probe: ProbeMaker) -> None:
    image = ProbeImage(1, method="kexec", kernel="generic")
    machine = probe(image, base=GUARDED)
    updater = held(machine)
    updater.send(b'{"do":"perform","action":"test-watchdog","word":"WATCHDOG"}\n')
    machine.vm.wait_event("WATCHDOG", 40)
