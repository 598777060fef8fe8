"""What lies in staging and is no whole, signed image never hurts; the next one overwrites it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bootsvc.formats.boot_status import Area, AreaState, Phase, Request
from bootsvc.sequence.actions import Boot
from bootsvc.units import BLOCK_SIZE
from tests.images import OTHER_KEY, Image, make_image, random_blocks
from tests.sequence.machine import (
    PARTS,
    STAGING_SIZE,
    V1,
    V2,
    Machine,
    area_record,
    settled_machine,
)

STRANGERS = make_image(random_blocks(3, seed=9), number=9, key=OTHER_KEY)
WHOLE = (V2.in_area(STAGING_SIZE), STRANGERS.in_area(STAGING_SIZE), V1.in_area(STAGING_SIZE))


@st.composite
def rubbish(draw: st.DrawFn) -> bytes:
    """Noise; nothing; or what was an image once, with bytes of some blocks changed."""
    seed = draw(st.integers(0, 2**32))
    noise = random.Random(seed).randbytes(STAGING_SIZE)
    content = bytearray(draw(st.sampled_from((noise, bytes(STAGING_SIZE), *WHOLE))))
    blocks = STAGING_SIZE // BLOCK_SIZE
    # The first block of an image's content is always among them: no whole image is left.
    hurt = {0, *draw(st.sets(st.integers(0, blocks - 1), max_size=6))}
    for block in sorted(hurt):
        at, length = block * BLOCK_SIZE, draw(st.sampled_from((1, 512, BLOCK_SIZE)))
        content[at : at + length] = bytes(byte ^ 0xA5 for byte in content[at : at + length])
    return bytes(content)


def hurts_nothing(machine: Machine) -> None:
    """Primary is started, both images are still there, and a good image is installed after all."""
    found = machine.power_on().outcome
    assert isinstance(found, Boot)
    assert found.area is Area.PRIMARY
    assert machine.runs(V1)
    assert machine.holds(Area.PRIMARY, V1)
    assert machine.holds(Area.BACKUP, V1)
    machine.os_confirms()
    machine.os_stages(V2)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V2)
    machine.os_confirms()
    assert machine.record.phase is Phase.IDLE


@settings(deadline=None, max_examples=15)
@given(rubbish())
def test_rubbish_that_nobody_asked_for_is_not_even_read(content: bytes) -> None:
    machine = settled_machine()
    machine.overwrite(Area.STAGING, 0, content)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert not machine.device.writes(), "a healthy start writes nothing"
    assert not machine.device.reads_in(PARTS["staging"])
    hurts_nothing(machine)


@settings(deadline=None, max_examples=15)
@given(rubbish(), st.sampled_from((V1, V2, STRANGERS)))
def test_rubbish_that_the_record_takes_for_an_image_is_refused(
    content: bytes, named: Image
) -> None:
    machine = settled_machine()
    machine.overwrite(Area.STAGING, 0, content)
    machine.change_record(
        request=Request.UPDATE, staging=area_record(named, AreaState.VALID), transaction=bytes(16)
    )
    machine.power_on()
    assert machine.record.staging.state is not AreaState.VALID
    assert machine.record.request is Request.NONE
    hurts_nothing(machine)


@settings(deadline=None, max_examples=15)
@given(rubbish())
def test_rubbish_beside_a_lost_record_is_no_image(content: bytes) -> None:
    machine = settled_machine()
    machine.overwrite(Area.STAGING, 0, content)
    status = PARTS["status"]
    machine.device.bytes[status.start : status.stop] = bytes(len(status))
    hurts_nothing(machine)
