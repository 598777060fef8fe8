"""An action's rules: known names and answers, its word, what cannot be done now, breaking off."""

from __future__ import annotations

import pytest

from bootsvc.console.action_table import ACTIONS
from bootsvc.console.actions import Action, Then
from bootsvc.console.perform import DOERS, Session
from bootsvc.formats.boot_status import Area
from bootsvc.sequence.states import Check
from tests.console.console_bench import Bench, QuietWatchdog
from tests.sequence.machine import V1, V2, settled_machine


def without_disk() -> Session:
    session = Bench(settled_machine()).session
    session.runner, session.problem = None, "no disk was found"
    return session


def test_every_action_of_the_table_is_done_by_somebody_and_none_beside_it() -> None:
    assert set(DOERS) == {action.name for action in ACTIONS}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_a_title_fits_the_menu_and_what_can_be_lost_wants_a_word(action: Action) -> None:
    assert len(action.title) <= 40
    assert bool(action.loses) == bool(action.word)
    texts = [action.title, action.help, action.loses, action.word]
    texts += [one.question for one in action.arguments]
    assert all(text.isascii() for text in texts)
    assert all(one.default in (None, *one.choices) for one in action.arguments if one.choices)


def test_an_unknown_action_names_the_nearest_right_one() -> None:
    outcome = Bench(settled_machine()).do("verfy")
    assert not outcome.is_done
    assert "did you mean verify?" in " ".join(outcome.lines)


def test_an_unknown_argument_names_the_nearest_right_one() -> None:
    outcome = Bench(settled_machine()).do("verify", aera="all")
    assert "did you mean area?" in " ".join(outcome.lines)


def test_an_answer_that_is_no_choice_names_the_nearest_right_one() -> None:
    outcome = Bench(settled_machine()).do("verify", area="primry")
    assert "did you mean primary?" in " ".join(outcome.lines)


def test_without_a_disk_nothing_is_read_and_the_reason_is_said() -> None:
    outcome = without_disk().perform("verify", {})
    assert not outcome.is_done
    assert "no disk" in " ".join(outcome.lines)


def test_without_a_disk_the_machine_can_still_be_restarted() -> None:
    assert without_disk().perform("reboot", {}).then is Then.REBOOT


def test_restarting_stops_the_watchdog() -> None:
    bench = Bench(settled_machine())
    assert bench.do("power-off").then is Then.POWER_OFF
    assert isinstance(bench.session.watchdog, QuietWatchdog)
    assert bench.session.watchdog.stopped == 1


def test_verifying_writes_nothing_and_tells_of_every_area() -> None:
    bench = Bench(settled_machine(V2, V1))
    outcome = bench.do("verify")
    assert outcome.is_done
    assert not bench.has_written
    assert dict(outcome.facts) == {
        "primary": "verified",
        "backup": "verified",
        "staging": "refused",
    }
    assert bench.session.used_runner.seen.primary.check is Check.VERIFIED


def test_verifying_finds_a_flipped_bit_and_says_what_it_means() -> None:
    machine = settled_machine(V2, V1)
    machine.flip(Area.BACKUP, 4096 * 3)
    outcome = Bench(machine).do("verify", area="backup")
    assert dict(outcome.facts) == {"backup": "refused"}
    assert "differ from its signed digests" in outcome.lines[0]


def test_verifying_can_be_broken_off_and_leaves_what_was_known() -> None:
    bench = Bench(settled_machine(V2, V1))
    bench.is_cancelled = True
    outcome = bench.do("verify", area="primary")
    assert not outcome.is_done
    assert "Broken off" in outcome.lines[0]
    assert bench.session.used_runner.seen.primary.check is Check.UNSEEN
    bench.is_cancelled = False
    assert bench.do("verify", area="primary").is_done
