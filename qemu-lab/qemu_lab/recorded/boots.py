"""Rebuilt disks booted in a virtual machine for real, to be compared with what was judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from qemu_lab.disk import read_range
from qemu_lab.errors import ExpectationError
from qemu_lab.machine import Drive
from qemu_lab.recorded.oracle import AREAS, Oracle
from qemu_lab.recorded.recording import MakeVM, direct_machine
from qemu_lab.recorded.replaying import Judged, Work, rebuilds
from qemu_lab.subject import BOOT_S
from qemu_lab.vm import VM
from qemu_lab.write_log import WriteLog

Say = Callable[[str], None]
"""Gets one line of progress."""


@dataclass(frozen=True)
class Booted:
    """One rebuilt disk in a machine: what ran, and what the same start came to in-process.

    Attributes:
        label: of the cut.
        wanted, found: version, area and kind of start, as the image itself tells them.
        fault: what is wrong with the record on the disk afterwards; empty if nothing.
    """

    label: str
    wanted: str
    found: str
    fault: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the machine did what was judged to be right."""
        return self.found == self.wanted and not self.fault


class DiskFile:
    """A disk file of a machine that is off, as bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, part: slice) -> bytes:
        return read_range(self.path, part.start, part.stop - part.start)


def boot_all(
    work: Work, chosen: Sequence[Judged], make_vm: MakeVM, jobs: int, say: Say
) -> list[Booted]:
    """Boot each of these disks once, ``jobs`` machines at a time."""
    machine = direct_machine(Drive(work.recording.before))
    shares = [share for share in (chosen[job::jobs] for job in range(jobs)) if share]
    booted: list[Booted] = []

    def boot_share(number: int, share: Sequence[Judged]) -> None:
        # A machine dies with the thread that started it: this one waits for it.
        disks = _disks(work, share, f"boot-{number}")
        for index, (judged, disk) in enumerate(disks):
            vm = make_vm(replace(machine, drives=(Drive(disk),)), f"boot-{number}-{index}")
            one = _boot(judged, vm, DiskFile(disk), work.judge.oracle)
            booted.append(one)
            say(f"boot: {len(booted)} of {len(chosen)}; {one.label}: {one.found} {one.fault}")

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(boot_share, *numbered) for numbered in enumerate(shares)]:
            done.result()
    order = [one.cut.label for one in chosen]
    return sorted(booted, key=lambda one: order.index(one.label))


def _disks(work: Work, share: Sequence[Judged], name: str) -> Iterator[tuple[Judged, Path]]:
    """These disks as files, one after the other; each is gone at the next step."""
    log = WriteLog(work.recording.log)
    judged = {one.cut: one for one in share}
    with TemporaryDirectory(dir=work.recording.folder, prefix=f"{name}-") as folder:
        disk = Path(folder) / "disk.img"
        for cut, _, replay in rebuilds(work, log, list(judged), Path(folder) / "replay.img"):
            replay.write_out(disk, cut.arrived)
            yield judged[cut], disk
            disk.unlink()


def _boot(judged: Judged, vm: VM, disk: DiskFile, oracle: Oracle) -> Booted:
    started = judged.verdict.first_start
    wanted = "no start"
    if started is not None:
        wanted = f"image {started.image} in {AREAS[started.area]} trial={int(started.is_trial)}"
    try:
        vm.start()
        hello = vm.port.wait_hello(BOOT_S)
        found = f"image {hello.get('version')} in {hello.get('area')} trial={hello.get('trial')}"
    except ExpectationError as error:
        found = str(error).partition("\n")[0]
    finally:
        vm.close()
    fault = oracle.fault_of_record(disk) or ""
    return Booted(judged.cut.label, wanted, found, fault)
