"""A real Debian system updates itself from an image store, block by block, over a bad network."""

import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bootsvc.disk.boot_menu import FIXED_OPTIONS
from bootsvc.transfer.block_update import USUAL
from bootsvc.units import KIB, MIB
from qemu_lab import Machine, Stage
from qemu_lab.image_server import GUEST_SEES, Asked, Faults, ImageServer
from qemu_lab.images import products
from qemu_lab.images.published import Store, debian_store
from qemu_lab.images.signed import DebianImage
from qemu_lab.pytest_plugin import Lab
from qemu_lab.subject import Subject, machine_for

pytestmark = pytest.mark.vm

UP_S = 300.0
METHOD = "switch_root"
V1, V2, V3, V4 = (DebianImage(f"debian-v{number}", METHOD) for number in (1, 2, 3, 4))
ONLINE = Machine(memory_mib=512, network=True)
SLOW = 250_000
"""Bytes per second of each answer of a server that gives time to cut the power in the middle."""

ON_ITS_WAY = USUAL.connections * 64 * KIB
"""Bytes that were sent when the power fails and did not arrive: they stand in buffers of the
network; or did, and were not flushed yet."""


@pytest.fixture(scope="module")
def store() -> Store:
    return debian_store(METHOD)


@pytest.fixture
def server(store: Store) -> Iterator[ImageServer]:
    with ImageServer(store.files) as serving:
        yield serving


@pytest.fixture
def machine(lab: Lab) -> Subject:
    """Version 1, confirmed, switched off."""
    disk = products.lab_disk(
        lab.directory / "disk.img", V1.path, area_size=96 * MIB, data_size=256 * MIB
    )
    found = replace(
        machine_for(disk, base=ONLINE),
        kernel=products.kernel("cloud").vmlinuz,
        initrd=products.updater("cloud"),
        append=f"{products.CONSOLE} {products.QUICK} {FIXED_OPTIONS}",
    )
    return Subject(lab.vm(found), disk)


def is_told_of(machine: Subject, store: Store, server: ImageServer) -> None:
    """What a site's images bring along: the store's address and its root metadata."""
    settings = f'{products.SETTINGS}stores = "{server.url("", GUEST_SEES)}"\n'
    for name, text in (("bootsvc.toml", settings), ("root.json", store.root.read_text())):
        packed = base64.b64encode(text.encode()).decode()
        machine.shell(f"echo {packed} | base64 -d >/etc/bootsvc/{name}")


def planned(machine: Subject, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.command(f"plan {version} --json", UP_S))
    return found


def wait_until(server: ImageServer, sent: int) -> None:
    deadline = time.monotonic() + UP_S
    while server.sent < sent:
        assert time.monotonic() < deadline, f"{server.sent} of {sent} bytes were asked for"
        time.sleep(0.2)


def is_confirmed(machine: Subject) -> dict[str, Any]:
    """The status, once the image's own unit has confirmed it."""
    deadline = time.monotonic() + UP_S
    while (status := machine.status())["phase"] != "idle":
        assert time.monotonic() < deadline, "the image's own unit did not confirm"
        time.sleep(1)
    return status


def of_packs(server: ImageServer) -> list[Asked]:
    """What was asked of packs, where nearly all bytes are."""
    return [one for one in server.asked if one.path.startswith("packs/")]


def sent_twice(asked: list[Asked]) -> int:
    """Bytes that were sent more than once."""
    sent: dict[str, list[range]] = defaultdict(list)
    for one in asked:
        sent[one.path].append(range(one.first, one.first + one.sent))
    twice = 0
    for ranges in sent.values():
        covered = 0
        for part in sorted(ranges, key=lambda part: part.start):
            twice += max(min(covered, part.stop) - part.start, 0)
            covered = max(covered, part.stop)
    return twice


def wrong_block_of(server: ImageServer) -> Faults:
    """One block of the pack that is being fetched, near its end and not asked for yet, is wrong,
    once."""
    sent: Counter[str] = Counter()
    for one in of_packs(server):
        sent[one.path] += one.sent
    [(pack, _)] = sent.most_common(1)
    content = server.content(pack)
    assert content is not None
    at = len(content) - 2 * MIB
    return Faults(other_bytes=(range(at, at + 4096),), only=pack, times=1)


def goes_on_to(machine: Subject, image: DebianImage) -> None:
    """The restart installs what was fetched; the new version runs, and confirms itself."""
    machine.restart()
    machine.wait(Stage.COPY, UP_S)
    machine.runs(image.number, trial=True, timeout=UP_S)
    status = is_confirmed(machine)
    assert (status["update_status"], status["last_result"]) == ("completed", "ok")
    assert machine.holds("primary", image.path)


def test_a_debian_system_comes_to_v4_over_a_network_that_fails_and_goes_back_to_v2_without_one(
    machine: Subject, store: Store, server: ImageServer
) -> None:
    machine.power_on()
    machine.runs(1, timeout=UP_S)

    # Version 2, from a slow server; the power fails in the middle of step 1.
    is_told_of(machine, store, server)
    plan = planned(machine, "2")
    assert (plan["strategy"], plan["moves"]) == ("incremental", 1)
    assert plan["fetch_size"] < V2.path.stat().st_size / 4
    server.faults = Faults(rate=SLOW, only="packs/")
    machine.shell("bootsvc update 2 >/run/update.log 2>&1 </dev/null &")
    wait_until(server, server.sent + plan["fetch_size"] * 2 // 3)
    machine.power_cut()
    assert machine.record().phase == "idle"
    assert machine.holds("primary", V1.path)

    # It goes on from what stands in staging, and a wrong block is not written.
    before, server.faults = len(server.asked), wrong_block_of(server)
    machine.power_on()
    machine.runs(1, timeout=UP_S)
    is_told_of(machine, store, server)
    said = machine.command("update 2 --install", UP_S)
    assert "sent wrong blocks 1 times" in said
    assert machine.status()["update_status"] == "waiting_for_restart"
    wrong = next(one for one in server.asked[before:] if server.faults.concern(one))
    twice = sent_twice([one for one in of_packs(server) if one is not wrong])
    machine.vm.console.transcript.note(f"of {plan['fetch_size']} bytes {twice} were sent twice")
    assert twice < 0.02 * plan["fetch_size"] + ON_ITS_WAY
    goes_on_to(machine, V2)

    # Version 3, an increment: connections break again and again.
    is_told_of(machine, store, server)
    server.faults = Faults(break_after=100_000, only="packs/")
    plan = planned(machine, "3")
    assert (plan["strategy"], plan["moves"]) == ("incremental", 1)
    assert plan["fetch_size"] < 2 * MIB
    machine.command("update 3 --install", UP_S)
    goes_on_to(machine, V3)

    # Version 4, the newest, which is taken without being named: the server falls silent.
    is_told_of(machine, store, server)
    server.faults = Faults(stall_after=0, only="packs/", times=1)
    assert "nothing came for 30 s" in machine.command("update --install", UP_S)
    goes_on_to(machine, V4)
    assert machine.holds("backup", V3.path)

    # Version 2, which was in backup before the last update, is only looked at: with no server
    # anywhere, started once from staging, which it cannot overwrite below itself.
    server.stop()
    listed = json.loads(machine.command("restore-point list --json", UP_S))["restore_points"]
    assert {one["number"] for one in listed} == {1, 2}
    machine.command("restore-point boot-once 2", UP_S)
    machine.restart()
    machine.runs(2, area="staging", timeout=UP_S)
    said = machine.shell("bootsvc restore-point restore 1 2>&1 || true", UP_S)
    assert "this system runs from staging" in said
    machine.restart()
    machine.runs(4, timeout=UP_S)
    assert machine.holds("primary", V4.path)
    assert machine.holds("backup", V3.path)

    # Back to it for good.
    machine.command("restore-point restore 2", UP_S)
    goes_on_to(machine, V2)
    machine.power_cut()
    assert machine.holds("primary", V2.path)
    assert machine.holds("backup", V4.path)
