"""``bootsvc restore-point``: earlier versions are listed, kept, restored and removed, offline."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.formats.boot_status import Area, AreaState, Phase, Request
from bootsvc.os_side.restore_points import restore_points_in
from bootsvc.sequence.actions import Boot
from bootsvc.units import BLOCK_SIZE
from tests.bench import V1, V2, V3
from tests.cli.command import TRANSACTION, Command
from tests.cli.test_update import start
from tests.images import Image, like, make_image
from tests.os_side.kept import content_of, files_in, only_point

VERSIONS = [V1, V2, V3] + [
    make_image(like(V3.content, {9: 50 + number}), number=number, floor=1) for number in range(4, 8)
]


def keeps(bootsvc: Command, *images: Image) -> None:
    """Each of them was the image in primary, and was kept by hand."""
    for image in images:
        bootsvc.bench.holds(Area.PRIMARY, image)
        outcome = bootsvc("restore-point keep")
        assert outcome.code == ExitCode.OK, outcome.err


def listed(bootsvc: Command, *options: str) -> list[dict[str, Any]]:
    outcome = bootsvc("restore-point list", "--json", *options)
    document = json.loads(outcome.out)
    assert document["schema"] == 1
    points: list[dict[str, Any]] = document["restore_points"]
    return points


def numbers(bootsvc: Command) -> list[int]:
    return [one["number"] for one in listed(bootsvc)]


def allows(bootsvc: Command, count: int) -> None:
    with bootsvc.settings.open("a") as file:
        file.write(f"restore_points = {count}\n")


# --- list ---------------------------------------------------------------------------------------


def test_restore_points_are_listed_with_version_time_size_and_why(bootsvc: Command) -> None:
    bootsvc.uses_data()
    assert "there is no restore point" in bootsvc("restore-point list").out
    keeps(bootsvc, V1, V2)
    newest, oldest = bootsvc("restore-point list").out.splitlines()
    assert newest.startswith(f"number 2, label 2.0, identity {V2.identity.hex()[:12]}, 84.0 KiB, ")
    assert oldest.startswith("number 1, label 1.0")
    assert newest.endswith("UTC (by hand)")
    assert [one["why"] for one in listed(bootsvc)] == ["by hand", "by hand"]
    assert listed(bootsvc)[0]["verifies"] is None


def test_verifying_tells_the_whole_from_the_rotten(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    keeps(bootsvc, V1, V2)
    assert [one["verifies"] for one in listed(bootsvc, "--verify")] == [True, True]
    (small,) = sorted((data / "restore-points/packs").iterdir(), key=os.path.getsize)[:1]
    small.write_bytes(bytes([small.read_bytes()[0] ^ 1]) + small.read_bytes()[1:])
    outcome = bootsvc("restore-point list", "--verify")
    assert outcome.code == ExitCode.FAILED
    newest, oldest = outcome.out.splitlines()
    assert "BAD: " in newest
    assert oldest.endswith("every byte is right")


def test_without_data_the_place_is_named(bootsvc: Command) -> None:
    outcome = bootsvc("restore-point list")
    assert outcome.code == ExitCode.DISK
    assert "not this system's disk" in outcome.err


# --- keep ---------------------------------------------------------------------------------------


def test_what_restore_points_share_is_stored_once(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    keeps(bootsvc, V1, V2, V3)
    sizes = [path.stat().st_size for path in (data / "restore-points/packs").iterdir()]
    blocks = sum(size // BLOCK_SIZE for size in sizes)
    assert (max(sizes) // BLOCK_SIZE, blocks) == (18, 18 + 3 + 2)
    points = restore_points_in(data)
    assert [content_of(data, one) for one in points] == [image.as_file() for image in (V3, V2, V1)]


def test_an_image_on_trial_is_not_kept(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.on_trial(TRANSACTION)
    outcome = bootsvc("restore-point keep")
    assert outcome.code == ExitCode.PHASE
    assert "hint: confirm it" in outcome.err
    assert files_in(data) == set()


def test_beyond_the_limit_the_oldest_goes_with_what_it_alone_needed(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    allows(bootsvc, 2)
    keeps(bootsvc, V1, V2)
    bootsvc.bench.holds(Area.PRIMARY, V3)
    outcome = bootsvc("restore-point keep")
    assert "removed for it: restore point number 1" in outcome.out
    assert numbers(bootsvc) == [3, 2]
    assert not [name for name in files_in(data) if V1.identity.hex() in name]
    assert all(one["verifies"] for one in listed(bootsvc, "--verify"))


def test_a_damaged_one_goes_before_the_oldest(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    allows(bootsvc, 2)
    keeps(bootsvc, V1, V2)
    (data / f"restore-points/versions/{V2.identity.hex()}.json").write_bytes(b"?")
    keeps(bootsvc, V3)
    assert numbers(bootsvc) == [3, 1]


def test_the_clock_does_not_decide_which_is_the_oldest(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a battery starts in 1970 again."""
    bootsvc.uses_data()
    allows(bootsvc, 2)
    for image, now_s in ((V1, 900), (V2, 500), (V3, 100)):
        monkeypatch.setattr("time.time", lambda now_s=now_s: now_s)
        keeps(bootsvc, image)
    assert numbers(bootsvc) == [3, 2]


def test_however_many_versions_go_by_what_is_kept_does_not_grow(bootsvc: Command) -> None:
    """Of the four new blocks of a version one stays for ever, which keeps no whole pack."""
    data = bootsvc.uses_data()
    image, sizes = V1, []
    for number in range(2, 26):
        blocks = (0, 1, 2, 3 + number % 15)
        changed = {block: 1000 * number + block for block in blocks}
        image = make_image(like(image.content, changed), number=number)
        keeps(bootsvc, image)
        packs = (data / "restore-points/packs").iterdir()
        sizes.append(sum(path.stat().st_size // BLOCK_SIZE for path in packs))
    assert all(one["verifies"] for one in listed(bootsvc, "--verify"))
    assert max(sizes) <= 2 * 26  # twice what three versions hold


class Room:
    """A file system of 1000 blocks, of which so many are free for restore points."""

    def __init__(self, data: Path, blocks: int) -> None:
        self.data = data
        self.blocks = blocks

    def __call__(self, _: object) -> os.statvfs_result:
        used = sum(path.stat().st_size for path in self.data.rglob("*") if path.is_file())
        left = max(100 + self.blocks - used // BLOCK_SIZE, 0)
        return os.statvfs_result((BLOCK_SIZE, BLOCK_SIZE, 1000, left, left, 0, 0, 0, 0, 255))


def stranger(number: int) -> Image:
    """18 blocks that no other image has."""
    changed = {block: 100 * number + block for block in range(18)}
    return make_image(like(V1.content, changed), number=number)


def test_where_room_is_short_the_oldest_go_until_there_is_enough(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", Room(bootsvc.uses_data(), 100))
    keeps(bootsvc, stranger(11), stranger(12), stranger(13))
    monkeypatch.setattr(os, "statvfs", Room(bootsvc.run_dir / "data", 66))
    keeps(bootsvc, stranger(14))
    assert numbers(bootsvc) == [14, 13, 12]


def refused_for_room(bootsvc: Command, image: Image, blocks: int) -> None:
    """Nothing is kept, and nothing goes."""
    data = bootsvc.run_dir / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "statvfs", Room(data, blocks))
        before = files_in(data)
        bootsvc.bench.holds(Area.PRIMARY, image)
        outcome = bootsvc("restore-point keep")
        assert outcome.code == ExitCode.DISK
        assert "no room: 400.0 KiB of this file system stay free" in outcome.err
        assert files_in(data) == before


def test_the_newest_that_verifies_never_goes_for_one_that_is_not_there_yet(
    bootsvc: Command,
) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, stranger(11))
    refused_for_room(bootsvc, stranger(12), 35)
    assert numbers(bootsvc) == [11]


def test_nothing_goes_where_that_would_not_make_room_enough(bootsvc: Command) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, stranger(11), stranger(12))
    large = make_image(stranger(13).content + stranger(14).content, number=13)
    refused_for_room(bootsvc, large, 50)
    assert numbers(bootsvc) == [12, 11]


# --- restore ------------------------------------------------------------------------------------


def test_two_restore_points_back_by_the_ordinary_sequence(bootsvc: Command) -> None:
    """Version 3 runs; 1 and 2 are restore points. Nobody is asked on any network."""
    bootsvc.uses_data()
    keeps(bootsvc, V1, V2, V3)
    bootsvc.bench.holds(Area.BACKUP, V2)
    for wanted in (V2, V1):
        outcome = bootsvc("restore-point restore", str(wanted.number))
        assert outcome.code == ExitCode.OK, outcome.err
        assert bootsvc.bench.status.request is Request.UPDATE
        assert start(bootsvc).is_trial
        bootsvc.handed_over(wanted, transaction=bootsvc.bench.status.transaction)
        assert bootsvc("confirm").code == ExitCode.OK
        assert bootsvc.bench.status.phase is Phase.IDLE
        _, size = bootsvc.bench.place("primary")
        assert bootsvc.bench.content("primary") == wanted.in_area(size)


def test_a_restore_point_that_is_not_confirmed_is_thrown_back(bootsvc: Command) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, V1, V2)
    bootsvc("restore-point restore", V1.identity.hex()[:8])
    for _ in range(3):
        assert start(bootsvc).is_trial
    assert not start(bootsvc).is_trial
    assert bootsvc.bench.status.primary.identity == V2.identity


def test_restoring_is_installing_so_the_floor_holds(bootsvc: Command) -> None:
    """The floor guards installation, not existence: it stays a restore point."""
    bootsvc.uses_data()
    keeps(bootsvc, V1, V2)
    bootsvc.bench.change(lambda status: replace(status, version_floor=2))
    before = bootsvc.bench.digest()
    outcome = bootsvc("restore-point restore", "1")
    assert outcome.code == ExitCode.BELOW_FLOOR
    assert bootsvc.bench.digest() == before
    assert numbers(bootsvc) == [2, 1]


@pytest.mark.parametrize("folder", ["packs", "recipes"])
def test_a_rotten_restore_point_is_refused_before_anything_is_written(
    bootsvc: Command, folder: str
) -> None:
    data = bootsvc.uses_data()
    keeps(bootsvc, V1)
    bootsvc.bench.holds(Area.PRIMARY, V2)
    (path,) = (data / "restore-points" / folder).iterdir()
    path.write_bytes(path.read_bytes()[:20] + b"?!" + path.read_bytes()[22:])
    before = bootsvc.bench.digest()
    assert bootsvc("restore-point restore", "1").code not in (ExitCode.OK, ExitCode.PHASE)
    assert bootsvc.bench.digest() == before


def test_what_is_restored_does_not_go_for_what_is_kept_before(bootsvc: Command) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, V1)
    bootsvc.bench.holds(Area.BACKUP, V2)
    bootsvc.bench.holds(Area.PRIMARY, V3)
    allows(bootsvc, 1)
    assert bootsvc("restore-point restore", "1").code == ExitCode.OK
    assert numbers(bootsvc) == [2, 1]
    assert bootsvc.bench.status.staging.identity == V1.identity


# --- boot-once ----------------------------------------------------------------------------------


def test_a_restore_point_is_started_once_and_nothing_of_it_is_installed(bootsvc: Command) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, V1, V2)
    areas = [bootsvc.bench.content(area) for area in ("primary", "backup")]
    outcome = bootsvc("restore-point boot-once", "1")
    assert outcome.code == ExitCode.OK, outcome.err
    assert "the one after it primary again" in outcome.out
    assert start(bootsvc) == Boot(Area.STAGING)
    assert start(bootsvc) == Boot(Area.PRIMARY)
    assert [bootsvc.bench.content(area) for area in ("primary", "backup")] == areas
    assert numbers(bootsvc) == [2, 1]


@pytest.mark.parametrize("command", ["stage", "restore", "boot-once"])
def test_a_system_that_runs_from_staging_is_not_overwritten(bootsvc: Command, command: str) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, V1, V2)
    bootsvc("restore-point boot-once", "1")
    start(bootsvc)
    bootsvc.handed_over(V1, Area.STAGING, is_trial=False)
    before = bootsvc.bench.digest()
    if command == "stage":
        outcome = bootsvc("stage", bootsvc.file(V3))
    else:
        outcome = bootsvc(f"restore-point {command}", "1")
    assert outcome.code == ExitCode.PHASE
    assert "this system runs from staging" in outcome.err
    assert bootsvc.bench.digest() == before


def test_what_may_not_be_started_once_is_refused_before_anything_is_written(
    bootsvc: Command,
) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, V1, V2)
    for change, version, code in (
        ({"failed": (V1.identity,)}, "1", ExitCode.FAILED_BEFORE),
        ({"failed": (), "version_floor": 2}, "1", ExitCode.BELOW_FLOOR),
        ({"version_floor": 1}, "2", ExitCode.PHASE),
    ):
        bootsvc.bench.change(partial(replace, **change))
        before = bootsvc.bench.digest()
        assert bootsvc("restore-point boot-once", version).code == code
        assert bootsvc.bench.digest() == before


def test_a_version_that_is_no_restore_point_is_named(bootsvc: Command) -> None:
    bootsvc.uses_data()
    keeps(bootsvc, V2)
    outcome = bootsvc("restore-point restore", "9")
    assert outcome.code == ExitCode.NO_UPDATE
    assert "there is no restore point 9" in outcome.err


# --- remove -------------------------------------------------------------------------------------


def test_removing_shows_what_goes_and_how_much_room_that_makes(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    keeps(bootsvc, V1, V2)
    before = files_in(data)
    outcome = bootsvc("restore-point remove", "2")
    assert outcome.out.startswith("number 2, label 2.0, ")
    assert "nothing was: say --yes" in outcome.out
    assert files_in(data) == before
    assert bootsvc("restore-point remove", "2", "--yes").code == ExitCode.OK
    assert numbers(bootsvc) == [1]
    assert all(one["verifies"] for one in listed(bootsvc, "--verify"))
    bootsvc("restore-point remove", "1", "--yes")
    assert files_in(data) == set()


def test_a_damaged_one_can_be_removed_and_then_its_files_go(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    keeps(bootsvc, V1)
    (data / f"restore-points/versions/{V1.identity.hex()}.json").write_bytes(b"?")
    assert "DAMAGED" in bootsvc("restore-point list").out
    bootsvc("restore-point remove", V1.identity.hex()[:12], "--yes")
    assert files_in(data) == set()


# --- image files of an earlier bootsvc ----------------------------------------------------------


def put_image_file(data: Path, image: Image) -> Path:
    path = data / "restore-points" / f"{image.identity.hex()}.bimg"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(image.as_file())
    return path


def test_an_image_file_is_listed_restored_and_removed(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    path = put_image_file(data, V1)
    assert listed(bootsvc, "--verify")[0]["verifies"] is True
    assert bootsvc("restore-point restore", "1").code == ExitCode.OK
    assert bootsvc.bench.status.staging.identity == V1.identity
    keeps(bootsvc, V2)
    assert numbers(bootsvc) == [2, 1]
    assert str(path) in bootsvc("restore-point remove", "1", "--yes").out
    assert not path.exists()
    assert only_point(data).number == 2


def test_an_image_file_is_the_oldest(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    path = put_image_file(data, V1)
    allows(bootsvc, 2)
    keeps(bootsvc, V2, V3)
    assert numbers(bootsvc) == [3, 2]
    assert not path.exists()


# --- before an update ---------------------------------------------------------------------------


def test_what_an_update_will_overwrite_in_backup_is_kept_first(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    outcome = bootsvc("stage", bootsvc.file(V3))
    assert outcome.code == ExitCode.OK
    point = only_point(data)
    assert (point.identity, point.why) == (V1.identity, "before update")
    assert content_of(data, point) == V1.as_file()


def test_it_is_not_kept_where_that_is_switched_off_or_nothing_is_asked(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc("stage", bootsvc.file(V3), "--no-request")
    with bootsvc.settings.open("a") as file:
        file.write("keep_before_update = false\n")
    bootsvc("stage", bootsvc.file(V3))
    assert files_in(data) == set()


def test_an_update_back_to_the_image_in_backup_loses_nothing(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc("stage", bootsvc.file(V1))
    assert files_in(data) == set()


def test_trouble_with_it_never_stops_the_update(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.write(bootsvc.bench.place("backup")[0] + 5000, b"?!")
    outcome = bootsvc("stage", bootsvc.file(V3))
    assert outcome.code == ExitCode.OK
    assert "the image in backup is not kept, the update goes on" in outcome.err
    assert files_in(data) == set()


def test_a_backup_that_the_record_calls_bad_is_not_even_read(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.change(
        lambda status: replace(status, backup=replace(status.backup, state=AreaState.BAD))
    )
    outcome = bootsvc("stage", bootsvc.file(V3))
    assert outcome.code == ExitCode.OK
    assert "not kept" not in outcome.err
    assert files_in(data) == set()


def test_three_updates_leave_what_can_be_gone_back_to_two_steps(bootsvc: Command) -> None:
    bootsvc.uses_data()
    for image in VERSIONS[2:5]:
        assert bootsvc("stage", bootsvc.file(image)).code == ExitCode.OK
        assert start(bootsvc).is_trial
        bootsvc.handed_over(image, transaction=bootsvc.bench.status.transaction)
        assert bootsvc("confirm").code == ExitCode.OK
    status = bootsvc.bench.status
    assert (status.primary.number, status.backup.number) == (5, 4)
    assert numbers(bootsvc) == [3, 2, 1]
