"""The real kernel, page cache and driver, recorded: no power cut leaves a disk that is wrong.

``python -m qemu_lab.recorded`` does the same with more cuts and more starts.
"""

import pytest

from qemu_lab.pytest_plugin import Lab
from qemu_lab.recorded.judge import Outcome
from qemu_lab.recorded.run import Plan, run

pytestmark = pytest.mark.vm

LEAST_WRITES = 8
"""Of each copy: with fewer there would be hardly anything to lose between two flushes."""


def test_no_cut_of_an_update_on_the_real_stack_leaves_a_wrong_disk(lab: Lab) -> None:
    # One job: scenarios already run two at a time.
    results = run(lab.directory, Plan(subsets=250, boots=2, jobs=1), lab.vm, print)
    print(results.table())

    assert results.is_right, results.table()
    # It proves something only if there was something to be found.
    areas = [one.record.boot_area for one in results.order.read_backs]
    assert areas == [2, 1], "the record named the backup for the copy, then primary for the trial"
    assert all(count >= LEAST_WRITES for count in results.writes_by_area.values())
    assert results.outcomes[Outcome.STAYED] > 20
    assert results.outcomes[Outcome.WENT_ON] > 100
    assert results.outcomes[Outcome.WAS_DONE] > 0
    assert len(results.booted) == 2
