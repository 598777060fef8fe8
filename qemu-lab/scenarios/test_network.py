"""An image is installed from a server or another disk, before any OS runs; whatever the server and
the power do."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qemu_lab import Machine, Stage
from qemu_lab.disk import read_range
from qemu_lab.image_server import GUEST_SEES, Faults, ImageServer
from qemu_lab.images.products import ProbeImage
from qemu_lab.subject import ProbeMaker, Subject

pytestmark = pytest.mark.vm

V1, V2 = ProbeImage(1), ProbeImage(2)
ONLINE = Machine(network=True)
SLOW = 400_000
"""Bytes per second of a server that gives time to cut the power in the middle."""

NOTICED = "bootsvc.progress_s=1"

INSTALL_S = 240.0
"""Longest time from power-on to the first word of an image that is fetched and installed before."""


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer({"v2.bimg": V2.path}) as serving:
        yield serving


def told_to_install(probe: ProbeMaker, server: ImageServer, options: str = "") -> Subject:
    """A machine with version 1 whose every start is told to install version 2."""
    source = server.url("v2.bimg", GUEST_SEES)
    told = f"bootsvc.install={source} {NOTICED} {options}"
    return probe(V1, options=told, base=ONLINE)


def test_an_image_is_fetched_installed_and_fetched_no_more(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server)
    machine.power_on()
    machine.vm.console.wait_for_text(
        "network: 10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3", INSTALL_S
    )
    machine.wait(Stage.FETCH, INSTALL_S)
    machine.wait(Stage.TRIAL, INSTALL_S)
    machine.runs(2, trial=True, timeout=INSTALL_S)
    machine.confirm()
    machine.restart()
    before = server.sent
    machine.vm.console.wait_for_text("primary holds that image already", INSTALL_S)
    machine.runs(2, timeout=INSTALL_S)
    assert server.sent - before < 100_000
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert machine.holds("backup", V1.path)


def test_a_power_cut_in_the_middle_of_a_fetch_costs_no_byte_twice(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server)
    server.faults = Faults(rate=SLOW)
    machine.power_on()
    machine.vm.console.wait_for_progress(Stage.FETCH, 40, INSTALL_S)
    machine.power_cut()
    assert machine.record().phase == "idle"
    assert machine.holds("primary", V1.path)
    first = server.sent
    standing = standing_in_staging(machine)
    assert standing > 5_000_000
    server.faults = Faults()
    machine.power_on()
    machine.runs(2, trial=True, timeout=INSTALL_S)
    machine.confirm()
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert server.sent - first < V2.path.stat().st_size - standing + 2_000_000


def standing_in_staging(machine: Subject) -> int:
    """Bytes of the image that stand in staging, from its beginning on."""
    start, _ = machine.range_of("bootsvc-staging")
    image = V2.path.read_bytes()
    found = read_range(machine.disk, start, len(image))
    return next(
        at for at in range(0, len(image), 4096) if found[at : at + 4096] != image[at : at + 4096]
    )


@pytest.mark.thorough
def test_a_server_that_falls_silent_is_asked_anew_and_the_image_arrives(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server)
    server.faults = Faults(stall_after=0, times=2)  # the first one only tells the file's size
    machine.power_on()
    machine.vm.console.wait_for_text("waiting for 10.0.2.2 to send more since", INSTALL_S)
    machine.vm.console.wait_for_text("nothing came for 30 s at byte", INSTALL_S)
    machine.runs(2, trial=True, timeout=INSTALL_S)
    machine.power_cut()


def test_half_a_file_is_named_and_the_machine_starts_what_it_has(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server)
    server.faults = Faults(half=True)
    machine.power_on()
    machine.wait(Stage.FETCH, INSTALL_S)
    machine.vm.console.wait_for_text(
        "its footer is missing; the start goes on without it", INSTALL_S
    )
    machine.runs(1, timeout=INSTALL_S)
    machine.power_cut()
    assert machine.holds("primary", V1.path)
    assert (machine.record().phase, machine.record().request) == ("idle", 0)


@pytest.mark.thorough
def test_without_a_link_the_start_goes_on_after_its_time(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server, "bootsvc.network_wait_s=5")
    machine.vm.machine = replace(machine.vm.machine, network=False)
    machine.power_on()
    machine.vm.console.wait_for_text("no wired network interface was found", INSTALL_S)
    machine.runs(1, timeout=INSTALL_S)
    machine.power_cut()
    assert server.asked == []


@pytest.mark.thorough
def test_a_fixed_address_serves_as_well(probe: ProbeMaker, server: ImageServer) -> None:
    machine = told_to_install(probe, server, "bootsvc.network=10.0.2.77/24,gateway=10.0.2.2")
    machine.power_on()
    machine.vm.console.wait_for_text(
        "network: 10.0.2.77/24,gateway=10.0.2.2,interface=eth0", INSTALL_S
    )
    machine.runs(2, trial=True, timeout=INSTALL_S)
    machine.power_cut()


def stick_with(image: Path, stick: Path) -> Path:
    """A USB disk as it comes from a shop: FAT on the whole of it, the image in a folder."""
    with stick.open("wb") as file:
        file.truncate(64 * 2**20)
    target = f"::/images/{image.name}"
    commands: list[list[str | Path]] = [
        ["mkfs.vfat", stick],
        ["mmd", "-i", stick, "::/images"],
        ["mcopy", "-i", stick, image, target],
    ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    return stick


@pytest.mark.thorough
def test_an_image_on_a_fat_disk_is_installed_and_the_disk_stays_as_it_was(
    probe: ProbeMaker, tmp_path: Path
) -> None:
    stick = stick_with(V2.path, tmp_path / "stick.img")
    before = stick.read_bytes()
    machine = probe(V1, update=stick, options=f"bootsvc.install=/dev/vdb:/images/{V2.path.name}")
    machine.power_on()
    machine.wait(Stage.FETCH, INSTALL_S)
    machine.runs(2, trial=True, timeout=INSTALL_S)
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert stick.read_bytes() == before


@pytest.mark.thorough
def test_an_image_that_was_written_to_a_disk_as_it_is_is_installed(probe: ProbeMaker) -> None:
    machine = probe(V1, update=V2, options="bootsvc.install=/dev/vdb")
    machine.power_on()
    machine.wait(Stage.FETCH, INSTALL_S)
    machine.runs(2, trial=True, timeout=INSTALL_S)
    machine.power_cut()
    assert machine.holds("primary", V2.path)
