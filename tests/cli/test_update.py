"""A whole update: staged by the command, carried out by the updater, confirmed by the command."""

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.formats.boot_status import Area, Phase
from bootsvc.sequence.actions import Boot
from bootsvc.sequence.checks import Site
from bootsvc.sequence.runner import Runner, Start
from bootsvc.storage.disk import open_disk
from tests.bench import V2, V3
from tests.cli.command import Command
from tests.images import COMPATIBLE, KEY
from tests.sequence.machine import QuietReporter


def start(bootsvc: Command) -> Boot:
    """What the next start of the machine boots."""
    site = Site((KEY.public(),), COMPATIBLE)
    with open_disk(bootsvc.bench.path, writable=True) as disk:
        outcome = Runner(disk, Start(site, fresh_id=bytes(16)), QuietReporter()).run()
    assert isinstance(outcome, Boot)
    return outcome


def test_staged_image_is_installed_started_on_trial_and_confirmed(bootsvc: Command) -> None:
    assert bootsvc("stage", bootsvc.file(V3)).code == ExitCode.OK
    assert start(bootsvc) == Boot(Area.PRIMARY, is_trial=True)
    bootsvc.handed_over(V3, transaction=bootsvc.bench.status.transaction)
    assert bootsvc("confirm").code == ExitCode.OK
    status = bootsvc.bench.status
    assert (status.phase, status.version_floor) == (Phase.IDLE, 2)
    assert (status.primary.identity, status.backup.identity) == (V3.identity, V2.identity)
    assert start(bootsvc) == Boot(Area.PRIMARY)


def test_rejected_image_is_thrown_back_with_the_true_reason(bootsvc: Command) -> None:
    bootsvc("stage", bootsvc.file(V3))
    for _ in range(3):
        assert start(bootsvc).is_trial
        bootsvc.handed_over(V3, transaction=bootsvc.bench.status.transaction)
        assert bootsvc("reject", "--reason", "health-check").code == ExitCode.OK
    assert start(bootsvc) == Boot(Area.PRIMARY)
    assert bootsvc.bench.status.primary.identity == V2.identity
    text = bootsvc("status").out
    assert "TRIAL: a health check failed, area primary, image number 3" in text
    assert bootsvc("stage", bootsvc.file(V3)).code == ExitCode.FAILED_BEFORE


def test_rollback_is_carried_out_by_the_next_start(bootsvc: Command) -> None:
    assert bootsvc("rollback").code == ExitCode.OK
    assert start(bootsvc) == Boot(Area.PRIMARY)
    status = bootsvc.bench.status
    assert status.primary.number == 1
    assert not status.failed


@pytest.mark.parametrize("is_damaged", [False, True])
def test_staging_without_a_request_changes_no_start(bootsvc: Command, *, is_damaged: bool) -> None:
    bootsvc("stage", bootsvc.file(V3), "--no-request")
    if is_damaged:
        offset, _ = bootsvc.bench.place("staging")
        bootsvc.bench.write(offset, bytes(4096))
    before = bootsvc.bench.digest()
    assert start(bootsvc) == Boot(Area.PRIMARY)
    assert bootsvc.bench.digest() == before
