"""The whole run: record, check the order, rebuild and judge, boot a sample."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qemu_lab.recorded.boots import Say, boot_all
from qemu_lab.recorded.cuts import Cut
from qemu_lab.recorded.order import Order, check_order
from qemu_lab.recorded.recording import MakeVM, Recording, judge_for, record
from qemu_lab.recorded.replaying import Judged, Work, judge_all, spread
from qemu_lab.recorded.results import Results
from qemu_lab.write_log import Replay, WriteLog


@dataclass(frozen=True)
class Plan:
    """How much is to be done.

    Attributes:
        subsets: cuts between flushes, at most.
        boots: rebuilt disks to be booted in a virtual machine.
        seed: chooses the cuts between flushes.
        jobs: processes that judge, and machines that run, at a time.
    """

    subsets: int
    boots: int
    seed: int = 1
    jobs: int = 2


@dataclass
class _Stopwatch:
    """Seconds of each part of the work."""

    say: Say
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.say(f"{name} ...")
        begun = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - begun
        self.say(f"{name}: {self.seconds[name]:.1f} s")


def run(folder: Path, plan: Plan, make_vm: MakeVM, say: Say) -> Results:
    """Do all of it in ``folder``, which holds no older recording.

    Raises:
        LabError: the update did not go through, or the recording contradicts itself.
    """
    watch = _Stopwatch(say)
    with watch.part("record"):
        recording = record(folder, make_vm)
    log = WriteLog(recording.log)
    work = work_on(recording, plan)
    with watch.part("order"):
        order = _order_of(recording, work, log)
        same_end = _ends_like(recording, log)
    cuts = work.cuts(log)
    with watch.part("judge"):
        judged = _judge(work, cuts, plan.jobs, say)
    with watch.part("boot"):
        booted = boot_all(work, spread(judged, plan.boots), make_vm, plan.jobs, say)
    return Results.of_log(
        log,
        work.judge.oracle,
        cuts,
        same_end=same_end,
        order=order,
        judged=judged,
        booted=booted,
        seconds=watch.seconds,
        seed=plan.seed,
    )


def work_on(recording: Recording, plan: Plan) -> Work:
    """What is to be judged of a recording."""
    return Work(recording, judge_for(recording.before), plan.subsets, plan.seed)


def _order_of(recording: Recording, work: Work, log: WriteLog) -> Order:
    with (
        recording.before.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as before,
    ):
        return check_order(work.judge.oracle, before, log, recording.requests())


def _ends_like(recording: Recording, log: WriteLog) -> bool:
    """Whether the log, replayed to its end, gives the very disk that the machine left."""
    scratch = recording.folder / "replayed.img"
    replay = Replay(recording.before, log, scratch)
    replay.advance(len(log.entries))
    with replay.rebuilt() as replayed, recording.after.open("rb") as file:
        size = 1 << 20
        same = all(
            replayed[at : at + size] == file.read(size) for at in range(0, len(replayed), size)
        )
    scratch.unlink()
    return same


def _judge(work: Work, cuts: list[Cut], jobs: int, say: Say) -> list[Judged]:
    begun = time.monotonic()
    judged: list[Judged] = []
    for some in judge_all(work, jobs):
        judged += some
        rate = len(judged) / (time.monotonic() - begun)
        say(f"judge: {len(judged)} distinct disks of {len(cuts)} cuts, {rate:.1f} a second")
    return sorted(judged, key=lambda one: (one.cut.first, one.cut.label))
