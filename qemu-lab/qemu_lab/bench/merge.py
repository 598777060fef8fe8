"""Merging a chain of five qcow2 files, against qemu-img alone, in turns."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bootsvc.chains.chain_files import read_chain
from bootsvc.chains.merge import MergeTo, merge
from bootsvc.units import GIB, KIB, MIB
from qemu_lab.bench.figures import Figure
from qemu_lab.images.tools import run

SECTION = "Merging a chain of five qcow2 files (least of 9)"
GOAL_RATIO = 1.3
ROUNDS = 9
DISK_SIZE = GIB
BASE_SIZE, INCREMENT_SIZE = 420 * MIB, 200 * MIB
PIECES = (64 * KIB, 128 * KIB, 256 * KIB, MIB)
"""Lengths of the writes that fill a file."""

OUT = "out.qcow2"


def measure(scratch: Path) -> list[Figure]:
    """Both ways of merging, elapsed and in processor time. qemu-img alone: the new file made and
    flushed; and compared as well, as bootsvc always does before the file gets its name."""
    folder = scratch / "chain"
    folder.mkdir()
    top = _make_chain(folder)
    figures: list[Figure] = []
    for to, command in (
        (MergeTo.BASE, [["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", top, OUT]]),
        (
            MergeTo.INCREMENT,
            [
                ["qemu-img", "create", "-q", "-f", "qcow2", "-b", top, "-F", "qcow2", OUT],
                ["qemu-img", "rebase", "-f", "qcow2", "-b", "f0.qcow2", "-F", "qcow2", OUT],
            ],
        ),
    ):
        figures += _compare(folder, top, to, command)
    return figures


def _compare(folder: Path, top: str, to: MergeTo, commands: list[list[str]]) -> list[Figure]:
    compare = ["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", top, OUT]

    def theirs() -> None:
        for command in commands:
            run(command, cwd=folder)
        _flush(folder / OUT)

    def theirs_compared() -> None:
        theirs()
        run(compare, cwd=folder)

    def ours() -> None:
        merge(read_chain(folder / top), OUT, to=to)

    ways: dict[str, Callable[[], None]] = {
        "qemu-img": theirs,
        "qemu-img, compared": theirs_compared,
        "bootsvc chain merge": ours,
    }
    elapsed: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        names = list(ways)
        # Each takes each turn: other work on the machine comes and goes.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            (folder / OUT).unlink(missing_ok=True)
            os.sync()
            begun, used = time.monotonic(), _processor_s()
            ways[name]()
            elapsed[name].append(time.monotonic() - begun)
            processor[name].append(_processor_s() - used)
    figures = []
    for words, times in (("", elapsed), ("processor, ", processor)):
        least = {name: min(found) for name, found in times.items()}
        made, compared, own = least.values()
        goal = GOAL_RATIO if times is elapsed else None
        figures += [
            *(Figure(SECTION, f"{to.value}: {words}{name}", least[name], "s") for name in ways),
            Figure(SECTION, f"{to.value}: {words}ratio to qemu-img", own / made, "x", goal),
            Figure(SECTION, f"{to.value}: {words}ratio, compared", own / compared, "x", goal),
        ]
    return figures


def _processor_s() -> float:
    """Seconds of processor time that this process and its ended children took."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def _make_chain(folder: Path) -> str:
    """A base and four increments, filled with random patterns at random places; the top's name."""
    for index in range(5):
        name = f"f{index}.qcow2"
        parent = ["-b", f"f{index - 1}.qcow2", "-F", "qcow2"] if index else []
        size = [] if index else [str(DISK_SIZE)]
        run(["qemu-img", "create", "-q", "-f", "qcow2", *parent, name, *size], cwd=folder)
        dice = random.Random(index)  # noqa: S311  # the same chain in every run
        _fill(folder / name, INCREMENT_SIZE if index else BASE_SIZE, dice)
    return "f4.qcow2"


def _fill(path: Path, size: int, dice: random.Random) -> None:
    lines = []
    while size > 0:
        length = min(size, dice.choice(PIECES))
        at = dice.randrange(0, DISK_SIZE - length, 64 * KIB)
        lines.append(f"write -q -P {dice.randrange(1, 255)} {at} {length}\n")
        size -= length
    subprocess.run(
        ["qemu-io", "-f", "qcow2", path],
        input="".join(lines),
        text=True,
        capture_output=True,
        check=True,
    )


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
