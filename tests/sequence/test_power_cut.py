"""The power is cut everywhere: after every cut the machine settles on a whole, approved image.

The oracle compares raw bytes of areas with the images; it knows no digest and no record of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from bootsvc.formats.boot_status import Area, AreaState, Phase, StatusCode
from bootsvc.sequence.actions import Boot
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import SECTOR_SIZE
from tests.formats.decoder import newest_record
from tests.images import Image
from tests.sequence.machine import (
    PARTS,
    V1,
    V2,
    V3,
    WHERE,
    Machine,
    area_record,
    is_whole,
    new_machine,
    settled_machine,
)
from tests.sequence.simulator import cuts_of
from tests.storage.memory import MemoryDevice

MAX_STARTS = 10

Summary = tuple[object, ...]


@dataclass(frozen=True)
class Story:
    """A machine, what is asked of it, and which images prove themselves.

    Attributes:
        ask: what the OS writes before the start that does the work.
        good: images that confirm; every other one hangs.
    """

    name: str
    machine: Callable[[], Machine]
    ask: Callable[[Machine], None]
    good: tuple[Image, ...]


def nothing(_: Machine) -> None:
    """The machine does it by itself."""


def updating(image: Image) -> Callable[[Machine], None]:
    return lambda machine: machine.os_stages(image)


def degraded_machine() -> Machine:
    machine = settled_machine(V2, backup=V1)
    machine.change_record(
        status_code=StatusCode.BACKUP,
        phase=Phase.DEGRADED,
        boot_area=Area.BACKUP,
        primary=area_record(V2, AreaState.BAD),
    )
    machine.flip(Area.PRIMARY, 4096)
    return machine


def machine_with_rotten_primary() -> Machine:
    machine = settled_machine(V2, backup=V1)
    machine.overwrite(Area.PRIMARY, len(machine.area_bytes(Area.PRIMARY)) - 4096, bytes(4096))
    return machine


STORIES = [
    Story("update and confirm", lambda: settled_machine(V2, V1), updating(V3), (V1, V2, V3)),
    Story("bad image and restore", lambda: settled_machine(V2, V1), updating(V3), (V1, V2)),
    Story("rollback", lambda: settled_machine(V2, V1), Machine.os_rolls_back, (V1, V2)),
    Story("first installation", new_machine, nothing, (V1,)),
    Story("update while degraded", degraded_machine, updating(V3), (V1, V3)),
    Story("rotten primary", machine_with_rotten_primary, nothing, (V1, V2)),
]


def approved_image(area: bytes) -> Image | None:
    return next((image for image in (V1, V2, V3) if is_whole(area, image)), None)


def live(machine: Machine, good: tuple[Image, ...]) -> Iterator[Image]:
    """Start again and again until two starts change nothing; gives the image of every start."""
    unchanged = 0
    for _ in range(MAX_STARTS):
        written = len(machine.device.writes())
        started = machine.power_on()
        assert isinstance(started.outcome, Boot), f"halted: {started}"
        image = approved_image(machine.area_bytes(started.outcome.area))
        assert image is not None, f"{started.outcome.area.name} does not hold a whole image"
        assert machine.runs(image)
        yield image
        if started.outcome.is_trial and image in good:
            machine.os_confirms()
        unchanged = unchanged + 1 if len(machine.device.writes()) == written else 0
        if unchanged == 2:
            return
    raise AssertionError(f"not settled after {MAX_STARTS} starts: {machine.record}")


def summary(machine: Machine) -> Summary:
    """What counts of the final state; tries, sequence and times may differ."""
    record = machine.record
    return (
        machine.shape,
        record.request,
        record.version_floor,
        record.failed,
        tuple((one.state, one.identity) for one in (record.primary, record.backup, record.staging)),
        approved_image(machine.area_bytes(Area.PRIMARY)),
        approved_image(machine.area_bytes(Area.BACKUP)),
    )


def area_named_by_the_record(disk: bytes) -> bytes | None:
    """The area that the newest record boots, by the tests' own decoder; None where none is."""
    start = PARTS["status"].start
    record = newest_record([disk[start + at : start + at + SECTOR_SIZE] for at in COPY_OFFSETS])
    assert record is not None, "both copies of the record are gone"
    where = {1: WHERE[Area.PRIMARY], 2: WHERE[Area.BACKUP]}.get(int(str(record["boot_area"])))
    return None if where is None else disk[where.start : where.stop]


def recorded(story: Story) -> tuple[bytes, Machine]:
    """The uncut run: the disk before it, and the machine after it with its log."""
    machine = story.machine()
    before = bytes(machine.device.bytes)
    machine.device.log.clear()
    story.ask(machine)
    list(live(machine, story.good))
    return before, machine


def ends_before_the_request(story: Story) -> set[Summary]:
    """Where the request itself was not yet on the disk nothing happens: also right."""
    machine = story.machine()
    before = bytes(machine.device.bytes)
    machine.device.log.clear()
    story.ask(machine)
    begun, *_ = cuts_of(before, machine.device.log)
    ends = set()
    for disk in (begun.disk, staging_begun(machine, before)):
        again = Machine(MemoryDevice(disk))
        list(live(again, story.good))
        ends.add(summary(again))
    return ends


def staging_begun(machine: Machine, before: bytes) -> bytes:
    """The disk after the first record that the OS wrote, while its image was still arriving."""
    cuts = cuts_of(before, machine.device.log)
    return next((cut.disk for cut in cuts if cut.label.startswith("epoch 2 ")), before)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_after_every_power_cut_the_machine_settles_as_if_there_had_been_none(story: Story) -> None:
    before, uncut = recorded(story)
    expected, unasked = summary(uncut), ends_before_the_request(story)
    ends = []
    for cut in cuts_of(before, uncut.device.log):
        machine = Machine(MemoryDevice(cut.disk))
        try:
            list(live(machine, story.good))
            assert summary(machine) in {expected, *unasked}
        except AssertionError as exc:
            raise AssertionError(f"{story.name}: {cut.label}: {exc}") from exc
        ends.append(summary(machine))
    assert ends.count(expected) > 20, "a run that writes nothing proves nothing"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_at_every_power_cut_the_record_names_a_whole_image(story: Story) -> None:
    """The invariant of DESIGN 4, looked at from outside before any repair."""
    before, uncut = recorded(story)
    is_rotten = approved_image(area_named_by_the_record(before) or b"") is None
    for cut in cuts_of(before, uncut.device.log):
        area = area_named_by_the_record(cut.disk)
        if area is None or approved_image(area):
            is_rotten = False
        assert area is None or approved_image(area) or is_rotten, f"{story.name}: {cut.label}"
    assert not is_rotten


def test_a_trial_cut_short_once_is_not_a_lost_update() -> None:
    machine = settled_machine(V1)
    machine.os_stages(V2)
    machine.power_on()
    machine.power_on()
    machine.os_confirms()
    assert machine.shape[1] is Phase.IDLE
    assert machine.holds(Area.PRIMARY, V2)
    assert machine.holds(Area.BACKUP, V1)
