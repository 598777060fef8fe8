"""One power-on of a machine whose disk fails, up to the OS and back.

``world`` hands over without reading. The updater does read: footer and kernel once more, and a file
of the image that cannot be read is an error of the hand-over. So that these reads can fail as well,
the runner of such a start is one that loads what it starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from bootsvc.errors import BootError, BootsvcError, DeviceError
from bootsvc.sequence.actions import Boot, Halt
from bootsvc.sequence.runner import Runner
from bootsvc.storage.image_area import read_footer
from bootsvc.units import BLOCK_SIZE
from tests.power_cut import world
from tests.power_cut.failing_disk import FailingDisk, Fault, Flip
from tests.power_cut.scenarios import IMAGES, KERNEL_BLOCK, Scenario
from tests.power_cut.world import State, Step, power_on_device


@dataclass(frozen=True, eq=False)
class FailingStart:
    """What came of one power-on.

    Attributes:
        outcome: the last word of the table; ``None`` after an exception out of product code.
        has_fired: the fault fell on an operation of this start.
        is_failing: the disk still fails when it is switched off.
        flip: the bit that flipped on the medium.
    """

    step: Step
    outcome: Boot | Halt | None
    has_fired: bool
    is_failing: bool
    flip: Flip | None


def start_failing(
    scenario: Scenario, state: State, fault: Fault | None = None, *, is_failing: bool = False
) -> FailingStart:
    """Start the machine on a disk with ``fault``: it comes at its operation, or is there from the
    beginning. Without one, this is the run that faults are taken from."""
    disk = FailingDisk(state.content, scenario.sector_size, fault, is_failing=is_failing)
    outcomes: list[Boot | Halt] = []
    with _loading(outcomes):
        step = power_on_device(scenario, state, disk)
    outcome = outcomes[-1] if outcomes and not step.problem else None
    return FailingStart(step, outcome, disk.has_fired, disk.is_failing, disk.flip)


@contextmanager
def _loading(outcomes: list[Boot | Halt]) -> Iterator[None]:
    """Within the with statement, runners load what they start; ``outcomes`` is what they said."""

    class LoadingRunner(Runner):
        def run(self) -> Boot | Halt:
            outcome = super().run()
            while isinstance(outcome, Boot) and (error := _load_error(self, outcome)):
                self.could_not_boot(outcome.area, error)
                outcome = super().run()
            outcomes.append(outcome)
            return outcome

    with patch.object(world, "Runner", LoadingRunner):
        yield


def _load_error(runner: Runner, boot: Boot) -> BootsvcError | None:
    """Why what ``boot`` names cannot be started, as the updater's hand-over puts it."""
    area = runner.disk.areas[boot.area]
    at = KERNEL_BLOCK * BLOCK_SIZE
    try:
        identity = read_footer(area).identity
    except BootsvcError as exc:
        return exc
    if identity != runner.seen.finding(boot.area).identity:
        return BootError(f"{area.name}: its footer changed since it was looked at")
    try:
        kernel = area.read_at(at, BLOCK_SIZE)
    except DeviceError as exc:
        error = BootError(f"/boot/vmlinuz: cannot be read: {exc.text} ({area.name})")
        error.__cause__ = OSError(exc.errno, exc.text)
        return error
    signed = (one.content for one in IMAGES.values() if one.identity == identity)
    if any(content[at : at + BLOCK_SIZE] == kernel for content in signed):
        return None
    return BootError("/boot/vmlinuz: differs from its signed digest")
