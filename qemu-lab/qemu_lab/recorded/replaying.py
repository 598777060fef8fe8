"""All cuts of a recorded update: each disk is rebuilt, each that differs from the others judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from qemu_lab.recorded.cuts import Cut, DiskKeys, flush_cuts, subset_cuts
from qemu_lab.recorded.judge import Judge, Verdict
from qemu_lab.recorded.recording import Recording
from qemu_lab.write_log import Epoch, Replay, WriteLog, epochs_of

SHARDS_PER_JOB = 4
"""Pieces of work for each process: progress shows when one is done, and none waits long."""


@dataclass(frozen=True)
class Judged:
    """A rebuilt disk that equals no other, with the first cut that leaves it."""

    cut: Cut
    key: int
    verdict: Verdict


@dataclass(frozen=True)
class Work:
    """What is to be judged; goes to other processes."""

    recording: Recording
    judge: Judge
    subsets: int
    seed: int

    def cuts(self, log: WriteLog) -> list[Cut]:
        """Every cut: all flush boundaries, and seeded subsets between them."""
        epochs = epochs_of(log.entries)
        return [
            *flush_cuts(epochs),
            *subset_cuts(epochs, self.judge.oracle.ranges, self.subsets, self.seed),
        ]


def rebuilds(
    work: Work, log: WriteLog, cuts: Sequence[Cut], scratch: Path
) -> Iterator[tuple[Cut, int, Replay]]:
    """Go through the log once; at each cut: the cut, the key of its disk, the replay at it.

    The cuts come in the order of the log. The replay is good until the next step.
    """
    replay = Replay(work.recording.before, log, scratch)
    keys = DiskKeys(log, work.judge.oracle.ranges)
    by_first: dict[int, list[Cut]] = {}
    for cut in cuts:
        by_first.setdefault(cut.first, []).append(cut)
    end = len(log.entries)
    for epoch in [*epochs_of(log.entries), Epoch(end, end, ())]:
        replay.advance(epoch.first)
        with replay.rebuilt() as disk:
            keys.begin(epoch, disk)
        for cut in by_first.pop(epoch.first, ()):
            yield cut, keys.of(cut.arrived), replay
        keys.end(epoch)


def judge_shard(work: Work, shard: int, shards: int) -> list[Judged]:
    """Judge the share of the distinct disks whose key falls to ``shard`` of ``shards``."""
    log = WriteLog(work.recording.log)
    judged: dict[int, Judged] = {}
    with TemporaryDirectory(dir=work.recording.folder, prefix="replay-") as folder:
        for cut, key, replay in rebuilds(work, log, work.cuts(log), Path(folder) / "disk.img"):
            if key % shards == shard and key not in judged:
                with replay.rebuilt(cut.arrived) as disk:
                    judged[key] = Judged(cut, key, work.judge.judge(disk))
    return list(judged.values())


def judge_all(work: Work, jobs: int) -> Iterator[list[Judged]]:
    """Judge every distinct disk in ``jobs`` processes; gives what is ready, piece by piece."""
    shards = jobs * SHARDS_PER_JOB
    # Spawned, not forked: this process may have machines running, with threads that watch them.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(judge_shard, work, shard, shards) for shard in range(shards)]
        for future in as_completed(futures):
            yield future.result()


def judge_one(work: Work, label: str, disk: Path) -> Verdict:
    """Rebuild and judge the disk of one cut; it is left in the file ``disk``.

    Raises:
        WriteLogError: the recording has no such cut.
    """
    log = WriteLog(work.recording.log)
    cut = Cut.from_label(label, log)
    with TemporaryDirectory(dir=work.recording.folder, prefix="replay-") as folder:
        replay = Replay(work.recording.before, log, Path(folder) / "disk.img")
        replay.advance(cut.first)
        replay.write_out(disk, cut.arrived)
        with replay.rebuilt(cut.arrived) as rebuilt:
            return work.judge.judge(rebuilt)


def spread(judged: Sequence[Judged], count: int) -> list[Judged]:
    """At most ``count`` of the disks, from as many epochs of the log as there are.

    Most disks come from the few epochs with many writes; taken evenly they would be most of the
    sample, too.
    """
    by_epoch: dict[int, list[Judged]] = {}
    for one in sorted(judged, key=lambda one: (one.cut.first, one.key)):
        by_epoch.setdefault(one.cut.first, []).append(one)
    rounds = [[one for one in some if one is not None] for some in zip_longest(*by_epoch.values())]
    chosen: list[Judged] = []
    for one_of_each in rounds:
        chosen += _evenly(one_of_each, count - len(chosen))
    return sorted(chosen, key=lambda one: (one.cut.first, one.cut.label))


def _evenly(judged: Sequence[Judged], count: int) -> Sequence[Judged]:
    if count >= len(judged):
        return judged
    return [judged[(2 * index + 1) * len(judged) // (2 * count)] for index in range(count)]
