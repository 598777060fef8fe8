"""Judging a recorded update: shown on an update of a machine without hardware, and on broken ones.

The log and the trace are made from what the updater does on a disk in memory; then flushes and
reads are taken out, and writes moved: what is lost must be found, by its own clause.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootsvc.formats.boot_status import Area
from bootsvc.image.kernel_notes import kernel_build_id
from qemu_lab.errors import WriteLogError
from qemu_lab.recorded.boots import Booted
from qemu_lab.recorded.cuts import Cut, DiskKeys, flush_cuts, subset_cuts
from qemu_lab.recorded.images import elf_with_build_id
from qemu_lab.recorded.judge import Judge, Outcome, Verdict
from qemu_lab.recorded.oracle import Approved, Oracle
from qemu_lab.recorded.order import Order, check_order
from qemu_lab.recorded.replaying import Judged, spread
from qemu_lab.recorded.results import Results
from qemu_lab.recorded.trace import Request, parse_trace
from qemu_lab.subject import PHASES
from qemu_lab.write_log import Entry, Epoch, Flag, Replay, WriteLog, epochs_of
from tests.images import Image, make_image, random_blocks
from tests.lab.test_write_log import FLUSH, Made, log_of, opened
from tests.sequence.machine import PARTS, SITE, V2, V3, WHERE, settled_machine
from tests.storage.memory import Flushed, Operation, WasRead, Written

V1 = make_image(random_blocks(17, seed=9), number=1)


def approved(image: Image, folder: Path) -> Approved:
    path = folder / f"{image.number}.bimg"
    path.write_bytes(image.as_file())
    return Approved.of(image.number, path)


@dataclass(frozen=True)
class Recorded:
    """An update from 2 to 3 with all that was done to the disk, and its judge."""

    before: bytes
    operations: tuple[Operation, ...]
    judge: Judge

    def log(self, folder: Path) -> WriteLog:
        """What a recorder keeps of it."""
        return opened(folder / "log", log_bytes(self.operations))

    def order(self, folder: Path) -> Order:
        return check_order(
            self.judge.oracle, self.before, self.log(folder), [requests_of(self.operations)]
        )

    def replay(self, folder: Path) -> Replay:
        (folder / "before").write_bytes(self.before)
        return Replay(folder / "before", self.log(folder), folder / "scratch")


def log_bytes(operations: Sequence[Operation]) -> bytes:
    log = bytearray(log_of([FLUSH] * sum(not isinstance(one, WasRead) for one in operations)))
    del log[512:]
    for one in operations:
        if isinstance(one, Flushed):
            log += log_of([FLUSH])[512:]
        elif isinstance(one, Written):
            log += log_of([Made(one.offset // 512, len(one.data) // 512)])[512:1024] + one.data
    return bytes(log)


def requests_of(operations: Sequence[Operation]) -> list[Request]:
    requests = []
    for number, one in enumerate(operations):
        where, kind = range(0), "flush"
        if isinstance(one, Written):
            where, kind = range(one.offset, one.offset + len(one.data)), "write"
        elif isinstance(one, WasRead):
            where, kind = range(one.offset, one.offset + one.length), "read"
        requests.append(Request(kind, where, 2 * number, 2 * number + 1))
    return requests


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    machine = settled_machine(V2, backup=V1)
    before = bytes(machine.device.bytes)
    machine.os_stages(V3)
    machine.power_on()
    machine.os_confirms()
    folder = tmp_path_factory.mktemp("images")
    areas = {int(area): WHERE[area] for area in (Area.PRIMARY, Area.BACKUP, Area.STAGING)}
    images = tuple(approved(one, folder) for one in (V1, V2, V3))
    judge = Judge(Oracle(PARTS["status"], areas, images), SITE, first=2, second=3)
    return Recorded(before, tuple(machine.device.log), judge)


def phase_of(one: Operation, recorded: Recorded) -> str:
    """The phase in the record that an operation writes; empty where it writes none."""
    if isinstance(one, Written) and one.offset in recorded.judge.oracle.copies:
        return PHASES[one.data[13]]
    return ""


def first_record(recorded: Recorded, phase: str) -> int:
    """Where the first copy of the first record of ``phase`` is written."""
    return next(
        at for at, one in enumerate(recorded.operations) if phase_of(one, recorded) == phase
    )


def is_in(one: Operation, area: int, recorded: Recorded) -> bool:
    where = recorded.judge.oracle.areas[area]
    return isinstance(one, Written | WasRead) and one.offset in where


def clauses(order: Order) -> set[str]:
    return {one.partition(":")[0] for one in order.violations}


# --- the right order, and each wrong one ----------------------------------------------------------


def test_the_updaters_order_is_right_and_both_areas_were_read_back(
    recorded: Recorded, tmp_path: Path
) -> None:
    order = recorded.order(tmp_path)
    assert order.violations == []
    assert [step.record.phase for step in order.steps[::2]] == [
        "idle", "idle", "backup", "copy", "trial", "trial", "idle",
    ]  # fmt: skip
    found = [(one.record.phase, one.record.boot_area) for one in order.read_backs]
    assert found == [("copy", 2), ("trial", 1)]
    assert all(one.read == one.proof > 18 * 4096 for one in order.read_backs)


Break = Callable[[Recorded], list[Operation]]


def without_flush_of_area(recorded: Recorded) -> list[Operation]:
    """Primary is never flushed before the record that puts it on trial."""
    copy, trial = first_record(recorded, "copy"), first_record(recorded, "trial")
    begins = next(at for at in range(copy, trial) if is_in(recorded.operations[at], 1, recorded))
    return [
        one
        for at, one in enumerate(recorded.operations)
        if not (begins < at < trial and isinstance(one, Flushed))
    ]


def without_flush_between_copies(recorded: Recorded) -> list[Operation]:
    operations = list(recorded.operations)
    at = first_record(recorded, "trial")
    del operations[operations.index(Flushed(), at)]
    return operations


def writing_before_the_record(recorded: Recorded) -> list[Operation]:
    """The first write to primary comes before the record that names the backup."""
    operations = list(recorded.operations)
    copy, trial = first_record(recorded, "copy"), first_record(recorded, "trial")
    write = next(
        at
        for at in range(copy, trial)
        if isinstance(operations[at], Written) and is_in(operations[at], 1, recorded)
    )
    operations.insert(copy, operations.pop(write))
    return operations


def without_reading_back(recorded: Recorded) -> list[Operation]:
    """One block of primary is not read again after it was written."""
    copy, trial = first_record(recorded, "copy"), first_record(recorded, "trial")
    last = max(
        at
        for at in range(copy, trial)
        if is_in(recorded.operations[at], 1, recorded)
        and isinstance(recorded.operations[at], WasRead)
    )
    return [one for at, one in enumerate(recorded.operations) if at != last]


def reading_before_the_flush(recorded: Recorded) -> list[Operation]:
    """Primary is read back, and then flushed: the disk may have shown its cache."""
    operations = list(recorded.operations)
    trial = first_record(recorded, "trial")
    last = max(at for at in range(trial) if isinstance(operations[at], Flushed))
    operations.insert(trial - 1, operations.pop(last))
    return operations


def without_reading_a_record_back(recorded: Recorded) -> list[Operation]:
    operations = list(recorded.operations)
    at = first_record(recorded, "copy")
    sector = recorded.judge.oracle.copies[0]
    del operations[operations.index(WasRead(sector, 512), at)]
    return operations


def an_old_record_again(recorded: Recorded) -> list[Operation]:
    operations = list(recorded.operations)
    old, trial = first_record(recorded, "copy"), first_record(recorded, "trial")
    operations[trial:trial] = operations[old : old + 3]
    return operations


@pytest.mark.parametrize(
    ("broken", "clause"),
    [
        (without_flush_of_area, "named_area_flushed"),
        (without_flush_between_copies, "one_copy_per_epoch"),
        (writing_before_the_record, "named_area_untouched"),
        (without_reading_back, "named_area_read_back"),
        (reading_before_the_flush, "named_area_read_back"),
        (without_reading_a_record_back, "record_read_back"),
        (an_old_record_again, "sequence_goes_up"),
    ],
)
def test_a_wrong_order_is_found_by_its_own_clause(
    recorded: Recorded, tmp_path: Path, broken: Break, clause: str
) -> None:
    order = replace(recorded, operations=tuple(broken(recorded))).order(tmp_path)
    assert clause in clauses(order)


def test_a_trace_of_another_run_than_the_log_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    requests = requests_of(recorded.operations[: first_record(recorded, "trial")])
    with pytest.raises(WriteLogError, match="of which the trace shows nothing"):
        check_order(recorded.judge.oracle, recorded.before, recorded.log(tmp_path), [requests])


# --- rebuilt disks --------------------------------------------------------------------------------


def verdicts(recorded: Recorded, folder: Path, cuts: Sequence[Cut]) -> dict[str, Outcome]:
    replay = recorded.replay(folder)
    found = {}
    for cut in sorted(cuts, key=lambda one: one.first):
        replay.advance(cut.first)
        with replay.rebuilt(cut.arrived) as disk:
            found[cut.label] = recorded.judge.judge(disk).outcome
    return found


def test_every_disk_of_a_right_update_is_right(recorded: Recorded, tmp_path: Path) -> None:
    epochs = epochs_of(recorded.log(tmp_path).entries)
    cuts = flush_cuts(epochs) + subset_cuts(epochs, recorded.judge.oracle.ranges, 60, seed=1)
    found = verdicts(recorded, tmp_path, cuts)
    assert len(found) == len(cuts)
    assert set(found.values()) == {Outcome.STAYED, Outcome.WENT_ON, Outcome.WAS_DONE}
    assert found["flush 0"] is Outcome.STAYED
    assert found[f"flush {epochs[-1].stop}"] is Outcome.WAS_DONE


def test_a_flush_that_is_missing_shows_in_the_disks(recorded: Recorded, tmp_path: Path) -> None:
    broken = replace(recorded, operations=tuple(without_flush_of_area(recorded)))
    epochs = epochs_of(broken.log(tmp_path).entries)
    cuts = subset_cuts(epochs, broken.judge.oracle.ranges, 60, seed=1)
    assert Outcome.FAILED in verdicts(broken, tmp_path, cuts).values()


def test_a_disk_whose_record_names_a_rotten_area_is_wrong(recorded: Recorded) -> None:
    disk = bytearray(recorded.before)
    disk[recorded.judge.oracle.areas[1].start + 5000] ^= 1
    verdict = recorded.judge.judge(Bytes(disk))
    assert verdict.outcome is Outcome.FAILED
    assert "names primary with image 2, which holds no whole image" in verdict.violations[0]


def test_a_disk_without_any_record_is_wrong(recorded: Recorded) -> None:
    disk = bytearray(recorded.before)
    for at in recorded.judge.oracle.copies:
        disk[at] ^= 1
    assert recorded.judge.judge(Bytes(disk)).outcome is Outcome.FAILED


class Bytes:
    """A disk in memory that gives bytes, as a mapping does."""

    def __init__(self, disk: bytearray) -> None:
        self.disk = disk

    def __len__(self) -> int:
        return len(self.disk)

    def __getitem__(self, part: slice) -> bytes:
        return bytes(self.disk[part])

    def __setitem__(self, part: slice, data: bytes) -> None:
        self.disk[part] = data


# --- cuts and keys --------------------------------------------------------------------------------


def write(number: int, first: int, count: int, flags: int = 0) -> Entry:
    return Entry(number, Flag(flags), first * 512, count * 512, 0)


def test_subsets_are_seeded_and_lose_only_what_lies_within() -> None:
    writes = tuple(write(number, number, 1) for number in range(10))
    epochs = [Epoch(0, 10, writes)]
    within = [range(8 * 512)]
    cuts = subset_cuts(epochs, within, 50, seed=3)
    assert cuts == subset_cuts(epochs, within, 50, seed=3)
    assert cuts != subset_cuts(epochs, within, 50, seed=4)
    assert len({cut.label for cut in cuts}) == 50
    assert {cut.kind for cut in cuts} == {"prefix", "loss", "subset"}
    for cut in cuts:
        assert 0 < len(cut.arrived) < 8
        assert all(one.number < 8 for one in cut.arrived)


def test_a_complete_write_with_fua_is_never_lost() -> None:
    writes = (write(0, 0, 1), write(1, 1, 1, Flag.FUA), write(2, 2, 1), write(3, 3, 1))
    for cut in subset_cuts([Epoch(0, 4, writes)], [range(4096)], 50, seed=1):
        later = {one.number for one in cut.arrived}
        assert 1 in later or (cut.kind == "prefix" and later == {0})


def test_few_writes_have_few_subsets() -> None:
    epochs = [Epoch(0, 2, (write(0, 0, 1), write(1, 1, 1)))]
    found = {cut.arrived for cut in subset_cuts(epochs, [range(4096)], 1000, seed=1)}
    assert {len(arrived) for arrived in found} == {1}
    assert len(found) == 2
    assert subset_cuts([Epoch(0, 1, (write(0, 0, 1),))], [range(4096)], 9, seed=1) == []


def test_a_cut_is_found_again_by_its_label(recorded: Recorded, tmp_path: Path) -> None:
    log = recorded.log(tmp_path)
    for cut in (Cut(0), Cut(3, (log.entries[4],), "loss"), Cut(2, log.entries[3:6], "subset")):
        assert Cut.from_label(cut.label, log) == cut
    for bad in ("", "flush", "flush 1000000", "subset 1+1000000", "subset 1+2,"):
        with pytest.raises(WriteLogError):
            Cut.from_label(bad, log)


@given(
    made=st.lists(
        st.builds(Made, st.integers(0, 7), st.integers(1, 3), st.just(0), st.integers(0, 3))
        | st.just(FLUSH),
        max_size=10,
    ),
    seed=st.integers(0, 5),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_two_disks_have_one_key_exactly_if_they_are_equal(
    tmp_path: Path, made: list[Made], seed: int
) -> None:
    log = opened(tmp_path / "log", log_of(made))
    ranges = (range(512, 3 * 512), range(5 * 512, 9 * 512))
    (tmp_path / "before").write_bytes(bytes(16 * 512))
    replay, keys = Replay(tmp_path / "before", log, tmp_path / "scratch"), DiskKeys(log, ranges)
    chosen = random.Random(seed)
    contents: dict[int, bytes] = {}
    for epoch in epochs_of(log.entries):
        replay.advance(epoch.first)
        with replay.rebuilt() as disk:
            keys.begin(epoch, disk)
        for _ in range(6):
            arrived = [one for one in epoch.writes if chosen.random() < 0.5]
            with replay.rebuilt(arrived) as disk:
                content = b"".join(disk[one.start : one.stop] for one in ranges)
            assert contents.setdefault(keys.of(arrived), content) == content
        keys.end(epoch)
    assert len(set(contents.values())) == len(contents)


# --- what is reported -----------------------------------------------------------------------------


def results_of(recorded: Recorded, folder: Path, **others: Any) -> Results:
    log = recorded.log(folder)
    cuts = flush_cuts(epochs_of(log.entries))
    judged = [Judged(cut, 0, Verdict(Outcome.WENT_ON, 2)) for cut in cuts]
    facts = {
        "same_end": True,
        "order": recorded.order(folder),
        "judged": judged,
        "booted": [Booted("flush 1", "image 2", "image 2")],
        "seconds": {"judge": 1.23},
        "seed": 1,
    }
    return Results.of_log(log, recorded.judge.oracle, cuts, **(facts | others))


def test_a_run_without_findings_is_right_and_says_what_was_done(
    recorded: Recorded, tmp_path: Path
) -> None:
    results = results_of(recorded, tmp_path)
    assert results.is_right
    document = json.loads(json.dumps(results.document()))
    assert document["is_right"] is True
    assert document["distinct"] == document["rebuilt"]["flush"] == results.flushes + 1
    assert document["writes_by_area"]["staging"] > 0
    assert [one["area"] for one in document["order"]["read_back"]] == ["backup", "primary"]
    assert "went on" in results.table()


@pytest.mark.parametrize(
    ("finding", "shown"),
    [
        ({"same_end": False}, "ANOTHER DISK"),
        ({"order": Order(violations=["one_copy_per_epoch: entry 3"])}, "one_copy_per_epoch"),
        (
            {"judged": [Judged(Cut(7), 0, Verdict(Outcome.FAILED, 1, None, ("settles: no",)))]},
            "FAILED  flush 7: settles: no",
        ),
        ({"booted": [Booted("flush 9", "image 2", "image 1")]}, "BOOT    flush 9: wanted image 2"),
        ({"booted": [Booted("flush 9", "image 2", "image 2", "rotten")]}, "rotten"),
    ],
)
def test_any_finding_makes_a_run_wrong_and_is_shown(
    recorded: Recorded, tmp_path: Path, finding: dict[str, Any], shown: str
) -> None:
    results = results_of(recorded, tmp_path, **finding)
    assert not results.is_right
    assert results.document()["is_right"] is False
    assert shown in results.table()


def test_the_disks_to_boot_come_from_as_many_epochs_as_there_are() -> None:
    def disk(first: int, key: int) -> Judged:
        return Judged(Cut(first, kind=f"kind{key}"), key, Verdict(Outcome.STAYED, 1))

    single = [disk(first, 0) for first in range(10)]
    many = [disk(10, key) for key in range(90)]
    judged = [*many, *single]
    assert [one.cut.first for one in spread(judged, 4)] == [1, 4, 6, 9]
    assert [one.cut.first for one in spread(judged, 13)] == [*range(10), 10, 10, 10]
    assert set(spread(judged, 200)) == set(judged)


# --- trace and images -----------------------------------------------------------------------------

TRACE = """\
1@2.1:virtio_blk_handle_read vdev 0xa req 0x1 sector 8 nsectors 2
1@2.2:virtio_blk_handle_write vdev 0xa req 0x2 sector 1 nsectors 1
1@2.3:virtio_blk_req_complete vdev 0xa req 0x2 status 0
1@2.4:virtio_blk_handle_read vdev 0xb req 0x1 sector 0 nsectors 1
1@2.5:virtio_blk_req_complete vdev 0xa req 0x1 status 0
1@2.6:virtio_blk_req_complete vdev 0xb req 0x1 status 0
1@2.7:virtio_blk_req_complete vdev 0xa req 0x3 status 0
some other line
1@2.8:virtio_blk_handle_read vdev 0xa req 0x4 sector 0 nsectors 1
1@2.9:virtio_blk_req_complete vdev 0xa req 0x4 status 1
"""


def test_a_trace_shows_what_the_written_disk_completed_well() -> None:
    assert parse_trace(TRACE.splitlines()) == [
        Request("write", range(512, 1024), 1, 2),
        Request("read", range(4096, 5120), 0, 4),
        Request("flush", range(0), 6, 6),
    ]


def test_a_trace_with_two_written_disks_is_refused() -> None:
    other = TRACE.replace("0xa", "0xc")
    with pytest.raises(WriteLogError, match="writes to 2 disks"):
        parse_trace([*TRACE.splitlines(), *other.splitlines()])


def test_a_small_image_names_its_kernel_by_build_id_alone(tmp_path: Path) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(elf_with_build_id(bytes(range(20))))
    assert kernel_build_id(path) == bytes(range(20)).hex()
