"""In a machine: a healthy start by its parts, an update by phase, and the least memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from qemu_lab import Machine, Stage
from qemu_lab.bench.figures import Figure
from qemu_lab.errors import ExpectationError
from qemu_lab.images import products
from qemu_lab.images.products import ProbeImage
from qemu_lab.subject import Subject, machine_for
from qemu_lab.vm import VM

MEMORY_GOAL_MIB = 128
LEAST_MIB, MOST_MIB, STEP_MIB = 96, 160, 8
STARTS = 3
GIVE_UP_S = 120.0
"""After this long a machine with too little memory counts as not started."""

_AT = re.compile(r"bootsvc: (init started|modules loaded|switch_root to).*\(([\d.]+) s\)")
_CLOCK = re.compile(
    r"since the kernel began: python ([\d.]+), imported ([\d.]+), decided ([\d.]+), "
    r"loaded ([\d.]+)"
)
_WORK = re.compile(
    r"bootsvc: ([a-z ]+) done in ([\d.]+) s: read ([\d.]+), written ([\d.]+), "
    r"skipped ([\d.]+) MiB"
)


def measure_start(scratch: Path, image: ProbeImage) -> list[Figure]:
    """A healthy start from the disk's own boot loader to the hand-over: the shortest of a few."""
    section = f"Healthy start in a guest, {image.method} (seconds of the guest)"
    # By switch_root the hand-over is complete when the image speaks; kexec's own end is its mark.
    last = Stage.OS_UP if image.method == "switch_root" else Stage.HAND_OVER
    with _vm(scratch, image, Machine(), f"healthy-{image.method}") as vm:
        starts = [_one_start(vm, section, last) for _ in range(STARTS)]
    best = min(starts, key=lambda figures: figures[0].value or 0.0)
    totals = ", ".join(f"{figures[0].value:.2f}" for figures in starts)
    return [replace(best[0], note=f"the shortest of {totals}"), *best[1:]]


def _one_start(vm: VM, section: str, last: Stage) -> list[Figure]:
    before = len(vm.console.transcript.lines)
    vm.start()
    vm.console.wait_for(last, GIVE_UP_S)
    vm.power_cut()
    return start_figures(section, [line.text for line in vm.console.transcript.lines[before:]])


def start_figures(section: str, lines: list[str]) -> list[Figure]:
    """The parts of a start, from what init and the updater printed.

    Raises:
        ExpectationError: a line is missing.
    """
    text = "\n".join(lines)
    at = {name: float(seconds) for name, seconds in _AT.findall(text)}
    clock = _CLOCK.search(text)
    if clock is None or not {"init started", "modules loaded"} <= at.keys():
        raise ExpectationError("the console shows no times of a healthy start")
    python, imported, decided, loaded = (float(one) for one in clock.groups())
    ready = at["modules loaded"]
    end = at.get("switch_root to", loaded)
    parts = [
        ("kernel, to init", at["init started"]),
        ("init: modules and disk", ready - at["init started"]),
        ("Python start", python - ready),
        ("imports", imported - python),
        ("reading and decision", decided - imported),
        ("loading the image's kernel or root", loaded - decided),
    ]
    if "switch_root to" in at:
        parts.append(("overlay, to switch_root", end - loaded))
    return [
        Figure(section, "kernel start to hand-over", end, "s"),
        *(Figure(section, f"  {name}", seconds, "s") for name, seconds in parts),
    ]


def measure_memory_and_update(scratch: Path, first: ProbeImage, second: ProbeImage) -> list[Figure]:
    """Update by phase in a guest with little memory, and the least memory that starts."""
    figures = _update(scratch, first, second)
    goal_is_met = figures[-1].value is not None
    least = bisect_memory(lambda mib: _starts(scratch, first, mib), goal_is_met=goal_is_met)
    name = "least memory that starts the probe"
    section = "Memory"
    note = f"in steps of {STEP_MIB} MiB"
    figures.append(Figure(section, name, least, "MiB of memory", MEMORY_GOAL_MIB, note))
    return figures


def bisect_memory(starts: Callable[[int], bool], *, goal_is_met: bool) -> int | None:
    """The least multiple of STEP_MIB for which ``starts`` says yes; None where none does.

    Args:
        goal_is_met: known already: MEMORY_GOAL_MIB is enough.
    """
    low, high = LEAST_MIB - STEP_MIB, MEMORY_GOAL_MIB if goal_is_met else MOST_MIB
    if not goal_is_met and not starts(high):
        return None
    while high - low > STEP_MIB:
        middle = low + (high - low) // (2 * STEP_MIB) * STEP_MIB
        if starts(middle):
            high = middle
        else:
            low = middle
    return high


def _update(scratch: Path, first: ProbeImage, second: ProbeImage) -> list[Figure]:
    section = f"Update in a guest of {MEMORY_GOAL_MIB} MiB (seconds of the guest)"
    base = Machine(memory_mib=MEMORY_GOAL_MIB)
    with _vm(scratch, first, base, "update") as vm:
        subject = Subject(vm, vm.machine.drives[0].path)
        subject.insert(second.path)
        try:
            subject.power_on()
            subject.runs(first.version, timeout=GIVE_UP_S)
            subject.stage()
            subject.restart()
            subject.runs(second.version, trial=True, timeout=2 * GIVE_UP_S)
        except ExpectationError as error:
            why = str(error).splitlines()[0]
            return [Figure(section, "all phases", None, "s", note=why)]
        vm.power_cut()
        figures = work_figures(section, [line.text for line in vm.console.transcript.lines])
    total = sum(figure.value or 0.0 for figure in figures)
    return [*figures, Figure(section, "all phases", total, "s", note="updated, on trial")]


def work_figures(section: str, lines: list[str]) -> list[Figure]:
    """What each finished piece of work took, from what the updater printed."""
    found = (_WORK.search(line) for line in lines)
    return [
        Figure(
            section,
            hit[1],
            float(hit[2]),
            "s",
            note=f"read {hit[3]}, written {hit[4]}, skipped {hit[5]} MiB",
        )
        for hit in found
        if hit
    ]


def _starts(scratch: Path, image: ProbeImage, memory_mib: int) -> bool:
    with _vm(scratch, image, Machine(memory_mib=memory_mib), f"memory-{memory_mib}") as vm:
        try:
            vm.start()
            Subject(vm, vm.machine.drives[0].path).runs(image.version, timeout=GIVE_UP_S)
        except ExpectationError:
            return False
        finally:
            vm.power_cut()
        return True


def _vm(scratch: Path, image: ProbeImage, base: Machine, name: str) -> VM:
    disk = scratch / f"{name}.img"
    products.lab_disk(disk, image.path, kernel_name=image.kernel)
    return VM(machine_for(disk, base=replace(base)), scratch, name=name)
