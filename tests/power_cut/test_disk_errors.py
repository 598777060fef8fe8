"""A spread sample of failing disks, and what makes its result believable."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootsvc.errors import DeviceError
from bootsvc.formats.boot_status import Area as DiskArea
from bootsvc.formats.boot_status import AreaRecord, AreaState, BootStatus, Phase, StatusCode
from bootsvc.formats.failed_list import NAME, build, parse
from bootsvc.os_side.failed_images import remember
from bootsvc.sequence import decide, records, runner, trials
from bootsvc.sequence.states import Observation
from bootsvc.storage.disk import disk_on
from bootsvc.storage.status_store import StatusStore
from tests.os_side.forgetful import ForgetfulFolder
from tests.power_cut import (
    disk_errors,
    error_cases,
    error_walk,
    failing_start,
    fall_backs,
    world,
)
from tests.power_cut.disk import Base, Snapshot, WasRead
from tests.power_cut.disk_errors import case_of, main, repeat, run_disk_errors
from tests.power_cut.error_cases import Case, cases_of, cast_of
from tests.power_cut.error_results import OUTCOMES, DiskErrorResults, ScenarioErrors
from tests.power_cut.error_walk import ErrorWalk
from tests.power_cut.failing_disk import (
    FLUSH_KINDS,
    KINDS,
    READ_KINDS,
    WRITE_KINDS,
    FailingDisk,
    Fault,
    faults_of,
)
from tests.power_cut.fall_backs import FALL_BACKS, Place, fall_back_of, in_words
from tests.power_cut.scenarios import BY_NAME, PARTS, SCENARIOS, UPDATE, Scenario

SECTOR = 512


@pytest.fixture(scope="module")
def sample() -> DiskErrorResults:
    return run_disk_errors(1, sample=True)


# --- the sample ----------------------------------------------------------------------------------


def test_no_fault_of_a_spread_sample_breaks_a_promise(sample: DiskErrorResults) -> None:
    assert [one for scenario in sample.scenarios for one in scenario.violations] == []
    assert sample.holds
    assert sum(sample.count(kind, "bricked") for kind in KINDS) == 0


def test_faults_of_every_kind_were_tried_in_every_scenario(sample: DiskErrorResults) -> None:
    assert sample.never_fired == ()
    assert [one.name for one in sample.scenarios] == [one.name for one in SCENARIOS]
    for one in sample.scenarios:
        assert sum(one.faults.values()) >= 3
        assert one.starts > sum(one.faults.values()), "nothing was started after a fault"
    for kind in KINDS:
        assert sample.count(kind) == sum(sample.count(kind, outcome) for outcome in OUTCOMES)


def test_faults_are_not_without_effect(sample: DiskErrorResults) -> None:
    """A write that is lost is noticed and made again, as is one that a disk refused for a while."""
    without = {kind for kind in KINDS if not sample.count(kind, "fell_back")}
    assert without <= {"lost-write", "read-only"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_operation_of_each_start_has_its_faults(scenario: Scenario) -> None:
    cases = list(cases_of(scenario))
    expected = {"IDLE"} if not scenario.copies else {"IDLE", *_phases_of(scenario)}
    assert {case.place.phase for case in cases} >= expected
    counts = Counter((case.index, case.fault.at) for case in cases)
    assert set(counts.values()) <= {
        len(FLUSH_KINDS), len(WRITE_KINDS), len(READ_KINDS), len(READ_KINDS) - 2
    }  # fmt: skip
    assert any(case.place.by_os for case in cases)
    assert len({case.label(scenario) for case in cases}) == len(cases)


def _phases_of(scenario: Scenario) -> set[str]:
    rot = "ROT" if scenario.name.startswith("rot") else "ROLLBACK"
    restore = "RESTORE" if "RESTORE" in scenario.carries else rot
    names = {"backup": "BACKUP", "copy": "COPY", "restore": restore}
    if scenario.is_first:
        names["copy"] = "INSTALL"
    if scenario.name == "rot-from-staging":
        names["copy"] = "ROT"
    return {names[copy] for copy in scenario.copies if copy in names}


# --- the disk that fails -------------------------------------------------------------------------


def disk_with(kind: str, at: int = 0, length: int = 2 * SECTOR) -> FailingDisk:
    content = Snapshot(Base(bytes(8 * 4096)))
    return FailingDisk(content, SECTOR, Fault(kind, at, 0, length))


@pytest.mark.parametrize(
    ("kind", "later", "after_a_write"),
    [("read-error", True, True), ("weak-sector", False, True), ("bad-sector", False, False)],
)
def test_a_read_fails_once_until_it_is_written_or_for_ever(
    kind: str, later: bool, after_a_write: bool
) -> None:
    disk = disk_with(kind)

    def can_be_read() -> bool:
        try:
            return disk.read_at(0, 2 * SECTOR) == bytes(2 * SECTOR)
        except DeviceError:
            return False

    assert not can_be_read()
    assert can_be_read() is later
    assert disk.read_at(4 * SECTOR, SECTOR) == bytes(SECTOR)
    disk.write_at(0, bytes(2 * SECTOR))
    assert can_be_read() is after_a_write


@pytest.mark.parametrize(("kind", "later"), [("flipped-read", 0), ("flipped-medium", 1)])
def test_a_bit_flips_on_the_way_or_on_the_medium(kind: str, later: int) -> None:
    disk = disk_with(kind)
    assert sum(disk.read_at(0, 2 * SECTOR)) == 1
    assert sum(disk.read_at(0, 2 * SECTOR)) == later
    assert (disk.flip is not None) is bool(later)


@pytest.mark.parametrize(
    ("kind", "number", "arrives", "later"),
    [
        ("write-error", errno.EIO, SECTOR, True),
        ("dead-sector", errno.EIO, 0, False),
        ("read-only", errno.EROFS, 0, False),
        ("lost-write", 0, 0, True),
    ],
)
def test_a_write_fails_aloud_or_in_silence(
    kind: str, number: int, arrives: int, later: bool
) -> None:
    disk = disk_with(kind)
    met = 0
    try:
        disk.write_at(0, b"n" * 2 * SECTOR)
    except DeviceError as exc:
        met = exc.errno
    assert met == number
    assert disk.content.read(0, 2 * SECTOR) == (b"n" * arrives).ljust(2 * SECTOR, b"\0")
    with suppress(DeviceError):
        disk.write_at(0, b"n" * 2 * SECTOR)
    assert (disk.content.read(0, 2 * SECTOR) == b"n" * 2 * SECTOR) is later


def test_a_flush_fails_once() -> None:
    disk = disk_with("flush-error", at=1, length=0)
    disk.write_at(0, bytes(SECTOR))
    with pytest.raises(DeviceError):
        disk.flush()
    disk.flush()


def test_the_fault_waits_for_its_operation() -> None:
    disk = disk_with("read-error", at=2)
    disk.read_at(0, SECTOR)
    disk.write_at(0, bytes(SECTOR))
    with pytest.raises(DeviceError):
        disk.read_at(0, SECTOR)
    assert disk.has_fired


@pytest.mark.parametrize("kind", READ_KINDS)
def test_a_partition_table_that_cannot_be_read_is_read_from_its_spare(kind: str) -> None:
    content = Snapshot(UPDATE.base)
    sound = FailingDisk(content, SECTOR)
    layout = disk_on(sound).gpt.layout_hash()
    faults = [fault for fault in faults_of(tuple(sound.log)) if fault.kind == kind]
    assert len(faults) == len([one for one in sound.log if isinstance(one, WasRead)]) >= 2
    for fault in faults:
        gpt = disk_on(FailingDisk(content, SECTOR, fault)).gpt
        assert gpt.is_spare
        assert gpt.layout_hash() == layout


# --- the judge can find something ----------------------------------------------------------------


def fault_at(name: str, kind: str, place: Place, nth: int = 0) -> Case:
    """The ``nth`` fault of this kind at this place."""
    found = (one for one in cases_of(BY_NAME[name]) if one.fault.kind == kind)
    return [one for one in found if one.place == place][nth]


def broken_by(name: str, case: Case) -> set[str]:
    walk = ErrorWalk(BY_NAME[name])
    walk.outcome_of(case)
    return {one.clause for one in walk.violations}


def no_read_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner, "verify_copy", lambda *_: None)


def no_error_number(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runner, "errno_of", lambda _: 0)


def halts_where_nothing_can_be_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "CANNOT_WRITE", decide.CANNOT_WRITE[-1:])


def loads_unchecked(patch: pytest.MonkeyPatch) -> None:
    load = failing_start._load_error

    def unchecked(*what: Any) -> None:
        load(*what)

    patch.setattr(failing_start, "_load_error", unchecked)
    patch.setattr(world, "_kernel_is_altered", lambda *_: False)


def marks_for_every_reason(patch: pytest.MonkeyPatch) -> None:
    def with_image_failed(seen: Observation, _: object) -> BootStatus:
        status = records.of(seen)
        return status.with_failed(status.primary.identity)

    patch.setattr(trials, "_with_image_failed", with_image_failed)


def starts_a_try_that_is_not_recorded(patch: pytest.MonkeyPatch) -> None:
    def cannot_write(self: runner.Runner, _: object) -> None:
        self.seen = replace(self.seen, has_try=True)

    patch.setattr(runner.Runner, "_cannot_write", cannot_write)


def repairs_what_is_whole(patch: pytest.MonkeyPatch) -> None:
    def repair(self: StatusStore, status: BootStatus) -> bool:
        self.replace(replace(status, sequence=status.sequence - 1))
        return True

    patch.setattr(StatusStore, "repair", repair)


MISTAKES: list[tuple[Callable[[pytest.MonkeyPatch], None], str, Place, str]] = [
    (no_read_back, "lost-write", Place("COPY", "primary"), "record_names_whole_image"),
    (no_read_back, "lost-write", Place("COPY", "primary"), "boots_whole_image"),
    (no_error_number, "read-error", Place("IDLE", "staging"), "names_the_reason"),
    (halts_where_nothing_can_be_written, "read-only", Place("IDLE", "status"),
     "halts_only_without_image"),
    (marks_for_every_reason, "bad-sector", Place("TRIAL", "primary"), "io_error_marks_no_image"),
    (starts_a_try_that_is_not_recorded, "read-only", Place("TRIAL", "status"),
     "unproven_only_on_trial"),
    (repairs_what_is_whole, "read-error", Place("IDLE", "status"), "healthy_start_writes_nothing"),
    (repairs_what_is_whole, "read-error", Place("IDLE", "status"), "settles"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mistake", "kind", "place", "clause"),
    MISTAKES,
    ids=[f"{mistake.__name__}-{clause}" for mistake, _, _, clause in MISTAKES],
)
def test_a_mistake_in_the_product_is_found_where_the_disk_fails(
    monkeypatch: pytest.MonkeyPatch,
    mistake: Callable[[pytest.MonkeyPatch], None],
    kind: str,
    place: Place,
    clause: str,
) -> None:
    assert broken_by("update", fault_at("update", kind, place)) == set()
    mistake(monkeypatch)
    assert clause in broken_by("update", fault_at("update", kind, place))


def test_an_image_that_was_given_up_is_owed_no_more_and_another_one_still_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first block, written anew, makes the rotten image whole by chance."""
    name = "install-without-backup"
    case = fault_at(name, "read-error", Place("INSTALL", "staging"), nth=1)
    assert broken_by(name, case) == set()
    monkeypatch.setattr(error_walk, "given_up_in", lambda _: frozenset())
    assert broken_by(name, case) == {"halts_only_without_image"}


def test_what_is_not_verified_is_found_where_nothing_is_left_to_fall_back_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "install-over-nothing"
    case = fault_at(name, "lost-write", Place("INSTALL", "primary"), nth=1)
    assert broken_by(name, case) == set()
    no_read_back(monkeypatch)
    assert {"record_names_whole_image", "boots_whole_image"} <= broken_by(name, case)


def test_a_bit_that_flips_to_what_is_written_there_is_no_damage() -> None:
    """Primary and backup begin with one altered bit each; the copy puts it right."""
    name = "install-without-backup"
    healed = Fault("flipped-medium", 0, PARTS["primary"].start, 1)
    damage = Fault("flipped-medium", 0, PARTS["primary"].start + 1, 1)
    start = next(cases_of(BY_NAME[name])).sound
    assert error_cases.is_no_damage(start, healed)
    assert not error_cases.is_no_damage(start, damage)


def test_a_kernel_that_is_loaded_unchecked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = fault_at("update", "flipped-medium", Place("IDLE", "primary"), nth=4)
    assert broken_by("update", case) == set()
    loads_unchecked(monkeypatch)
    assert "loads_only_what_is_whole" in broken_by("update", case)


def test_an_end_that_no_row_documents_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = fault_at("update", "read-error", Place("IDLE", "staging"))
    monkeypatch.setattr(fall_backs, "FALL_BACKS", ())
    walk = ErrorWalk(UPDATE)
    assert walk.outcome_of(case) == "bricked"
    assert [one.clause for one in walk.violations] == ["ends_as_documented"]


# --- the documented fall-backs -------------------------------------------------------------------


def test_a_fall_back_belongs_to_its_phase_unless_the_fault_stays() -> None:
    end = "IDLE old - VALID"
    backup, copy = Place("BACKUP", "backup"), Place("COPY", "backup")
    assert fall_back_of("read-error", backup, end)
    assert not fall_back_of("read-error", copy, end)
    assert fall_back_of("bad-sector", copy, end)
    assert not fall_back_of("bad-sector", Place("COPY", "staging"), end)


def test_a_machine_with_a_whole_image_may_halt_only_after_a_flipped_bit() -> None:
    rotten = Place("ROT", "backup")
    for kind in KINDS:
        allowed = fall_back_of(kind, rotten, "DEGRADED - older EMPTY halts") is not None
        assert allowed is (kind == "flipped-medium")


def test_no_row_lets_a_fault_of_the_record_cost_anything() -> None:
    assert not any("status" in row.areas for row in FALL_BACKS)


def test_ends_are_told_by_their_part_in_the_story() -> None:
    cast = cast_of(UPDATE)
    assert cast == {"v3": "new", "v2": "old", "v1": "older"}
    assert in_words(UPDATE.end, cast) == "IDLE new old EMPTY"
    damaged = replace(UPDATE.end, primary="v3 CONFIRMED, holds ?", starts=False)
    assert in_words(damaged, cast) == "IDLE v3, CONFIRMED, holds ? old EMPTY halts"


# --- results, labels and the command line ---------------------------------------------------------


def test_a_run_that_tried_no_fault_of_a_kind_does_not_hold() -> None:
    one = ScenarioErrors("update", 1, {"read-error": 1}, {"read-error": {"went_on": 1}},
                         {}, 2, (), 0, 0.1)  # fmt: skip
    results = DiskErrorResults((one,), 1, False, 0.1)
    assert not results.holds
    assert "lost-write" in results.never_fired
    assert "no fault of kind lost-write was tried" in disk_errors.text(results)


def test_a_label_repeats_its_fault_start_by_start() -> None:
    case = fault_at("update", "read-error", Place("IDLE", "staging"))
    label = case.label(UPDATE)
    assert case_of(label)[1].fault == case.fault
    shown, holds = repeat(label)
    assert holds
    assert "Input/output error" in shown
    assert "outcome: fell_back" in shown


def test_a_label_that_names_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("no-such-scenario/0:read-error@0", "update/0:read-error@9999"):
        assert main(["--repeat", label]) == 2
        assert label in capsys.readouterr().err


def test_the_command_shows_a_table_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "repair-stale-copy", "--jobs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "every promise was kept: 120 faults" in shown
    for kind in KINDS:
        assert f"\n{kind} " in shown


# --- data ----------------------------------------------------------------------------------------

GOOD, BAD, OLDER = (bytes([letter]) * 32 for letter in b"GBO")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=os.strerror)
def test_an_error_at_any_step_leaves_the_old_list_of_failed_images_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Restore points have the same: ``tests/cli/test_rollback.py``."""
    record = BootStatus(
        StatusCode.WORKING,
        Phase.IDLE,
        DiskArea.PRIMARY,
        primary=AreaRecord(AreaState.CONFIRMED, 4096, 1, GOOD),
        failed=(BAD,),
    )
    steps = 0
    while True:
        (tmp_path / NAME).write_bytes(build([OLDER]))
        failure = OSError(number, os.strerror(number))
        watched = ForgetfulFolder(tmp_path, stop_at=steps, stop=failure)
        is_told = False
        with monkeypatch.context() as patch:
            watched.install(patch)
            try:
                remember(tmp_path, record)
            except OSError as exc:
                is_told = exc.errno == number
        if watched.stop_at == steps:
            break
        assert is_told, f"nobody hears of step {steps}"
        assert parse((tmp_path / NAME).read_bytes()) in ((OLDER,), (BAD, OLDER))
        remember(tmp_path, record)
        assert parse((tmp_path / NAME).read_bytes()) == (BAD, OLDER)
        steps += 1
    assert steps == 5
