"""What changes the record, at the console: its word, its reading first, its refusals in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Then
from bootsvc.formats.boot_status import Area, AreaState, Phase, Request, StatusCode
from bootsvc.sequence.actions import Boot
from bootsvc.sequence.states import Policy
from tests.console.console_bench import Bench
from tests.sequence.machine import (
    PARTS,
    V1,
    V2,
    V3,
    Machine,
    area_record,
    new_machine,
    settled_machine,
)
from tests.sequence.test_by_hand_story import on_trial, thrown_back, without_way_back

WORDS = {action.name: action.word for action in ACTIONS}


def refusal(bench: Bench, name: str) -> str:
    """What the menu shows beside an action that cannot be done now."""
    action = next(one for one in ACTIONS if one.name == name)
    return action.refusal(bench.session.facts())


def test_a_restore_is_begun_only_with_its_word() -> None:
    bench = Bench(settled_machine(V2, V1))
    for word in ("", "restore", "RESTOR", "RRESTORE", "ROLLBACK"):
        outcome = bench.do("restore", word)
        assert not outcome.is_done
        assert "RESTORE" in outcome.lines[-1]
        assert "lost" in outcome.lines[0]
    assert not bench.has_written
    outcome = bench.do("restore", "RESTORE")
    assert outcome.is_done
    assert outcome.then is Then.GO_ON
    assert bench.record.phase is Phase.RESTORE
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY)
    assert bench.machine.holds(Area.PRIMARY, V1)


def test_a_restore_of_a_bad_backup_says_what_is_wrong_with_it() -> None:
    machine = settled_machine(V2, V1)
    machine.flip(Area.BACKUP, 4096 * 3)
    outcome = Bench(machine).do("restore", "RESTORE")
    assert not outcome.is_done
    assert "differ from its signed digests" in outcome.lines[0]
    assert outcome.lines[1].startswith("Next: ")


def test_reading_the_backup_can_be_broken_off_and_nothing_is_recorded() -> None:
    bench = Bench(settled_machine(V2, V1))
    bench.is_cancelled = True
    assert not bench.do("restore", "RESTORE").is_done
    assert not bench.has_written
    assert bench.record.phase is Phase.IDLE


def test_rolling_back_is_asked_for_and_the_sequence_goes_on() -> None:
    bench = Bench(settled_machine(V2, V1))
    outcome = bench.do("roll-back", "ROLLBACK")
    assert outcome.then is Then.GO_ON
    assert bench.record.request is Request.ROLLBACK
    assert "go back to the image in backup" in outcome.lines[0]


def test_a_trial_is_abandoned() -> None:
    bench = Bench(on_trial())
    assert bench.do("abandon", "ABANDON").then is Then.GO_ON
    assert bench.record.phase is Phase.RESTORE
    assert bench.record.failed == (V3.identity,)


def test_retrying_a_trial_resumes_it_and_writes_nothing_by_itself() -> None:
    bench = Bench(on_trial())
    assert bench.do("retry").then is Then.GO_ON
    assert not bench.has_written
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY, is_trial=True)


def test_retrying_a_first_installation_resumes_it() -> None:
    bench = Bench(new_machine())
    assert bench.do("retry").then is Then.GO_ON
    assert not bench.has_written


def test_retrying_a_first_installation_that_was_refused_asks_for_it_again() -> None:
    machine = new_machine()
    machine.flip(Area.STAGING, 4096 * 3)
    machine.power_on()
    assert not Bench(machine, problem="the image is altered").do("retry").is_done
    machine.put(Area.STAGING, V1)
    bench = Bench(machine, problem="the image is altered")
    assert bench.do("retry").then is Then.GO_ON
    assert bench.session.used_runner.run() == Boot(Area.PRIMARY, is_trial=True)


def test_retrying_a_failed_image_asks_for_it_with_a_transaction_of_its_own() -> None:
    machine = thrown_back()
    before = machine.record.transaction
    bench = Bench(machine)
    assert bench.do("retry").then is Then.GO_ON
    assert bench.record.request is Request.UPDATE
    assert bench.record.transaction != before
    assert any(bench.record.transaction)


def test_installing_without_a_backup_wants_its_word() -> None:
    bench = Bench(without_way_back())
    assert not bench.do("install-without-backup").is_done
    assert bench.do("install-without-backup", "INSTALL").then is Then.GO_ON
    assert bench.record.phase is Phase.INSTALL


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (on_trial, "restore", "An update is unfinished (phase TRIAL)."),
        (on_trial, "roll-back", "An update is unfinished (phase TRIAL)."),
        (on_trial, "install", "An update is unfinished (phase TRIAL)."),
        (settled_machine, "roll-back", "Backup holds the same image as primary."),
        (settled_machine, "abandon", "No update is under way, and nothing was asked for."),
        (settled_machine, "install-without-backup", "No update was refused"),
        (new_machine, "abandon", "A first installation has nothing to go back to."),
        (on_trial, "test-watchdog", "Something is under way"),
    ],
)
def test_what_cannot_be_done_now_is_refused_in_words_and_nothing_is_read(
    make: Callable[[], Machine], name: str, words: str
) -> None:
    bench = Bench(make())
    assert refusal(bench, name).startswith(words)
    bench.machine.device.log.clear()
    outcome = bench.do(name, WORDS[name])
    assert not outcome.is_done
    assert outcome.lines == (refusal(bench, name),)
    assert not bench.machine.device.log


def test_no_refusal_sends_a_person_to_a_command_line_that_is_not_there() -> None:
    for make in (settled_machine, on_trial, new_machine, thrown_back, without_way_back):
        bench = Bench(make())
        for action in ACTIONS:
            assert "bootsvc " not in refusal(bench, action.name)


@pytest.mark.parametrize("name", ["restore", "roll-back", "retry", "abandon", "install"])
def test_a_lost_record_is_left_to_the_sequence(name: str) -> None:
    machine = settled_machine(V2, V1)
    machine.device.bytes[PARTS["status"].start : PARTS["status"].stop] = bytes(len(PARTS["status"]))
    bench = Bench(machine)
    assert "record is lost" in refusal(bench, name)


def test_restoring_that_a_setting_forbids_is_refused_before_the_backup_is_read() -> None:
    machine = settled_machine(V2, V1)
    machine.policy = Policy(restore=False)
    outcome = Bench(machine).do("restore", "RESTORE")
    assert "switched off" in outcome.lines[0]


# --- starting an area once ----------------------------------------------------------------------


def test_the_backup_is_verified_and_started_this_once() -> None:
    bench = Bench(settled_machine(V2, V1))
    outcome = bench.do("boot-once", area="backup")
    assert (outcome.then, outcome.area) == (Then.BOOT, Area.BACKUP)
    assert not bench.has_written
    assert bench.session.used_runner.seen.backup.is_verified


def test_an_area_that_does_not_verify_is_not_started() -> None:
    machine = settled_machine(V2, V1)
    machine.flip(Area.BACKUP, 4096 * 3)
    outcome = Bench(machine).do("boot-once", area="backup")
    assert not outcome.is_done
    assert outcome.then is Then.STAY


@pytest.mark.parametrize(
    ("make", "area", "words"),
    [
        (on_trial, "primary", "has not proved itself"),
        (new_machine, "primary", "has not proved itself"),
        (settled_machine, "staging", "only on a machine that has halted"),
    ],
)
def test_an_image_that_has_not_proved_itself_is_not_started(
    make: Callable[[], Machine], area: str, words: str
) -> None:
    bench = Bench(make())
    bench.machine.device.log.clear()
    outcome = bench.do("boot-once", area=area)
    assert words in outcome.lines[0]
    assert not bench.machine.device.log


def test_an_area_that_is_being_written_is_not_started() -> None:
    machine = settled_machine(V2, V2)
    machine.os_stages(V3)
    machine.change_record(
        status_code=StatusCode.BACKUP, phase=Phase.COPY, boot_area=Area.BACKUP, request=Request.NONE
    )
    machine.change_record(primary=area_record(V3, AreaState.WRITING))
    assert "being written" in Bench(machine).do("boot-once", area="primary").lines[0]


def test_another_image_than_the_proven_one_is_not_started() -> None:
    machine = settled_machine(V2, V1)
    machine.put(Area.PRIMARY, V3)
    outcome = Bench(machine).do("boot-once", area="primary")
    assert "another image" in outcome.lines[0]
    assert not outcome.is_done


def halted() -> Machine:
    """The first image used up its tries; there is nothing behind it."""
    machine = new_machine(V1)
    machine.policy = Policy(tries=1)
    machine.power_on()
    machine.power_on()
    assert machine.record.phase is Phase.HALT
    return machine


def test_a_machine_that_halted_starts_any_image_that_verifies_with_an_alarm() -> None:
    for area in ("primary", "staging"):
        outcome = Bench(halted(), problem="nothing left to start").do("boot-once", area=area)
        assert outcome.then is Then.BOOT
        assert outcome.alarm


@pytest.mark.parametrize("area", ["primary", "staging"])
def test_a_machine_that_halted_still_starts_nothing_that_does_not_verify(area: str) -> None:
    machine = halted()
    for one in (Area.PRIMARY, Area.STAGING):
        machine.flip(one, 4096 * 3)
    outcome = Bench(machine, problem="nothing left to start").do("boot-once", area=area)
    assert not outcome.is_done
    assert "differs from its digest" in outcome.lines[0] or "differ from" in outcome.lines[0]
