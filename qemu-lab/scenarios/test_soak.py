"""Two short stories of the soak, always the same: an update that a power cut hits, and a bad image.

``make soak`` tells as many random ones as there is time for.
"""

import pytest

from qemu_lab.pytest_plugin import Lab
from qemu_lab.soak import disks
from qemu_lab.soak.images import CATALOGUE, Behaviour
from qemu_lab.soak.plan import At, Cut, Means, Spoil, Story, Update
from qemu_lab.soak.results import RunResult
from qemu_lab.soak.run import play
from qemu_lab.soak.world import Outcome

pytestmark = pytest.mark.vm

NO_KERNEL = next(one.number for one in CATALOGUE.values() if one.behaviour is Behaviour.NO_KERNEL)


def told(lab: Lab, number: int, image: int, cut: Cut) -> RunResult:
    """The result of a story of one update, interrupted once."""
    disks.prepare(lab.directory)
    update = Update(image, inside=False, spoil=Spoil.NONE, is_patient=False, cuts=(cut,))
    story = Story(0, number, tries=2, full_chain=False, chapters=(update,))
    result = play(story, lab.directory)
    print(result.line())
    assert result.is_right, result.line()
    return result


def test_an_update_goes_on_after_a_power_cut_in_its_copy(lab: Lab) -> None:
    result = told(lab, 1, 4, Cut(At.COPY, 0.0, Means.POWER))
    assert [(one.outcome, one.cuts[0].hit) for one in result.chapters] == [
        (Outcome.UPDATED, "copy")
    ]


@pytest.mark.thorough
def test_a_bad_image_is_thrown_back_although_reset_is_pressed_in_the_restore(lab: Lab) -> None:
    result = told(lab, 2, NO_KERNEL, Cut(At.RESTORE, 0.0, Means.RESET))
    assert [(one.outcome, one.reason, one.cuts[0].hit) for one in result.chapters] == [
        (Outcome.FELL_BACK, "kernel refused", "restore")
    ]
