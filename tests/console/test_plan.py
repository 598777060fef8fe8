"""What a start is expected to do, held against what the runner does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bootsvc.console.plan import next_phase, works_of
from bootsvc.formats.boot_status import Area, AreaState, Phase, StatusCode
from bootsvc.sequence.runner import Runner, Start
from tests.sequence.machine import (
    SITE,
    V1,
    V2,
    V3,
    Machine,
    QuietReporter,
    area_record,
    new_machine,
    settled_machine,
)
from tests.sequence.stories import degraded, in_copy, on_last_try, updating


class Works(QuietReporter):
    """Keeps the names of all works."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def begin(self, work: str, total: int) -> None:
        assert total > 0
        self.names.append(work)


def rolling_back() -> Machine:
    machine = settled_machine(V2, V1)
    machine.os_rolls_back()
    return machine


def cut_off_in_backup() -> Machine:
    machine = updating()
    machine.change_record(phase=Phase.BACKUP, backup=area_record(V1, AreaState.WRITING))
    return machine


def rotten() -> Machine:
    machine = settled_machine(V2, V1)
    machine.change_record(
        status_code=StatusCode.BACKUP,
        phase=Phase.ROT,
        boot_area=Area.BACKUP,
        primary=area_record(V2, AreaState.BAD),
    )
    return machine


def updating_from_backup() -> Machine:
    machine = degraded()
    machine.os_stages(V3)
    return machine


def cut_off_in_copy() -> Machine:
    return in_copy(settled_machine(V1))


@pytest.mark.parametrize(
    "make",
    [
        new_machine,
        settled_machine,
        updating,
        cut_off_in_backup,
        cut_off_in_copy,
        on_last_try,
        updating_from_backup,
        rolling_back,
        rotten,
    ],
)
def test_a_start_where_nothing_fails_does_the_works_that_were_planned(
    make: Callable[[], Machine],
) -> None:
    machine = make()
    works = Works()
    planned = works_of(machine.record)
    Runner(machine.disk, Start(SITE, now_s=1000, fresh_id=bytes(16)), works).run()
    assert tuple(works.names) == planned
    phase = 0
    for number, name in enumerate(works.names, 1):
        phase = next_phase(planned, phase, name)
        assert phase == number


def test_nothing_is_planned_where_the_record_was_lost() -> None:
    assert works_of(None) == ()


def test_work_done_over_again_keeps_its_phase_and_unexpected_work_has_none() -> None:
    works = ("verify staging", "copy", "verify")
    assert next_phase(works, 3, "copy") == 2
    assert next_phase(works, 2, "verify") == 3
    assert next_phase(works, 1, "restore") == 0
