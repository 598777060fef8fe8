"""``bootsvc plan`` and ``bootsvc update``: a machine, its store, and what is said and done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.cli import update
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.formats.boot_status import Area, AreaState, BootStatus, Request
from bootsvc.units import BLOCK_SIZE
from qemu_lab.image_server import Faults, FolderFiles, ImageServer
from tests.bench import AREA_SIZE, V1, V2, V3
from tests.cli.command import TRANSACTION, Command, Outcome
from tests.images import Image, make_image, random_blocks, with_manifest

CHILD = with_manifest(V3, parent=V2.identity)
SHIFTED = make_image(V2.content[100:] + random_blocks(1, 5)[:100], number=3)
"""No block of it is here, and nearly all of its content."""


class Fleet:
    """A machine that runs V2, with V1 in backup, and a store with V1, V2 and V3 on a web server."""

    def __init__(self, bootsvc: Command, folder: Path) -> None:
        self.bootsvc, self.folder = bootsvc, folder
        self.store, self.keys = folder / "store", folder / "store-keys"
        bootsvc.plain("store", "init", self.store, "--keys", self.keys)
        self.server = ImageServer(FolderFiles(self.store))

    def publish(self, image: Image, mode: str = "released") -> None:
        path = self.bootsvc.file(image, "published.bimg")
        outcome = self.bootsvc.plain(
            "image", "publish", self.store, path, "--keys", self.keys,
            "--trust", self.bootsvc.keys, "--mode", mode, "--level", "1",
        )  # fmt: skip
        assert outcome.code == ExitCode.OK, outcome.err

    def __call__(self, *words: str) -> Outcome:
        name, *rest = words
        self.bootsvc.settings.write_text(
            f'compatible = "test"\nstores = "{self.server.url("").rstrip("/")}"\n'
        )
        return self.bootsvc.plain(
            name, "--disk", self.bootsvc.bench.path, "--keys", self.bootsvc.keys,
            "--settings", self.bootsvc.settings, "--root", self.keys / "root.json", *rest,
        )  # fmt: skip

    def plan(self, *words: str) -> dict[str, object]:
        outcome = self("plan", "--json", *words)
        assert outcome.code == ExitCode.OK, outcome.err
        document: dict[str, object] = json.loads(outcome.out)
        return document

    @property
    def status(self) -> BootStatus:
        return self.bootsvc.bench.status

    def holds(self, image: Image) -> bool:
        return self.bootsvc.bench.content("staging") == image.in_area(AREA_SIZE)


@pytest.fixture
def fleet(bootsvc: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setattr(update, "RUN_DIR", bootsvc.run_dir)
    made = Fleet(bootsvc, tmp_path)
    for image in (V1, V2):
        made.publish(image)
    with made.server:
        yield made


def test_a_machine_with_the_newest_version_has_nothing_to_do(fleet: Fleet) -> None:
    before = fleet.bootsvc.bench.digest()
    assert (fleet.plan()["strategy"], fleet.plan()["fetch_size"]) == ("stop", 0)
    assert "runs already; nothing to do" in fleet("update").out
    assert fleet.bootsvc.bench.digest() == before


def test_one_move_along_the_chain_is_incremental(fleet: Fleet) -> None:
    fleet.publish(CHILD)
    plan = fleet.plan()
    assert (plan["strategy"], plan["moves"], plan["reason_text"]) == ("incremental", 1, "one move")
    assert 0 < int(str(plan["fetch_size"])) < 4 * BLOCK_SIZE


def test_an_earlier_version_that_is_here_costs_nothing(fleet: Fleet) -> None:
    assert (fleet.plan("1")["fetch_size"], fleet.plan("1")["local_size"]) == (0, len(V1.content))


def test_the_same_number_with_other_content_is_seen(fleet: Fleet) -> None:
    other = with_manifest(V2, notes="built again")
    fleet.bootsvc.plain("store", "remove", fleet.store, V2.identity.hex(), "--keys", fleet.keys)
    fleet.publish(other)
    plan = fleet.plan("2")
    assert (plan["strategy"], plan["reason"]) == ("full", "same_number")
    outcome = fleet("update", "2", "--install")
    assert f"taken from this machine {len(V2.content) // 1024}.0 KiB" in outcome.out
    assert fleet.holds(other)


def test_each_update_does_the_next_step_only(fleet: Fleet) -> None:
    fleet.publish(CHILD)
    assert "update status: waiting for installation" in fleet("update").out
    assert fleet.holds(CHILD)
    assert fleet.status.request is Request.NONE
    assert "update status: waiting for restart" in fleet("update").out
    assert fleet.status.transaction != bytes(16)
    before = fleet.bootsvc.bench.digest()
    assert "to start now: reboot" in fleet("update").out
    assert fleet.bootsvc.bench.digest() == before


def test_install_goes_on_until_it_waits_for_the_restart(fleet: Fleet) -> None:
    fleet.publish(CHILD)
    assert "update status: waiting for restart" in fleet("update", "--install").out
    status = fleet.status
    assert (status.staging.state, status.staging.identity) == (AreaState.VALID, CHILD.identity)


def test_a_system_that_runs_from_staging_fetches_nothing_over_itself(
    fleet: Fleet, tmp_path: Path
) -> None:
    """Whatever name its disk is given, and before anything is kept for the update."""
    fleet.publish(CHILD)
    data = fleet.bootsvc.uses_data()
    fleet.bootsvc.handed_over(V1, Area.STAGING, is_trial=False)
    before = fleet.bootsvc.bench.digest()
    other_name = tmp_path / "by-id"
    other_name.symlink_to(fleet.bootsvc.bench.path)
    for disk in (fleet.bootsvc.bench.path, other_name):
        outcome = fleet("update", "--install", "--disk", str(disk))
        assert outcome.code == ExitCode.PHASE
        assert "this system runs from staging" in outcome.err
    assert fleet.bootsvc.bench.digest() == before
    assert not (data / "restore-points").exists()


def test_restart_restarts(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.publish(CHILD)
    ran: list[object] = []
    monkeypatch.setattr("bootsvc.cli.update.subprocess.run", lambda words, **_: ran.append(words))
    fleet("update", "--restart")
    assert ran == [["systemctl", "reboot"]]


@pytest.mark.parametrize("mode", ["draft", "test"])
def test_what_is_not_released_is_offered_to_nobody(fleet: Fleet, mode: str) -> None:
    fleet.publish(CHILD, mode)
    assert fleet.plan()["goal"]["number"] == 2  # type: ignore[index]
    assert fleet.plan("3")["strategy"] == "incremental", "named, it can be had"


def test_a_version_that_failed_here_is_not_offered_again(fleet: Fleet) -> None:
    fleet.publish(CHILD)
    fleet.bootsvc.bench.change(lambda status: replace(status, failed=(CHILD.identity,)))
    assert "number 2, label 2.0, runs already" in fleet("update").out
    outcome = fleet("update", "3", "--install")
    assert outcome.code == ExitCode.FAILED_BEFORE
    assert fleet("update", "3", "--install", "--again").code == ExitCode.OK


def test_an_unfinished_update_is_finished_first(fleet: Fleet) -> None:
    fleet.publish(CHILD)
    fleet.bootsvc.bench.on_trial(TRANSACTION)
    assert "update status: waiting for restart" in fleet("update").out
    assert not fleet.holds(CHILD)


def test_a_store_that_is_not_set_is_asked_for(fleet: Fleet) -> None:
    settings = fleet.bootsvc.settings
    settings.write_text('compatible = "test"\n')
    outcome = fleet.bootsvc.plain(
        "plan", "--disk", fleet.bootsvc.bench.path, "--keys", fleet.bootsvc.keys,
        "--settings", settings,
    )  # fmt: skip
    assert outcome.code == ExitCode.SETTINGS
    assert "stores = " in outcome.err


def test_another_stores_root_believes_nothing_of_this_one(fleet: Fleet, tmp_path: Path) -> None:
    fleet.bootsvc.plain("store", "init", tmp_path / "other", "--keys", tmp_path / "other-keys")
    fleet.keys = tmp_path / "other-keys"
    before = fleet.bootsvc.bench.digest()
    assert fleet("update").code == ExitCode.NOT_FRESH
    assert fleet.bootsvc.bench.digest() == before


def test_a_delta_that_was_tampered_with_is_gone_around(fleet: Fleet) -> None:
    fleet.publish(SHIFTED)
    assert fleet.plan()["delta_base"] == V2.identity.hex()
    for path in (fleet.store / "packs").iterdir():
        if path.stat().st_size < 10 * BLOCK_SIZE:  # the deltas
            path.write_bytes(bytes(100) + path.read_bytes()[100:])
    outcome = fleet("update", "--install")
    assert outcome.code == ExitCode.OK
    assert "fetched without the delta" in outcome.err
    assert fleet.holds(SHIFTED)


@pytest.mark.parametrize("image", [CHILD, SHIFTED], ids=["copied", "packed against it"])
def test_a_rotten_image_here_is_left_out_and_no_server_blamed(fleet: Fleet, image: Image) -> None:
    fleet.publish(image)
    offset, _ = fleet.bootsvc.bench.place("primary")
    fleet.bootsvc.bench.write(offset + 6 * BLOCK_SIZE, bytes(BLOCK_SIZE))
    outcome = fleet("update", "--install")
    assert outcome.code == ExitCode.OK
    assert "primary: block 6" in outcome.err
    assert "sent wrong blocks" not in outcome.err
    assert fleet.holds(image)


def test_a_server_that_is_down_leaves_the_disk_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.publish(CHILD)
    fleet.server.faults = Faults(status=500, times=0)
    monkeypatch.setattr("bootsvc.boot.connection.Patience.pause_s", lambda *_: 0.0)
    before = fleet.bootsvc.bench.digest()
    assert fleet("update").code == ExitCode.NETWORK
    assert fleet.bootsvc.bench.digest() == before
