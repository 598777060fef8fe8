"""Soak without machines: stories can be repeated and cover everything, and the judge can fail."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace

import pytest

from bootsvc.formats.boot_status import Reason
from qemu_lab.recorded.oracle import Approved, Oracle
from qemu_lab.soak import oracle
from qemu_lab.soak.images import CATALOGUE, FIRST, FORMER, STRANGER, Behaviour
from qemu_lab.soak.life import START_S
from qemu_lab.soak.oracle import Finding, HandOver
from qemu_lab.soak.plan import (
    FULL_CHAIN_EVERY,
    MOST_CUTS,
    At,
    Cut,
    Idle,
    Means,
    Rollback,
    Spoil,
    Update,
    story,
)
from qemu_lab.soak.results import ChapterResult, CutResult, Results, RunResult
from qemu_lab.soak.world import Asked, End, Outcome, World, ends, observed
from qemu_lab.subject import COPY_OFFSETS, PHASES, Record, decode_record

TOLD = 1000
STORIES = [story(1, run) for run in range(TOLD)]
CHAPTERS = [chapter for one in STORIES for chapter in one.chapters]

# --- a disk by hand -------------------------------------------------------------------------------

AREA = 8192
STATUS = range(COPY_OFFSETS[-1] + 4096)
AREAS = {
    number: range(STATUS.stop + (number - 1) * AREA, STATUS.stop + number * AREA)
    for number in (1, 2, 3)
}
APPROVED = tuple(
    Approved(number, bytes([number]) * 1000, bytes([number + 100]) * 500, ())
    for number in (1, 2, 3)
)
ORACLE = Oracle(STATUS, AREAS, APPROVED)


def area(number: int) -> bytes:
    image = APPROVED[number - 1]
    return image.content + bytes(AREA - len(image.content) - len(image.footer)) + image.footer


def sector(
    *,
    code: int = 1,
    phase: str = "idle",
    boot: int = 1,
    request: int = 0,
    sequence: int = 5,
    tries: int = 0,
    numbers: tuple[int, int] = (2, 1),
    floor: int = 0,
    reason: int = 0,
) -> bytes:
    data = bytearray(508)
    data[:8] = b"BOOTSVC\0"
    places = (code, PHASES.index(phase), boot, request, sequence, tries)
    struct.pack_into("<4BQB", data, 12, *places)
    struct.pack_into("<Q", data, 64, floor)
    struct.pack_into("<Q", data, 128, numbers[0])
    struct.pack_into("<Q", data, 184, numbers[1])
    data[281] = reason
    return bytes(data) + struct.pack("<I", zlib.crc32(data))


def disk(primary: bytes, backup: bytes, status: bytes = b"") -> bytes:
    made = bytearray(AREAS[3].stop)
    for at in COPY_OFFSETS:
        made[at : at + 512] = status or sector()
    made[AREAS[1].start : AREAS[1].stop] = primary
    made[AREAS[2].start : AREAS[2].stop] = backup
    return bytes(made)


def settled_end(runs: int = 2, backup: int = 1) -> tuple[End, ...]:
    return (End(Outcome.STAYED, World(runs, backup)),)


def clauses(findings: object) -> list[str]:
    assert not isinstance(findings, str)
    return [one.clause for one in findings]  # type: ignore[attr-defined]


def record(**fields: object) -> Record:
    return decode_record([sector(**fields)] * 2)  # type: ignore[arg-type]


# --- stories --------------------------------------------------------------------------------------


def test_a_story_is_the_same_whenever_it_is_told() -> None:
    assert [story(1, run) for run in range(TOLD)] == STORIES


def test_another_seed_or_another_run_tells_another_story() -> None:
    assert len({replace(one, seed=0, run=0) for one in STORIES}) > 0.95 * TOLD
    assert story(2, 0).chapters != story(1, 0).chapters


def test_one_story_stays_what_it_was_in_every_version() -> None:
    """A line that repeats a run is worth nothing once the same numbers mean something else."""
    assert [str(chapter) for chapter in story(1, 1).chapters] == [
        "update to 12 (good) from outside; cuts: power OS up+0.014",
        "rollback; cuts: power rollback+0.051, power verify+0.041, reset hand-over+0.483",
    ]


def test_every_image_and_every_way_to_spoil_one_is_in_some_story() -> None:
    updates = [chapter for chapter in CHAPTERS if isinstance(chapter, Update)]
    assert {one.image for one in updates} == set(CATALOGUE) - {FIRST}
    assert {one.spoil for one in updates} == set(Spoil)
    assert {one.inside for one in updates} == {one.is_patient for one in updates} == {True, False}
    assert {CATALOGUE[one.image].behaviour for one in updates} == set(Behaviour)


def test_stories_hold_updates_rollbacks_and_machines_of_which_nothing_is_asked() -> None:
    assert {type(chapter) for chapter in CHAPTERS} == {Update, Rollback, Idle}
    assert {one.tries for one in STORIES} == {1, 2, 3}


def test_there_are_cuts_at_every_place_by_both_means() -> None:
    cuts = [cut for chapter in CHAPTERS for cut in chapter.cuts]
    assert {(cut.at, cut.means) for cut in cuts} == {(at, means) for at in At for means in Means}
    assert {len(chapter.cuts) for chapter in CHAPTERS} == set(range(1, MOST_CUTS + 1))
    assert all(0 <= cut.delay < 2 for cut in cuts)


def test_only_the_first_cut_can_be_one_of_the_operators_command() -> None:
    later = [cut.at for chapter in CHAPTERS for cut in chapter.cuts[1:]]
    assert At.COMMAND not in later


def test_one_run_in_ten_goes_through_the_boot_loader() -> None:
    assert sum(one.full_chain for one in STORIES) == len(STORIES) // FULL_CHAIN_EVERY


# --- what must come of it -------------------------------------------------------------------------

REQUESTED = Asked(is_requested=True)


def update(image: int, spoil: Spoil = Spoil.NONE) -> Update:
    return Update(image, False, spoil, True, ())


def test_a_good_image_must_be_the_end_of_its_update() -> None:
    (end,) = ends(update(4), REQUESTED, World())
    assert end == End(Outcome.UPDATED, World(runs=4, backup=FIRST, floor=2))


def test_a_good_image_may_fall_back_only_once_its_last_try_was_taken() -> None:
    not_yet = observed(REQUESTED, record(phase="trial", code=3, tries=1))
    assert len(ends(update(3), not_yet, World())) == 1
    used_up = observed(not_yet, record(phase="trial", code=2, tries=0))
    found = ends(update(3), observed(used_up, record()), World())
    assert [end.outcome for end in found] == [Outcome.UPDATED, Outcome.FELL_BACK]


def test_a_bad_image_must_fall_back_and_is_known_as_failed() -> None:
    (end,) = ends(update(7), REQUESTED, World())
    assert end == End(Outcome.FELL_BACK, World(FIRST, FIRST, failed=frozenset({7})))
    assert end.world.refusal(7) == "failed before"


@pytest.mark.parametrize("spoil", [one for one in Spoil if one is not Spoil.NONE])
def test_a_spoiled_image_must_be_refused_and_nothing_replaced(spoil: Spoil) -> None:
    assert ends(update(3, spoil), REQUESTED, World()) == (End(Outcome.REFUSED, World()),)


def test_what_was_never_asked_for_must_not_happen() -> None:
    for chapter in (update(3), Rollback(()), Idle(())):
        assert ends(chapter, Asked(), World()) == (End(Outcome.STAYED, World()),)


def test_a_rollback_must_bring_the_former_image_back() -> None:
    (end,) = ends(Rollback(()), REQUESTED, World())
    assert end == End(Outcome.ROLLED_BACK, World(FORMER, FORMER))
    assert end.world.rollback_refusal()


def test_the_command_must_refuse_what_may_not_be_installed() -> None:
    world = World(runs=5, backup=3, floor=4)
    assert [world.refusal(image) for image in (STRANGER, 3, 5, 6)] == [
        "signature",
        "below the floor",
        "runs already",
        "",
    ]


# --- the judge can fail ---------------------------------------------------------------------------


def test_a_settled_disk_is_right() -> None:
    made = disk(area(2), area(1))
    assert not list(oracle.record_finding(ORACLE, made))
    assert not list(oracle.settled_findings(ORACLE, made, settled_end()))
    start = HandOver("primary", 2, is_trial=False)
    assert not list(oracle.hand_over_findings(ORACLE, made, start, World(2, 1), None))


@pytest.mark.parametrize("at", [0, 999, AREA - 500, AREA - 1])
def test_one_changed_byte_of_a_running_image_is_found(at: int) -> None:
    changed = bytearray(area(2))
    changed[at] ^= 1
    made = disk(bytes(changed), area(1))
    start = HandOver("primary", 2, is_trial=False)
    found = oracle.hand_over_findings(ORACLE, made, start, World(2, 1), None)
    assert clauses(found) == ["boots_whole_image"]
    assert clauses(oracle.record_finding(ORACLE, made)) == ["record_names_whole_image"]


def test_an_image_that_runs_under_the_number_of_another_is_found() -> None:
    start = HandOver("primary", 3, is_trial=True)
    found = oracle.hand_over_findings(ORACLE, disk(area(2), area(1)), start, World(2, 1), 3)
    assert clauses(found) == ["boots_whole_image"]


def test_a_disk_without_a_record_is_found() -> None:
    made = disk(area(2), area(1), status=bytes(512))
    assert clauses(oracle.record_finding(ORACLE, made)) == ["record_names_whole_image"]
    found = oracle.settled_findings(ORACLE, made, settled_end())
    assert clauses(found) == ["record_is_there"]


def test_a_failed_image_that_comes_back_is_found() -> None:
    world = World(2, 1, failed=frozenset({3}))
    start = HandOver("primary", 3, is_trial=True)
    found = oracle.hand_over_findings(ORACLE, disk(area(3), area(1)), start, world, None)
    assert clauses(found).count("does_not_return") == 2
    assert "only_the_new_on_trial" in clauses(
        oracle.hand_over_findings(ORACLE, disk(area(3), area(1)), start, world, None)
    )


def test_a_new_image_that_is_started_as_proven_is_found() -> None:
    start = HandOver("primary", 3, is_trial=False)
    found = oracle.proof_findings(start, 3, is_proven=False)
    assert clauses(found) == ["unproven_only_on_trial"]
    assert not list(oracle.proof_findings(start, 3, is_proven=True))


def test_a_floor_and_a_sequence_that_sink_are_found() -> None:
    before = record(floor=4, sequence=9)
    found = oracle.progress_findings(before, record(floor=3, sequence=8))
    assert clauses(found) == ["floor_never_sinks", "sequence_never_goes_back"]
    assert not list(oracle.progress_findings(before, before))


@pytest.mark.parametrize(
    ("primary", "backup"), [(area(1), area(1)), (area(3), area(2)), (area(2), bytes(AREA))]
)
def test_another_end_than_a_right_one_is_found(primary: bytes, backup: bytes) -> None:
    made = disk(primary, backup)
    assert clauses(oracle.settled_findings(ORACLE, made, settled_end())) == ["right_end"]
    assert oracle.end_of(ORACLE, made, settled_end()) is None


@pytest.mark.parametrize(
    "status",
    [sector(request=1), sector(phase="trial", code=3), sector(phase="degraded", code=2, boot=2)],
)
def test_a_machine_that_is_not_settled_is_found(status: bytes) -> None:
    made = disk(area(2), area(1), status)
    assert clauses(oracle.settled_findings(ORACLE, made, settled_end())) == ["settles"]


def test_the_reason_of_a_failure_is_read_from_the_disk() -> None:
    assert oracle.reason_of(record(reason=int(Reason.NOT_CONFIRMED))) == "not confirmed"
    assert oracle.reason_of(record(reason=250)) == "reason 250"


# --- the table ------------------------------------------------------------------------------------

CUT = Cut(At.COPY, 0.1, Means.POWER)
RIGHT = RunResult(
    story=STORIES[9],
    chapters=(
        ChapterResult("update to 3", Outcome.UPDATED, "", (CutResult(CUT, "copy"),)),
        ChapterResult("update to 7", Outcome.FELL_BACK, "restarted", (CutResult(CUT, ""),)),
    ),
    findings=(),
    is_bricked=False,
    fault="",
    starts=5,
    helped=0,
    seconds=30.0,
)
WRONG = replace(
    RIGHT, story=STORIES[1], findings=(Finding("settles", "never up\nmore"),), is_bricked=True
)
FAULT = replace(RIGHT, story=STORIES[2], chapters=(), fault="no QEMU here", seconds=START_S)


def test_the_table_counts_outcomes_reasons_cuts_and_seconds() -> None:
    results = Results(1, [RIGHT])
    table = dict(results.totals())
    assert results.is_right
    assert table["runs"] == "1; 1 by boot loader"
    assert (table["survivors"], table["bricked"], table["findings"]) == ("1", "0", "none")
    assert table["outcomes"] == "updated 1, fell back 1"
    assert table["fell back"] == "1: restarted 1"
    assert table["cuts"] == "1; 1 more had no time to come"
    assert table["cuts by stage"] == "copy 1"
    assert "FAILED" not in results.table()


def test_the_table_names_what_failed_and_tells_the_machine_from_the_lab() -> None:
    results = Results(1, [RIGHT, WRONG, FAULT])
    table = dict(results.totals())
    assert not results.is_right
    assert (table["survivors"], table["bricked"], table["lab failed"]) == ("1", "1", "1")
    assert "FAILED  1/1: settles: never up" in results.table()
    assert "FAILED  1/2: lab: no QEMU here" in results.table()


def test_no_run_at_all_proves_nothing() -> None:
    assert not Results(1, []).is_right


def test_the_document_is_plain_json_and_holds_every_cut_as_planned() -> None:
    document = json.loads(json.dumps(Results(1, [RIGHT, WRONG]).document()))
    assert document["schema"] == 1
    assert document["runs"][0]["chapters"][0]["cuts"] == [{"planned": str(CUT), "hit": "copy"}]
    assert document["runs"][1]["findings"] == [{"clause": "settles", "text": "never up\nmore"}]
