"""CHECK and REFUSED: an image that may not be installed changes nothing but the record."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, Request, StatusCode
from bootsvc.formats.tree import tree_size
from bootsvc.sequence.actions import Boot
from bootsvc.sequence.checks import Site
from bootsvc.units import BLOCK_SIZE
from tests.images import (
    COMPATIBLE,
    KEY,
    OTHER_KEY,
    Image,
    make_image,
    random_blocks,
    with_manifest,
)
from tests.sequence.machine import (
    AREA_SIZE,
    STAGING_SIZE,
    V1,
    V2,
    V3,
    WHERE,
    Machine,
    settled_machine,
)

LOCATOR_AT = STAGING_SIZE - BLOCK_SIZE


def one_byte_short_at_the_end(machine: Machine) -> None:
    """The file lost its last byte: the locator's checksum does not fit."""
    machine.os_stages(V3)
    machine.overwrite(Area.STAGING, STAGING_SIZE - 1, b"\0")


def written_one_byte_too_early(machine: Machine) -> None:
    """A file that is one byte short, laid at the area's end."""
    machine.os_stages(V3)
    footer = V3.footer[1:] + b"\0"
    machine.overwrite(Area.STAGING, STAGING_SIZE - len(footer), footer)


def without_its_last_block(machine: Machine) -> None:
    machine.os_stages(V3)
    machine.overwrite(Area.STAGING, len(V3.content) - BLOCK_SIZE, bytes(BLOCK_SIZE))


def altered_in_one_byte(machine: Machine) -> None:
    machine.os_stages(V3)
    machine.flip(Area.STAGING, 3 * BLOCK_SIZE + 17)


def altered_in_its_tree(machine: Machine) -> None:
    machine.os_stages(V3)
    machine.flip(Area.STAGING, STAGING_SIZE - len(V3.footer) + 100)


def altered_in_its_manifest(machine: Machine) -> None:
    """Still JSON and still plausible, but not what was signed."""
    machine.os_stages(V3)
    data = V3.manifest_bytes.replace(b'"label": "3.0"', b'"label": "4.0"')
    machine.overwrite(Area.STAGING, LOCATOR_AT - BLOCK_SIZE, data)


def too_large(machine: Machine) -> None:
    machine.os_stages(make_image(random_blocks(AREA_SIZE // BLOCK_SIZE - 2, 9), number=9))


def for_another_machine(machine: Machine) -> None:
    machine.os_stages(make_image(V3.content, number=3, compatible="other"))


def below_the_floor(machine: Machine) -> None:
    machine.os_stages(make_image(V3.content, number=0))


def signed_by_a_stranger(machine: Machine) -> None:
    machine.os_stages(make_image(V3.content, number=3, key=OTHER_KEY))


def signed_by_a_retired_key(machine: Machine) -> None:
    machine.site = Site((KEY.public(), OTHER_KEY.public(is_retired=True)), COMPATIBLE)
    machine.os_stages(make_image(V3.content, number=3, key=OTHER_KEY))


def failed_before(machine: Machine) -> None:
    machine.os_stages(V3)
    machine.change_record(failed=(V3.identity,))


def with_a_smaller_size_in_the_manifest(machine: Machine) -> None:
    """The manifest lies, the locator does not."""
    machine.os_stages(with_manifest(V3, size=V3.manifest.size - BLOCK_SIZE))


def with_a_larger_size_everywhere(machine: Machine) -> None:
    """Manifest and locator lie alike: the tree's size gives them away."""
    size = len(V3.content) * 200
    lying = with_manifest(V3, size=size)
    machine.os_stages(lying)
    forge_locator(machine, lying, image_size=size)


def with_sizes_beyond_the_area(machine: Machine) -> None:
    """All sizes fit each other, and none fits the disk."""
    size = STAGING_SIZE * 2
    lying = with_manifest(V3, size=size)
    machine.os_stages(lying)
    forge_locator(machine, lying, image_size=size, tree_size=tree_size(size))


def with_one_block_less_everywhere(machine: Machine) -> None:
    """Sizes fit each other and the disk, but the signed root covers more."""
    size = len(V3.content) - BLOCK_SIZE
    lying = with_manifest(V3, size=size)
    machine.os_stages(replace(lying, locator=replace(lying.locator, image_size=size)))


def forge_locator(machine: Machine, image: Image, **sizes: int) -> None:
    """A locator that the library would not build, with a right checksum."""
    block = bytearray(image.footer[-BLOCK_SIZE:])
    for name, value in sizes.items():
        struct.pack_into("<Q", block, {"image_size": 16, "tree_size": 24}[name], value)
    struct.pack_into("<I", block, BLOCK_SIZE - 4, zlib.crc32(block[:-4]))
    machine.overwrite(Area.STAGING, LOCATOR_AT, bytes(block))


def nothing_at_all(machine: Machine) -> None:
    machine.os_stages(V3)
    machine.overwrite(Area.STAGING, 0, bytes(STAGING_SIZE))


def unreadable(machine: Machine) -> None:
    machine.os_stages(V3)
    start = WHERE[Area.STAGING].start
    machine.device.bad_reads = [range(start + 5000, start + 5001)]


REFUSED: list[tuple[Callable[[Machine], None], Reason]] = [
    (one_byte_short_at_the_end, Reason.ALTERED),
    (written_one_byte_too_early, Reason.NO_IMAGE),
    (without_its_last_block, Reason.ALTERED),
    (altered_in_one_byte, Reason.ALTERED),
    (altered_in_its_tree, Reason.ALTERED),
    (altered_in_its_manifest, Reason.SIGNATURE),
    (too_large, Reason.TOO_LARGE),
    (for_another_machine, Reason.WRONG_MACHINE),
    (below_the_floor, Reason.BELOW_FLOOR),
    (signed_by_a_stranger, Reason.SIGNATURE),
    (signed_by_a_retired_key, Reason.RETIRED_KEY),
    (failed_before, Reason.FAILED_BEFORE),
    (with_a_smaller_size_in_the_manifest, Reason.SIZE_MISMATCH),
    (with_a_larger_size_everywhere, Reason.SIZE_MISMATCH),
    (with_sizes_beyond_the_area, Reason.SIZE_MISMATCH),
    (with_one_block_less_everywhere, Reason.ALTERED),
    (nothing_at_all, Reason.NO_IMAGE),
    (unreadable, Reason.IO_ERROR),
]


@pytest.mark.parametrize(("stage", "reason"), REFUSED, ids=[stage.__name__ for stage, _ in REFUSED])
def test_a_bad_image_is_refused_with_its_reason_and_changes_no_area(
    stage: Callable[[Machine], None], reason: Reason
) -> None:
    machine = settled_machine(V2, backup=V1)
    stage(machine)
    areas = machine.area_bytes(Area.PRIMARY), machine.area_bytes(Area.BACKUP)

    started = machine.power_on()

    assert started.outcome == Boot(Area.PRIMARY)
    assert machine.runs(V2)
    assert (machine.area_bytes(Area.PRIMARY), machine.area_bytes(Area.BACKUP)) == areas
    record = machine.record
    assert machine.shape == (StatusCode.WORKING, Phase.IDLE, Area.PRIMARY)
    assert record.request is Request.NONE
    assert record.staging.state is AreaState.BAD
    assert (record.last_failure.phase, record.last_failure.reason) == (Phase.CHECK, reason)
    assert record.last_failure.area is Area.STAGING

    machine.device.log.clear()
    machine.power_on()
    assert not machine.device.reads_in(WHERE[Area.STAGING]), "checked again at the next start"
    assert not machine.device.writes()


def test_a_failing_disk_leaves_its_error_number_in_the_record() -> None:
    machine = settled_machine(V2, backup=V1)
    unreadable(machine)
    machine.power_on()
    assert machine.record.last_failure.errno == 5
    assert machine.record.failed == ()


def test_a_refused_image_can_be_staged_again_once_it_is_whole() -> None:
    machine = settled_machine(V2, backup=V1)
    altered_in_one_byte(machine)
    machine.power_on()
    machine.os_stages(V3)
    assert machine.power_on().outcome == Boot(Area.PRIMARY, is_trial=True)
    assert machine.runs(V3)


def test_the_image_that_runs_already_is_not_installed_again() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.os_stages(V2)
    machine.power_on()
    assert machine.record.last_failure.reason == Reason.SAME_IMAGE
    assert machine.holds(Area.BACKUP, V1)


def test_what_lies_in_an_area_is_started_although_its_key_is_retired_and_its_floor_passed() -> None:
    machine = settled_machine(V2, backup=V1)
    machine.site = Site((KEY.public(is_retired=True),), COMPATIBLE)
    machine.change_record(version_floor=9)
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    machine.os_rolls_back()
    assert machine.power_on().outcome == Boot(Area.PRIMARY)
    assert machine.runs(V1)
