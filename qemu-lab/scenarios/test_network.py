"""An image is installed from a server, before any OS runs; whatever the server and the power do."""

from collections.abc import Iterator
from dataclasses import replace

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


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer({"v2.bimg": V2.path}) as serving:
        yield serving


def told_to_install(probe: ProbeMaker, server: ImageServer, options: str = "") -> Subject:
    """A machine with version 1 whose every start is told to install version 2."""
    source = server.url("v2.bimg", GUEST_SEES)
    return probe(V1, options=f"bootsvc.install={source} {NOTICED} {options}", base=ONLINE)


def test_an_image_is_fetched_installed_and_fetched_no_more(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server)
    machine.power_on()
    machine.vm.console.wait_for_text("network: 10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3", 90)
    machine.wait(Stage.FETCH)
    machine.wait(Stage.TRIAL)
    machine.runs(2, trial=True)
    machine.confirm()
    machine.restart()
    before = server.sent
    machine.vm.console.wait_for_text("primary holds that image already", 90)
    machine.runs(2)
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
    machine.vm.console.wait_for_progress(Stage.FETCH, 40, 180)
    machine.power_cut()
    assert machine.record().phase == "idle"
    assert machine.holds("primary", V1.path)
    first = server.sent
    standing = standing_in_staging(machine)
    assert standing > 5_000_000
    server.faults = Faults()
    machine.power_on()
    machine.runs(2, trial=True)
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


def test_a_server_that_falls_silent_is_asked_anew_and_the_image_arrives(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server)
    server.faults = Faults(stall_after=0, times=2)  # the first one only tells the file's size
    machine.power_on()
    machine.vm.console.wait_for_text("waiting for 10.0.2.2 to send more since", 120)
    machine.vm.console.wait_for_text("nothing came for 30 s at byte", 120)
    machine.runs(2, trial=True)
    machine.power_cut()


def test_half_a_file_is_named_and_the_machine_starts_what_it_has(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server)
    server.faults = Faults(half=True)
    machine.power_on()
    machine.wait(Stage.FETCH)
    machine.vm.console.wait_for_text("its footer is missing; the start goes on without it", 90)
    machine.runs(1)
    machine.power_cut()
    assert machine.holds("primary", V1.path)
    assert (machine.record().phase, machine.record().request) == ("idle", 0)


def test_without_a_link_the_start_goes_on_after_its_time(
    probe: ProbeMaker, server: ImageServer
) -> None:
    machine = told_to_install(probe, server, "bootsvc.network_wait_s=5")
    machine.vm.machine = replace(machine.vm.machine, network=False)
    machine.power_on()
    machine.vm.console.wait_for_text("no wired network interface was found", 180)
    machine.runs(1)
    machine.power_cut()
    assert server.asked == []


def test_a_fixed_address_serves_as_well(probe: ProbeMaker, server: ImageServer) -> None:
    machine = told_to_install(probe, server, "bootsvc.network=10.0.2.77/24,gateway=10.0.2.2")
    machine.power_on()
    machine.vm.console.wait_for_text("network: 10.0.2.77/24,gateway=10.0.2.2,interface=eth0", 90)
    machine.runs(2, trial=True)
    machine.power_cut()
