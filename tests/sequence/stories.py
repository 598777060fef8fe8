"""What the stories share: machines in a named state, and what a start did."""

from __future__ import annotations

from collections.abc import Callable

from bootsvc.errors import (
    BootError,
    BootsvcError,
)
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request, StatusCode
from bootsvc.sequence.actions import Write
from bootsvc.sequence.states import Crash, Policy
from bootsvc.units import BLOCK_SIZE
from tests.images import Image
from tests.sequence.machine import (
    V1,
    V2,
    Machine,
    Started,
    area_record,
    settled_machine,
)

IDLE = (StatusCode.WORKING, Phase.IDLE, Area.PRIMARY)
DEGRADED = (StatusCode.BACKUP, Phase.DEGRADED, Area.BACKUP)
TRIAL = (StatusCode.FIRST_START, Phase.TRIAL, Area.PRIMARY)
LAST_TRY = (StatusCode.BACKUP, Phase.TRIAL, Area.BACKUP)
PANIC = Crash(b"p" * 16, Reason.PANIC)


def updating(image: Image = V2) -> Machine:
    """A machine that runs v1 and was asked for ``image``."""
    machine = settled_machine(V1)
    machine.os_stages(image)
    return machine


def on_last_try() -> Machine:
    """v2 was started three times and never confirmed."""
    machine = updating()
    for _ in range(3):
        machine.power_on()
    assert machine.shape == LAST_TRY
    return machine


def degraded() -> Machine:
    machine = on_last_try()
    machine.policy = Policy(restore=False)
    machine.power_on()
    assert machine.shape == DEGRADED
    return machine


def cannot_start(*areas: Area) -> Callable[[Area], BootsvcError | None]:
    def error_for(area: Area) -> BootsvcError | None:
        return BootError("the kernel refuses") if area in areas else None

    return error_for


def phases(started: Started) -> list[Phase]:
    return [action.status.phase for action in started.actions if isinstance(action, Write)]


def kinds(started: Started) -> list[type]:
    return [type(action) for action in started.actions]


def in_copy(machine: Machine) -> Machine:
    """The machine was cut off in COPY: half of v2 stands in primary, v1 in backup."""
    machine.os_stages(V2)
    machine.change_record(
        status_code=StatusCode.BACKUP,
        phase=Phase.COPY,
        boot_area=Area.BACKUP,
        request=Request.NONE,
        primary=area_record(V2, AreaState.WRITING),
        backup=area_record(V1, AreaState.VALID),
    )
    machine.overwrite(Area.PRIMARY, 0, V2.content[: 7 * BLOCK_SIZE])
    return machine
