"""What the console gathers of a machine, before and after its areas were read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootsvc.console.facts import Facts
from bootsvc.console.facts_of import facts_of
from bootsvc.formats.boot_status import Area, Failure, Phase, Reason
from tests.console.console_bench import Bench
from tests.sequence.machine import V1, V2, settled_machine


@pytest.fixture
def bench() -> Bench:
    return Bench(settled_machine(V2, V1))


def test_a_healthy_machine_is_told_by_its_footers(bench: Bench) -> None:
    facts = facts_of(bench.session, slot="b")
    assert (facts.next, facts.slot, facts.problem) == ("start primary", "b", "")
    assert facts.why == "primary is confirmed, and nothing was asked for"
    primary, backup, staging = facts.areas
    assert (primary.number, primary.state, primary.check) == (2, "confirmed", "footed")
    assert (backup.number, backup.identity) == (1, V1.identity.hex())
    assert primary.signed_by
    assert (staging.identity, staging.check) == ("", "refused")
    assert not bench.has_written


def test_what_was_verified_in_this_start_is_told(bench: Bench) -> None:
    bench.do("verify", area="all")
    facts = facts_of(bench.session)
    assert [one.check for one in facts.areas] == ["verified", "verified", "refused"]


def test_an_altered_area_is_told_with_its_reason(bench: Bench) -> None:
    bench.machine.flip(Area.BACKUP, 5)
    bench.do("verify", area="backup")
    backup = facts_of(bench.session).area("backup")
    assert backup.check == "refused"
    assert backup.problem == "the image's bytes differ from its signed digests"
    assert backup.number == 1


def test_a_failure_is_told_with_its_time() -> None:
    machine = settled_machine(V2, V1)
    failure = Failure(Phase.TRIAL, Reason.PANIC, Area.PRIMARY, 0, 77, 3, b"3" * 32)
    machine.change_record(last_failure=failure, failed=(b"3" * 32,))
    facts = facts_of(Bench(machine).session)
    assert facts.last_failure.startswith("TRIAL: the kernel panicked, area primary")
    assert facts.last_failure_at_s == 77
    assert facts.failed == ((b"3" * 32).hex(),)


def test_alarms_and_the_watchdog_are_told_as_they_were_said(bench: Bench) -> None:
    for text in ("ALARM a", "watchdog: first", "ALARM a", "watchdog: guards", "ALARM b"):
        bench.session.reporter.say(text)
    facts = facts_of(bench.session)
    assert facts.alarms == ("a", "b")
    assert facts.watchdog == "guards"


def test_without_a_record_the_areas_are_still_told(bench: Bench) -> None:
    runner = bench.session.used_runner
    runner.seen = replace(runner.seen, status=None, failed_in_data=(b"9" * 32,))
    facts = facts_of(bench.session)
    assert facts.status is None
    assert facts.next == "look at both areas and start what verifies"
    assert [one.state for one in facts.areas] == ["unknown"] * 3
    assert facts.area("primary").number == 2
    assert facts.failed == ((b"9" * 32).hex(),)


def test_without_a_disk_the_problem_is_told(bench: Bench) -> None:
    bench.session.runner, bench.session.problem = None, "no disk"
    facts: Facts = facts_of(bench.session)
    assert (facts.disk, facts.areas, facts.problem) == ("", (), "no disk")
    assert facts.why == "no disk"


@pytest.mark.parametrize(("now_s", "shown"), [(1_000_000.0, 0), (1_800_000_000.9, 1_800_000_000)])
def test_a_clock_that_was_never_set_is_no_clock(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, now_s: float, shown: int
) -> None:
    monkeypatch.setattr("bootsvc.console.facts_of.time.time", lambda: now_s)
    assert facts_of(bench.session).clock_s == shown
