"""``decide`` as a table: total, always ending, and never against the invariant (DESIGN 4).

The table is walked with a performer that has no disk: Look, Verify, Copy, Write and Boot come to
every outcome that they can have, and every chain of decisions is followed to its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bootsvc.errors import FieldError
from bootsvc.formats.boot_status import (
    CODES_OF_PHASE,
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
    StatusCode,
    build,
)
from bootsvc.sequence.actions import Action, Boot, Copy, Halt, Look, Verify, Write
from bootsvc.sequence.decide import OTHER_LAYOUT, TABLE, decide, rows_for
from bootsvc.sequence.runner import MAX_ACTIONS
from bootsvc.sequence.states import Check, CopyFailure, Crash, Finding, Observation, Policy

OLD, NEW, ODD = (bytes([letter]) * 32 for letter in b"ONX")
"""The identities of the running image, of the staged one, and of one that no record knows."""

LAYOUT = bytes([1]) * 32
CRASH = Crash(bytes([7]) * 16, Reason.PANIC)
MET_ROT = Crash(bytes([8]) * 16, Reason.ROTTEN_BLOCK)
AREAS = (Area.PRIMARY, Area.BACKUP, Area.STAGING)
BOOT_AREA = {
    StatusCode.WORKING: Area.PRIMARY,
    StatusCode.BACKUP: Area.BACKUP,
    StatusCode.FIRST_START: Area.PRIMARY,
}


def area(state: AreaState, identity: bytes) -> AreaRecord:
    return AreaRecord(state, 4096, 1, identity if state is not AreaState.EMPTY else bytes(32))


def record(phase: Phase, code: StatusCode, **changes: object) -> BootStatus:
    """A record as the table itself would write it, for images OLD and NEW."""
    is_new = phase in (Phase.COPY, Phase.TRIAL, Phase.INSTALL)
    boot_area = Area.NONE if phase in (Phase.INSTALL, Phase.HALT) else BOOT_AREA[code]
    status = BootStatus(
        code,
        phase,
        boot_area,
        layout_hash=LAYOUT,
        primary=area(AreaState.VALID if is_new else AreaState.CONFIRMED, NEW if is_new else OLD),
        backup=area(AreaState.VALID, OLD),
        staging=area(AreaState.VALID, NEW),
    )
    return replace(status, **changes)  # type: ignore[arg-type]


def records() -> Iterator[BootStatus]:
    """Every phase and code with every request, state of an area and count that rows ask for."""
    for phase, codes in CODES_OF_PHASE.items():
        for code, request, backup, staging, tries, retries, crashes in product(
            codes,
            Request,
            (AreaState.EMPTY, AreaState.WRITING, AreaState.VALID, AreaState.BAD),
            (AreaState.VALID, AreaState.BAD),
            (0, 1, 3),
            (0, 1),
            (0, 1, 5),
        ):
            status = record(
                phase,
                code,
                request=request,
                backup=area(backup, OLD),
                staging=area(staging, NEW),
                tries_left=tries,
                restore_retries=retries,
                crash_count=crashes,
            )
            if is_consistent(status):
                yield status


def is_consistent(status: BootStatus) -> bool:
    """Whether such a record can stand on a disk at all."""
    try:
        build(status)
    except FieldError:
        return False
    return True


FINDINGS = (
    Finding(),
    *(Finding(Check.FOOTED, one, 1, 4096) for one in (OLD, NEW)),
    *(Finding(Check.VERIFIED, one, 1, 4096) for one in (OLD, NEW)),
    Finding(Check.VERIFIED, ODD, 9, 4096),
    Finding(Check.REFUSED, OLD, 1, 4096, reason=Reason.ALTERED),
    Finding(Check.REFUSED, reason=Reason.IO_ERROR, errno=5),
    Finding(Check.VERIFIED, NEW, 1, 4096, unbootable=Reason.KERNEL_REFUSED),
    Finding(Check.FOOTED, OLD, 1, 4096, unbootable=Reason.KERNEL_REFUSED),
)
FLAGS: tuple[dict[str, Any], ...] = (
    {},
    {"crash": CRASH},
    {"crash": MET_ROT},
    {"has_try": True},
    {"boot_once": Area.BACKUP},
    {"boot_once": Area.STAGING},
    {"cannot_write": True},
    {"failed_in_data": (OLD, NEW)},
    {"layout_hash": bytes(32)},
    {"policy": Policy(restore=False)},
    {"copy_failure": CopyFailure(Reason.READ_BACK, Area.PRIMARY), "copies_failed": 1},
    {"copy_failure": CopyFailure(Reason.IO_ERROR, Area.BACKUP, 5), "copies_failed": 1},
)


STRIDE = 397
"""Every 397th triple of findings meets each record; shares no factor with their number."""


def test_the_table_has_rows_for_every_phase_that_is_ever_written() -> None:
    assert set(TABLE) == set(CODES_OF_PHASE)


def test_every_combination_gives_exactly_one_action() -> None:
    found = list(product(FINDINGS, repeat=3))
    count = 0
    for index, (status, flags) in enumerate(product(records(), FLAGS)):
        for at in range(index % STRIDE, len(found), STRIDE):
            primary, backup, staging = found[at]
            seen = Observation(
                status,
                primary=primary,
                backup=backup,
                staging=staging,
                **{"layout_hash": LAYOUT} | flags,
            )
            action = decide(seen)
            assert isinstance(action, Action)
            if isinstance(action, Write):
                build(action.status)
            assert_allowed(seen, action)
            count += 1
    assert count > 30_000


def test_a_lost_record_is_decided_for_whatever_the_areas_hold() -> None:
    for primary, backup, staging in product(FINDINGS, repeat=3):
        seen = Observation(None, LAYOUT, primary, backup, staging)
        action = decide(seen)
        if isinstance(action, Write):
            assert action.reconstructs
            build(action.status)
        assert_allowed(seen, action)


identities = st.sampled_from((OLD, NEW, ODD, bytes(32)))
area_records = st.builds(
    AreaRecord, st.sampled_from(AreaState), st.integers(0, 2**64 - 1), st.integers(0, 9), identities
)
findings = st.builds(
    Finding,
    st.sampled_from(Check),
    identities,
    reason=st.sampled_from(Reason),
    unbootable=st.sampled_from((Reason.NONE, Reason.KERNEL_REFUSED, Reason.IO_ERROR)),
).filter(lambda finding: any(finding.identity) or finding.check in (Check.UNSEEN, Check.REFUSED))


@st.composite
def statuses(draw: st.DrawFn) -> BootStatus:
    phase = draw(st.sampled_from(sorted(CODES_OF_PHASE)))
    code = draw(st.sampled_from(CODES_OF_PHASE[phase]))
    is_last = phase is Phase.TRIAL and code is StatusCode.BACKUP
    status = record(
        phase,
        code,
        request=draw(st.sampled_from(Request)),
        tries_left=0 if is_last else draw(st.integers(0, 255)),
        tries_allowed=255,
        restore_retries=draw(st.integers(0, 255)),
        crash_count=draw(st.integers(0, 255)),
        crash_event=draw(st.sampled_from((bytes(16), CRASH.event))),
        primary=draw(area_records),
        backup=draw(area_records),
        staging=draw(area_records),
        last_failure=Failure(reason=draw(st.integers(0, 255))),
        failed=tuple(draw(st.sets(identities.filter(any), max_size=3))),
    )
    assume(is_consistent(status))
    return status


@settings(max_examples=400, deadline=None)
@given(
    st.builds(
        Observation,
        st.one_of(st.none(), statuses()),
        layout_hash=st.sampled_from((LAYOUT, bytes(32))),
        primary=findings,
        backup=findings,
        staging=findings,
        failed_in_data=st.lists(identities.filter(any), max_size=9).map(tuple),
        crash=st.sampled_from((None, CRASH, MET_ROT)),
        policy=st.builds(Policy, st.integers(1, 20), st.booleans(), st.integers(0, 20)),
        copy_failure=st.one_of(
            st.none(), st.builds(CopyFailure, st.sampled_from(Reason), st.sampled_from(AREAS))
        ),
        copies_failed=st.integers(0, 3),
        has_try=st.booleans(),
        boot_once=st.sampled_from((Area.NONE, Area.BACKUP, Area.STAGING)),
        cannot_write=st.booleans(),
    ).filter(lambda seen: seen.status is not None or not seen.cannot_write)
)
def test_no_observation_at_all_makes_decide_raise(seen: Observation) -> None:
    action = decide(seen)
    assert isinstance(action, Action)
    if isinstance(action, Write):
        build(action.status)
    assert_allowed(seen, action)


# --- what no action may ever do ------------------------------------------------------------------


def assert_allowed(seen: Observation, action: Action) -> None:
    """The invariant of DESIGN 4 for one decision."""
    status = seen.status
    if isinstance(action, Copy):
        assert status is not None
        assert action.target is not status.boot_area, "the area that may be booted is overwritten"
        assert seen.finding(action.source).is_verified, "what is copied was not read in full"
        if action.target is Area.BACKUP:
            assert status.phase is Phase.BACKUP, "the backup is overwritten outside BACKUP"
            assert action.source is Area.PRIMARY
        if status.phase in (Phase.COPY, Phase.RESTORE, Phase.ROLLBACK):
            assert seen.backup.is_verified, "the backup is relied on unread"
    if isinstance(action, Write):
        assert not seen.cannot_write
        assert status is None or status.layout_hash == seen.layout_hash
        assert_names_a_whole_area(seen, action.status)
    if isinstance(action, Boot):
        assert not seen.finding(action.area).unbootable
        if action.area is Area.STAGING:
            assert seen.boot_once is Area.STAGING, "staging is started, and nobody asked for it"
            assert seen.staging.is_verified, "staging is started unread"
        assert_boots_what_is_there(seen, action)


def assert_names_a_whole_area(seen: Observation, new: BootStatus) -> None:
    old = seen.status
    if new.boot_area is Area.NONE:
        return
    named = new.area(new.boot_area)
    assert named.state is not AreaState.WRITING
    if seen.finding(new.boot_area).is_verified:
        return
    assert old is not None, "an area is named that nobody looked at"
    was_named = old.boot_area is new.boot_area and old.area(new.boot_area).identity == (
        named.identity
    )
    was_whole_behind_a_trial = old.phase is Phase.TRIAL and new.boot_area is Area.BACKUP
    assert was_named or was_whole_behind_a_trial


def assert_boots_what_is_there(seen: Observation, action: Boot) -> None:
    finding = seen.finding(action.area)
    assert any(finding.identity), "an area without a footer is started"
    assert seen.status is not None
    fits = finding.identity == seen.status.area(action.area).identity
    assert finding.is_verified or fits
    if action.is_trial:
        assert seen.has_try
        assert action.area is Area.PRIMARY
        assert seen.status.phase is Phase.TRIAL
    elif action.area is Area.PRIMARY and seen.status.phase is Phase.TRIAL:
        raise AssertionError("an image on trial is started without paying for a try")


# --- every chain of decisions --------------------------------------------------------------------


def outcomes(seen: Observation, action: Action) -> Iterator[Observation]:
    """Everything that performing ``action`` may lead to."""
    match action:
        case Look(where):
            yield from (
                seen.with_finding(where, replace(one, unbootable=seen.finding(where).unbootable))
                for one in looks(seen, where)
            )
        case Verify(where):
            yield from (
                seen.with_finding(where, replace(one, unbootable=seen.finding(where).unbootable))
                for one in readings(seen, where)
            )
        case Write():
            primary = seen.primary
            if action.takes_try:
                primary = replace(primary, unbootable=Reason.NONE)
            yield replace(
                seen,
                primary=primary,
                status=action.status,
                has_try=action.takes_try,
                boot_once=action.boot_once,
                copy_failure=seen.copy_failure if action.keeps_copy_failure else None,
                copies_failed=seen.copies_failed if action.keeps_copy_failure else 0,
            )
            yield replace(
                seen, status=seen.status or action.status, cannot_write=True, has_try=False
            )
        case Copy(source, target):
            yield seen.with_finding(target, replace(seen.finding(source), unbootable=Reason.NONE))
            for failure in (
                CopyFailure(Reason.READ_BACK, target),
                CopyFailure(Reason.IO_ERROR, target, 5),
                CopyFailure(Reason.IO_ERROR, source, 5),
            ):
                yield replace(
                    seen.with_finding(target, Finding()),
                    copy_failure=failure,
                    copies_failed=seen.copies_failed + 1,
                )
        case Boot(where):
            for reason in (Reason.KERNEL_REFUSED, Reason.IO_ERROR):
                finding = replace(seen.finding(where), unbootable=reason)
                yield replace(seen.with_finding(where, finding), has_try=False, boot_once=Area.NONE)


def looks(seen: Observation, where: Area) -> Iterator[Finding]:
    for identity in known_identities(seen, where):
        yield Finding(Check.FOOTED, identity, 1, 4096)
        yield Finding(Check.VERIFIED, identity, 1, 4096)
    yield Finding(Check.REFUSED, reason=Reason.NO_IMAGE)


def readings(seen: Observation, where: Area) -> Iterator[Finding]:
    before = seen.finding(where)
    for identity in [before.identity] if any(before.identity) else known_identities(seen, where):
        yield Finding(Check.VERIFIED, identity, 1, 4096)
    yield replace(before, check=Check.REFUSED, reason=Reason.ALTERED)


def known_identities(seen: Observation, where: Area) -> list[bytes]:
    recorded = seen.status.area(where).identity if seen.status else OLD
    return [recorded, ODD] if any(recorded) else [ODD]


def walk(first: Observation, finished: set[Observation]) -> None:
    """Follow every chain from ``first``, but none beyond what is ``finished`` already.

    A chain that meets an observation of its own again would never end.
    """
    on_the_way: set[Observation] = {first}
    stack = [(first, iter(steps(first)))]
    while stack:
        seen, later = stack[-1]
        following = next(later, None)
        if following is None:
            stack.pop()
            on_the_way.discard(seen)
            finished.add(seen)
            continue
        assert following not in on_the_way, f"an endless chain in {following.status}"
        if following not in finished:
            on_the_way.add(following)
            stack.append((following, iter(steps(following))))
        assert len(stack) < MAX_ACTIONS


def steps(seen: Observation) -> Iterator[Observation]:
    action = decide(seen)
    assert_allowed(seen, action)
    if not isinstance(action, Halt):
        yield from outcomes(seen, action)


def first_records() -> Iterator[BootStatus | None]:
    yield None
    for phase, codes in CODES_OF_PHASE.items():
        for code, request, backup, crashes in product(
            codes, Request, (AreaState.EMPTY, AreaState.VALID), (0, 1)
        ):
            is_last = phase is Phase.TRIAL and code is StatusCode.BACKUP
            status = record(
                phase,
                code,
                request=request,
                backup=area(backup, OLD),
                tries_left=0 if is_last else 1,
                restore_retries=1,
                crash_count=crashes,
            )
            if is_consistent(status):
                yield status


@pytest.mark.parametrize(
    ("crash", "restore"),
    [(None, True), (CRASH, True), (None, False)],
    ids=["quiet", "crash", "restore off"],
)
def test_every_chain_of_decisions_ends_and_keeps_the_invariant(
    crash: Crash | None, *, restore: bool
) -> None:
    met: set[Observation] = set()
    for status in first_records():
        policy = Policy(tries=1, restore=restore, restore_retries=1, crash_limit=1)
        walk(Observation(status, LAYOUT, crash=crash, policy=policy), met)
    assert len(met) > 5_000


@pytest.mark.parametrize("phase", sorted(TABLE), ids=lambda phase: phase.name)
def test_the_last_row_of_every_phase_holds_always(phase: Phase) -> None:
    everything = Observation(record(phase, CODES_OF_PHASE[phase][0]), LAYOUT)
    for seen in (everything, replace(everything, cannot_write=True)):
        assert rows_for(seen)[-1].when(seen)
    assert OTHER_LAYOUT[-1].when(everything)
