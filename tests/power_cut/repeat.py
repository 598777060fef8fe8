"""One state made again from its label, and shown start by start."""

from __future__ import annotations

from tests.power_cut.explore import Plan, Walk
from tests.power_cut.scenarios import BY_NAME, Scenario
from tests.power_cut.timeline import moments_of
from tests.power_cut.view import look
from tests.power_cut.world import State, first_state


def state_of(label: str, seed: int = 0) -> tuple[Scenario, State]:
    """The scenario and the state that ``label`` names; see ``explore``.

    Raises:
        ValueError: there is no such state (was it made with another seed?).
    """
    name, *cuts = label.split("/")
    if name not in BY_NAME:
        raise ValueError(f"{label}: there is no scenario {name!r}")
    walk = Walk(BY_NAME[name], Plan(seed=seed))
    state = first_state(walk.scenario)
    for depth, cut in enumerate(cuts, 1):
        index, _, wanted = cut.partition(":")
        found = walk.cut_state(state, int(index), wanted, depth)
        if found is None:
            raise ValueError(f"{label}: there is no cut {cut!r}")
        state = found
    return walk.scenario, state


def repeat(label: str, seed: int = 0) -> tuple[str, bool]:
    """How the state goes on and what the judge says, as text; whether every promise is kept."""
    scenario, state = state_of(label, seed)
    walk = Walk(scenario, Plan(seed=seed))
    lines = [label, f"  {scenario.about}", "", f"the disk: {describe(scenario, state)}"]
    for number, step in enumerate(walk.chain(state)):
        lines += ["", f"start {number}: " + "; ".join((*step.told, step.problem)).strip("; ")]
        for one in moments_of([step]):
            where = f"{one.area} {one.offset}+{one.length}" if one.length else one.area
            lines.append(f"  {one.t:4} {one.phase:10} {one.kind:7} {where}".rstrip())
        lines.append(f"  then: {describe(scenario, step.after)}")
    fate = walk.settle(state, label, "")
    lines += [
        "",
        f"ends after {fate.starts} starts: {fate.end.name or fate.end if fate.end else '-'}",
    ]
    lines += [f"BROKEN {one.clause}: {one.seen}" for one in walk.violations]
    return "\n".join(lines), not walk.violations


def describe(scenario: Scenario, state: State) -> str:
    """Record and areas in one line."""
    view = look(scenario.truth, state.content)
    areas = ", ".join(f"{area} holds {name}" for area, name in view.holds.items())
    record = view.record
    if record is None:
        return f"record lost; {areas}"
    return (
        f"{record.phase}, code {record.code}, boots {record.boot}, request {record.request},"
        f" sequence {record.sequence}, {record.tries_left} tries left; {areas}"
    )
