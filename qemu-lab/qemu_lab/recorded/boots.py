"""Rebuilt disks booted in a virtual machine for real, to be compared with what was judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from qemu_lab.disk import read_range
from qemu_lab.errors import ExpectationError
from qemu_lab.machine import Drive
from qemu_lab.recorded.oracle import AREAS, Oracle
from qemu_lab.recorded.recording import MakeVM, direct_machine
from qemu_lab.recorded.replaying import Judged, Work, rebuilds
from qemu_lab.subject import BOOT_S
from qemu_lab.write_log import WriteLog


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


def boot_all(work: Work, chosen: list[Judged], make_vm: MakeVM) -> list[Booted]:
    """Boot each of these disks once, one machine at a time."""
    log = WriteLog(work.recording.log)
    verdicts = {one.cut: one for one in chosen}
    booted = []
    with TemporaryDirectory(dir=work.recording.folder, prefix="boot-") as folder:
        disk, scratch = Path(folder) / "disk.img", Path(folder) / "replay.img"
        for cut, _, replay in rebuilds(work, log, list(verdicts), scratch):
            replay.write_out(disk, cut.arrived)
            booted.append(_boot(verdicts[cut], disk, work.judge.oracle, make_vm))
            disk.unlink()
    return booted


def _boot(judged: Judged, disk: Path, oracle: Oracle, make_vm: MakeVM) -> Booted:
    started = judged.verdict.first_start
    wanted = "no start"
    if started is not None:
        wanted = f"image {started.image} in {AREAS[started.area]} trial={int(started.is_trial)}"
    vm = make_vm(direct_machine(Drive(disk)))
    try:
        vm.start()
        hello = vm.port.wait_hello(BOOT_S)
        found = f"image {hello.get('version')} in {hello.get('area')} trial={hello.get('trial')}"
    except ExpectationError as error:
        found = str(error).partition("\n")[0]
    finally:
        vm.close()
    fault = oracle.fault_of_record(DiskFile(disk)) or ""
    return Booted(judged.cut.label, wanted, found, fault)
