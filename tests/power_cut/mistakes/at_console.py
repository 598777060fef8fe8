"""Mistakes in what a technician has done at the console."""

from __future__ import annotations

from contextlib import AbstractContextManager
from unittest.mock import patch

from bootsvc.formats.boot_status import BootStatus
from bootsvc.sequence import by_hand, checks, last_resorts, wishes
from bootsvc.sequence.records import of, restoring
from bootsvc.sequence.runner import Runner
from bootsvc.sequence.states import Observation
from tests.power_cut.mistakes.mutant import Effect, Mutant, shown_by
from tests.power_cut.mistakes.situations import ENOUGH_TO_FALL_BACK_TO, RESTORE_OF_ROTTEN_BACKUP
from tests.power_cut.scenarios import BY_NAME

Patch = AbstractContextManager[object]


@shown_by(RESTORE_OF_ROTTEN_BACKUP, clause="record_names_whole_image")
def restore_by_hand_unread(effect: Effect) -> Patch:
    """A technician's restore is recorded when only the footer of the backup was looked at."""
    right = by_hand.restore

    def restore(runner: Runner) -> None:
        effect.took_place()
        with patch.object(checks, "verify_content", lambda *_: None):
            right(runner)

    return patch.object(by_hand, "restore", restore)


@shown_by(BY_NAME["abandon-trial"], clause="same_end")
def abandoned_not_remembered(effect: Effect) -> Patch:
    """An image whose trial a technician gave up is not remembered as failed."""

    def abandoned(seen: Observation) -> BootStatus:
        effect.took_place()
        return restoring(seen, of(seen).last_failure)

    return patch.object(wishes, "abandoned", abandoned)


@shown_by(ENOUGH_TO_FALL_BACK_TO, clause="same_end")
def installed_without_backup_for_nothing(effect: Effect) -> Patch:
    """A technician's word is enough to give up a backup that is whole."""

    def asked(seen: Observation) -> BootStatus:
        effect.took_place()
        return last_resorts.installing_over_rot(seen)

    return patch.object(wishes, "installation_without_backup_asked", asked)


AT_CONSOLE: tuple[Mutant, ...] = (
    restore_by_hand_unread,
    abandoned_not_remembered,
    installed_without_backup_for_nothing,
)
