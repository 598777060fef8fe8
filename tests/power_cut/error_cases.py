"""The faults of a scenario: every operation of its run without faults, and where that stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bootsvc.units import BLOCK_SIZE
from tests.power_cut.disk import Flushed, Marked, Snapshot, WasRead, Written
from tests.power_cut.failing_disk import Fault, faults_of
from tests.power_cut.failing_start import FailingStart, start_failing
from tests.power_cut.fall_backs import Place
from tests.power_cut.oracle import MAX_STARTS
from tests.power_cut.scenarios import IMAGES, PARTS, AtConsole, Scenario, StageImage
from tests.power_cut.view import look, newest_record
from tests.power_cut.world import HAND_OVER, first_state

COPIED = ("primary", "backup")


@dataclass(frozen=True)
class Case:
    """A fault, the start that it falls on (and its number), and where in the story that is."""

    index: int
    sound: FailingStart
    fault: Fault
    place: Place

    def label(self, scenario: Scenario) -> str:
        """Names this fault."""
        return f"{scenario.name}/{self.index}:{self.fault.kind}@{self.fault.at}"


def cases_of(scenario: Scenario) -> Iterator[Case]:
    """Every fault of the run without faults."""
    state = first_state(scenario)
    for index in range(MAX_STARTS):
        sound = start_failing(scenario, state)
        places = places_of(scenario, sound)
        for fault in faults_of(sound.step.log):
            is_left_out = fault.kind.startswith("flipped") and _is_padding(fault.place)
            if not is_left_out and not is_no_damage(sound, fault):
                yield Case(index, sound, fault, places[fault.at])
        if sound.step.is_rest:
            return
        state = sound.step.after


def places_of(scenario: Scenario, start: FailingStart) -> list[Place]:
    """Where each operation of a start stands in the story."""
    places: list[Place] = []
    content, by_os, area = start.step.before.content, False, ""
    phase = _phase_on(scenario, content)
    for one in start.step.log:
        match one:
            case Marked(name):
                by_os = by_os or name == HAND_OVER
                continue
            case Written(offset, data):
                area = _role_at(offset)
                places.append(Place(phase, area, by_os))
                content = content.written(offset, data)
                if area == "status":
                    phase = _phase_on(scenario, content)
            case WasRead(offset):
                places.append(Place(phase, _role_at(offset), by_os))
            case Flushed():
                places.append(Place(phase, area, by_os))
    return places


def _phase_on(scenario: Scenario, content: Snapshot) -> str:
    record = newest_record(scenario.truth, content)
    return record.phase if record else "LOST"


def _role_at(offset: int) -> str:
    return next(role for role, where in PARTS.items() if offset in where)


def _is_padding(place: int) -> bool:
    """Whether this byte stands between the longest manifest and the locator of an area."""
    longest = max(len(image.manifest_bytes) for image in IMAGES.values())
    end = PARTS[_role_at(place)].stop - BLOCK_SIZE
    return _role_at(place) != "status" and end - BLOCK_SIZE + longest <= place < end


def is_no_damage(start: FailingStart, fault: Fault) -> bool:
    """Whether a bit flips on the medium to what this very start is going to write there."""
    if fault.kind != "flipped-medium":
        return False
    place, step = fault.place, start.step
    (was,), (becomes,) = (one.content.read(place, 1) for one in (step.before, step.after))
    done = [one for one in step.log if not isinstance(one, Marked)][: fault.at]
    is_written = any(
        isinstance(one, Written) and one.offset <= place < one.offset + len(one.data)
        for one in done
    )
    return becomes == was ^ 1 and not is_written


def given_up_in(scenario: Scenario) -> frozenset[str]:
    """The images that a technician gives up by his word: installed over, they are owed no more."""
    record = newest_record(scenario.truth, Snapshot(scenario.base))
    if record is None or not scenario.is_first or not isinstance(scenario.ask, AtConsole):
        return frozenset()
    return frozenset(scenario.truth.name_of(record.identities[area]) for area in COPIED)


def cast_of(scenario: Scenario) -> dict[str, str]:
    """Each image's part in the story: name -> old, older or new; see ``fall_backs``."""
    truth = scenario.truth
    record = newest_record(truth, Snapshot(scenario.base))
    held = look(truth, Snapshot(scenario.base)).holds
    names = {
        area: truth.name_of(record.identities[area]) if record else held[area]
        for area in ("primary", "backup", "staging")
    }
    if isinstance(scenario.ask, AtConsole):
        names["staging"] = held["staging"]  # he sees what stands there, whatever the record says
    asked = scenario.ask.image if isinstance(scenario.ask, StageImage) else names["staging"]
    return {asked: "new", names["backup"]: "older", names["primary"]: "old"}
