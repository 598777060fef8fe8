"""``bootsvc confirm`` and ``reject``: only the right system may speak."""

from dataclasses import replace
from pathlib import Path

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.formats.boot_status import Area, AreaState, Phase, Reason, StatusCode
from bootsvc.formats.failed_list import NAME, parse
from tests.bench import V1, V2, V3
from tests.cli.command import TRANSACTION, Command, Outcome


def helper(bootsvc: Command, name: str, code: int = 0) -> Path:
    """A script of the package that notes how it was called."""
    called = bootsvc.folder / f"{name}.called"
    script = bootsvc.helpers / name
    script.write_text(f'#!/bin/sh\necho "$*" >>{called}\nexit {code}\n')
    script.chmod(0o755)
    return called


def refused(outcome: Outcome) -> bool:
    return outcome.code == ExitCode.CONFIRM_REFUSED


def test_image_on_trial_confirms_itself_and_raises_the_floor(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over()
    outcome = bootsvc("confirm")
    assert outcome.code == ExitCode.OK
    assert "number 2, label 2.0" in outcome.out
    status = bootsvc.bench.status
    assert (status.status_code, status.phase) == (StatusCode.WORKING, Phase.IDLE)
    assert status.primary.state is AreaState.CONFIRMED
    assert status.staging.state is AreaState.EMPTY
    assert status.version_floor == V2.manifest.floor == 1


def test_second_confirm_writes_nothing(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over()
    bootsvc("confirm")
    before = bootsvc.bench.digest()
    outcome = bootsvc("confirm")
    assert outcome.code == ExitCode.OK
    assert "nothing to confirm" in outcome.out
    assert bootsvc.bench.digest() == before


def test_confirmed_start_clears_the_crash_count(bootsvc: Command) -> None:
    bootsvc.bench.change(lambda status: replace(status, crash_count=3))
    bootsvc.handed_over(is_trial=False)
    assert bootsvc("confirm").code == ExitCode.OK
    assert bootsvc.bench.status.crash_count == 0


def test_every_confirm_tells_data_which_images_failed_here(bootsvc: Command) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.change(lambda status: status.with_failed(V3.identity))
    assert bootsvc("confirm").code == ExitCode.OK
    assert parse((data / NAME).read_bytes()) == (V3.identity,)


def test_the_backups_system_tells_data_as_well_although_it_confirms_nothing(
    bootsvc: Command,
) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.change(lambda status: status.with_failed(V3.identity))
    bootsvc.handed_over(V1, Area.BACKUP)
    assert refused(bootsvc("confirm"))
    assert parse((data / NAME).read_bytes()) == (V3.identity,)


def test_a_list_of_failed_images_that_cannot_be_written_fails_no_confirm(bootsvc: Command) -> None:
    bootsvc.uses_data().rmdir()
    bootsvc.bench.change(lambda status: status.with_failed(V3.identity))
    outcome = bootsvc("confirm")
    assert outcome.code == ExitCode.OK
    assert "ALARM the list of failed images in data cannot be written" in outcome.err


@pytest.mark.parametrize("why", ["another disk", "data takes no writes"])
def test_data_hears_only_of_its_own_machine_and_where_it_takes_writes(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    data = bootsvc.uses_data()
    bootsvc.bench.change(lambda status: status.with_failed(V3.identity))
    if why == "another disk":
        monkeypatch.setattr("bootsvc.os_side.machine.whole_disk", lambda _: Path("/dev/other"))
    else:
        (bootsvc.run_dir / "overlay.env").write_text("BOOTSVC_DATA_USED=0\n")
    assert bootsvc("confirm").code == ExitCode.OK
    assert not list(data.iterdir())


def test_backup_started_after_a_failed_last_try_cannot_confirm(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over(V1, Area.BACKUP)
    before = bootsvc.bench.digest()
    assert refused(bootsvc("confirm"))
    assert bootsvc.bench.digest() == before


@pytest.mark.parametrize("kind", ["image", "area", "transaction"])
def test_area_identity_and_transaction_must_all_fit(bootsvc: Command, kind: str) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over(
        image=V1 if kind == "image" else V2,
        area=Area.BACKUP if kind == "area" else Area.PRIMARY,
        transaction=bytes(16) if kind == "transaction" else TRANSACTION,
    )
    before = bootsvc.bench.digest()
    assert refused(bootsvc("confirm"))
    assert refused(bootsvc("reject"))
    assert bootsvc.bench.digest() == before


def test_system_that_the_updater_did_not_start_cannot_confirm(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    before = bootsvc.bench.digest()
    outcome = bootsvc("confirm")
    assert refused(outcome)
    assert "not started by the updater" in outcome.err
    assert bootsvc.bench.digest() == before


def test_primary_that_holds_another_image_by_now_is_not_confirmed(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over()
    bootsvc.bench.put(Area.PRIMARY, V1)
    before = bootsvc.bench.digest()
    assert refused(bootsvc("confirm"))
    assert bootsvc.bench.digest() == before


def test_confirm_saves_and_adopts_the_identity_files_of_the_trial(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over()
    (bootsvc.run_dir / "trial").touch()
    saved, adopted = helper(bootsvc, "identity-save"), helper(bootsvc, "overlay.sh")
    assert bootsvc("confirm").code == ExitCode.OK
    assert saved.exists()
    assert adopted.read_text() == "--adopt\n"
    assert not (bootsvc.run_dir / "trial").exists()


def test_confirm_that_was_cut_short_after_its_record_is_completed_by_the_next(
    bootsvc: Command,
) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over()
    bootsvc("confirm")
    (bootsvc.run_dir / "trial").touch()
    adopted = helper(bootsvc, "overlay.sh")
    assert bootsvc("confirm").code == ExitCode.OK
    assert adopted.read_text() == "--adopt\n"
    assert not (bootsvc.run_dir / "trial").exists()


def test_trouble_with_identity_files_is_an_alarm_but_still_confirms(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over()
    helper(bootsvc, "overlay.sh", code=1)
    outcome = bootsvc("confirm")
    assert outcome.code == ExitCode.OK
    assert "ALARM" in outcome.err
    assert bootsvc.bench.status.phase is Phase.IDLE


def test_refused_confirm_touches_no_identity_files(bootsvc: Command) -> None:
    bootsvc.handed_over(V1)
    adopted = helper(bootsvc, "overlay.sh")
    assert refused(bootsvc("confirm"))
    assert not adopted.exists()


@pytest.mark.parametrize(
    ("word", "reason"),
    [("not-confirmed", Reason.NOT_CONFIRMED), ("health-check", Reason.HEALTH_CHECK)],
)
def test_reject_records_the_reason_and_keeps_the_tries(
    bootsvc: Command, word: str, reason: Reason
) -> None:
    before = bootsvc.bench.on_trial(TRANSACTION)
    bootsvc.handed_over()
    assert bootsvc("reject", "--reason", word).code == ExitCode.OK
    status = bootsvc.bench.status
    failure = status.last_failure
    assert (failure.phase, failure.reason) == (Phase.TRIAL, reason)
    assert (failure.identity, failure.number) == (V2.identity, 2)
    assert failure.time_s > 0
    assert status.tries_left == before.tries_left
    assert status.phase is Phase.TRIAL
