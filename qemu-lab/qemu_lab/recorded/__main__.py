"""``python -m qemu_lab.recorded``: record one update, judge its cuts, boot some of them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from bootsvc.errors import BootsvcError
from initramfs.errors import InitramfsError
from qemu_lab.errors import LabError
from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.tools import BUILD, say
from qemu_lab.machine import Machine
from qemu_lab.recorded.recording import Recording
from qemu_lab.recorded.replaying import judge_one
from qemu_lab.recorded.results import Results
from qemu_lab.recorded.run import Plan, run, work_on
from qemu_lab.vm import VM

FOLDER = BUILD / "recorded"
DOCUMENT = "recorded.json"
OURS = ("*.img", "writes.log", "trace-*.txt", "recorded.*.txt", "boot-*", "replay-*", DOCUMENT)
"""What a run leaves, whole or broken off; the next one begins without."""


def main() -> int:
    """Do what the command line says; 1 if anything was found, 2 if the lab failed."""
    arguments = _parse()
    plan = Plan(arguments.subsets, arguments.boots, arguments.seed, arguments.jobs)
    try:
        if arguments.repeat:
            return _repeat(arguments.out, plan, arguments.repeat)
        results = _run(arguments.out, plan)
    except (LabError, ImageBuildError, BootsvcError, InitramfsError) as error:
        sys.stderr.write(f"recorded: {error}\n")
        return 2
    print(f"\n{results.table()}\n\n{arguments.out / DOCUMENT}")
    if results.failed:
        repeat = f"--out {arguments.out} --repeat '{results.failed[0].cut.label}'"
        print(f"again: {sys.executable} -m qemu_lab.recorded {repeat}")
    return 0 if results.is_right else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m qemu_lab.recorded",
        description="Record one update in a virtual machine, judge its power cuts, boot some.",
    )
    add = parser.add_argument
    add("--subsets", type=int, default=2000, metavar="N", help="cuts between flushes (2000)")
    add("--boots", type=int, default=50, metavar="N", help="rebuilt disks to boot (50)")
    add("--seed", type=int, default=1, metavar="N", help="chooses the cuts between flushes (1)")
    add("--jobs", type=int, default=2, metavar="N", help="processes and machines at a time (2)")
    add(
        "--out",
        type=Path,
        default=FOLDER,
        metavar="DIR",
        help="where all files go (build/recorded)",
    )
    add("--repeat", metavar="CUT", help="judge one cut of the recording in --out once more")
    return parser.parse_args()


def _run(folder: Path, plan: Plan) -> Results:
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in OURS:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with ExitStack() as stack:

        def make_vm(machine: Machine, name: str) -> VM:
            return stack.enter_context(VM(machine, folder, name=name))

        results = run(folder, plan, make_vm, say)
    text = json.dumps(results.document(), indent=1)
    (folder / DOCUMENT).write_text(f"{text}\n", encoding="utf-8")
    return results


def _repeat(folder: Path, plan: Plan, label: str) -> int:
    disk = folder / "repeated.img"
    verdict = judge_one(work_on(Recording(folder, power_ons=2), plan), label, disk)
    print(f"{label}: {verdict.outcome} after {verdict.starts} starts")
    print("\n".join(verdict.violations) or "nothing is wrong")
    print(f"the disk as the cut left it: {disk}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
