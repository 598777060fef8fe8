"""Mistakes in what the updater decides: rows of the table, and the records that they write."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

from bootsvc.formats.boot_status import (
    Area,
    AreaState,
    BootStatus,
    Phase,
    StatusCode,
)
from bootsvc.sequence import checks, decide, reconstruction, records, trials
from bootsvc.sequence.actions import Action, Boot, Halt, Write
from bootsvc.sequence.conditions import both, copied, no, unread, verified
from bootsvc.sequence.decide import (
    COPY,
    IDLE,
    LOST,
    ROLLBACK,
    ROT,
    TABLE,
    TRIAL,
    Row,
    boot,
    copy,
    rows_for,
    verify,
    write,
)
from bootsvc.sequence.runner import Runner
from bootsvc.sequence.states import Observation
from tests.power_cut.mistakes.mutant import (
    Effect,
    Mutant,
    rows_before,
    rows_with,
    shown_by,
    with_rows,
)
from tests.power_cut.mistakes.situations import (
    AGENT_OF_BAD_IMAGE,
    FAILED_IMAGE,
    OTHER_LAYOUT,
    ROLLBACK_WITH_STAGED,
    ROT_OTHER_STAGED,
    STALE_RECORD,
)
from tests.power_cut.scenarios import BY_NAME

Patch = AbstractContextManager[object]
PRIMARY, BACKUP, STAGING = Area.PRIMARY, Area.BACKUP, Area.STAGING


# --- when the record names what -------------------------------------------------------------------


@shown_by(BY_NAME["update"], clause="record_names_whole_image")
def code_2_before_backup_is_whole(effect: Effect) -> Patch:
    """Code 2 is written first, and the backup that it boots is filled afterwards."""

    def copying(seen: Observation) -> BootStatus:
        return records.copying(replace(seen, backup=seen.primary))

    def is_to_be_filled(seen: Observation) -> bool:
        return seen.primary.identity == records.of(seen).backup.identity

    idle = rows_with(IDLE, "primary whole: back it up", then=effect.counting(write(copying)))
    fill = Row(
        "fill the backup",
        both(verified(PRIMARY), is_to_be_filled, no(copied(PRIMARY, BACKUP))),
        copy(PRIMARY, BACKUP),
    )
    rows = {Phase.IDLE: tuple(idle), Phase.COPY: tuple(rows_before(COPY, "read backup", fill))}
    return patch.dict(decide.TABLE, rows)


@shown_by(BY_NAME["update"], clause="record_names_whole_image")
def primary_named_before_it_is_copied(effect: Effect) -> Patch:
    """The trial is recorded when the copy begins, and not when it was read back."""

    def on_trial(seen: Observation) -> BootStatus:
        return trials.on_trial(replace(seen, primary=seen.staging))

    def is_trial_of_staged(seen: Observation) -> bool:
        return seen.staging.is_verified and not copied(STAGING, PRIMARY)(seen)

    rows = {
        Phase.COPY: tuple(rows_with(COPY, "copy", then=effect.counting(write(on_trial)))),
        Phase.TRIAL: (Row("copy", is_trial_of_staged, copy(STAGING, PRIMARY)), *TRIAL),
    }
    return patch.dict(decide.TABLE, rows)


@shown_by(BY_NAME["update"], clause="same_end")
def backup_rewritten_in_copy(effect: Effect) -> Patch:
    """A start that finds COPY makes the backup anew from primary, as BACKUP does."""
    again = both(unread(BACKUP), verified(PRIMARY))
    rows = rows_before(
        COPY,
        "read backup",
        Row("read primary", both(unread(BACKUP), unread(PRIMARY)), verify(PRIMARY)),
        Row("back up again", again, effect.counting(copy(PRIMARY, BACKUP))),
    )
    return with_rows(Phase.COPY, rows)


@shown_by(BY_NAME["update"], clause="floor_rises_only_with_proof")
def floor_raised_before_confirm(effect: Effect) -> Patch:
    """The version floor rises when an image is installed, before it proved itself."""

    def on_trial(seen: Observation) -> BootStatus:
        floor = max(records.of(seen).version_floor, seen.primary.floor)
        return replace(trials.on_trial(seen), version_floor=floor)

    then = effect.counting(write(on_trial))
    return with_rows(Phase.COPY, rows_with(COPY, "copied and read back", then=then))


@shown_by(STALE_RECORD, clause="floor_never_sinks")
def floor_lost_with_stale_record(effect: Effect) -> Patch:
    """A record rebuilt because it was stale takes its floor from the images alone."""
    then = effect.counting(write(reconstruction.rebuilt_on_trial))
    return with_rows(Phase.IDLE, rows_with(IDLE, "record is stale", then=then))


# --- trials ---------------------------------------------------------------------------------------


@shown_by(BY_NAME["hanging-image"], clause="unproven_only_on_trial")
def try_paid_after_hand_over(effect: Effect) -> Patch:
    """The started image is left to pay for its try, and one that hangs never does."""
    right = Runner._write

    def write_later(self: Runner, action: Write) -> None:
        if not action.takes_try:
            return right(self, action)
        effect.took_place()
        self.seen = replace(self.seen, has_try=True)
        return None

    return patch.object(Runner, "_write", write_later)


@shown_by(BY_NAME["hanging-image"], clause="settles")
def tries_refilled_at_every_start(effect: Effect) -> Patch:
    """Every start gives the image on trial all its tries again."""

    def refilled(seen: Observation) -> Action:
        return Write(replace(records.of(seen), tries_left=seen.policy.tries), takes_try=True)

    rows = rows_with(TRIAL, "pay for a try", then=effect.counting(refilled))
    return with_rows(Phase.TRIAL, rows)


@shown_by(BY_NAME["hanging-image"], clause="last_try_falls_back")
def last_try_keeps_code_3(effect: Effect) -> Patch:
    """The record keeps naming primary during the last try."""

    def try_taken(seen: Observation) -> Action:
        status = trials.try_taken(seen)
        if status.status_code is StatusCode.BACKUP:
            effect.took_place()
        return Write(
            replace(status, status_code=StatusCode.FIRST_START, boot_area=PRIMARY), takes_try=True
        )

    return with_rows(Phase.TRIAL, rows_with(TRIAL, "pay for a try", then=try_taken))


@shown_by(BY_NAME["record-lost"], clause="only_the_tried_confirms")
def unproven_boots_as_ordinary(effect: Effect) -> Patch:
    """Where the record is lost and both areas verify, primary counts as proven."""

    def ordinary(seen: Observation) -> Action:
        rebuilt = replace(
            reconstruction.rebuilt_with_primary(seen),
            backup=records.area_record(seen.backup, AreaState.VALID),
        )
        return Write(rebuilt, reconstructs=True)

    rows = rows_with(LOST, "both whole: unproven", then=effect.counting(ordinary))
    return patch.object(decide, "LOST", tuple(rows))


@shown_by(AGENT_OF_BAD_IMAGE, clause="does_not_return")
def failed_image_not_remembered(effect: Effect) -> Patch:
    """The image that used up its tries is thrown back, and its identity is not kept."""

    def with_nothing_remembered(seen: Observation, _: object) -> BootStatus:
        effect.took_place()
        return records.of(seen)

    return patch.object(trials, "_with_image_failed", with_nothing_remembered)


@shown_by(FAILED_IMAGE, clause="failed_does_not_run")
def failed_image_installed_again(effect: Effect) -> Patch:
    """The list of failed images is kept, and not looked at when one is installed."""

    def check_nothing(status: BootStatus, identity: bytes, *, again: bool) -> None:
        del again
        if identity in status.failed:
            effect.took_place()

    return patch.object(checks, "check_not_failed", check_nothing)


# --- going on after a cut -------------------------------------------------------------------------


@shown_by(BY_NAME["update"], clause="update_goes_on")
def cut_gives_up_update(effect: Effect) -> Patch:
    """A start that finds COPY takes the copy for failed and restores the backup."""

    def restoring(seen: Observation) -> BootStatus:
        return records.restoring(seen, records.of(seen).last_failure)

    row = Row("cut off: restore", unread(PRIMARY), effect.counting(write(restoring)))
    return with_rows(Phase.COPY, [row, *COPY])


@shown_by(ROLLBACK_WITH_STAGED, clause="update_goes_on")
def rollback_taken_for_rot(effect: Effect) -> Patch:
    """A start that finds ROLLBACK repairs primary as after rot, from the very image that the
    operator left."""
    rows = rows_with(
        ROT,
        "repaired from staging",
        then=effect.counting(write(records.repaired)),
    )
    return with_rows(Phase.ROLLBACK, rows)


@shown_by(BY_NAME["rollback"], clause="same_end")
def rollback_marked_as_failed(effect: Effect) -> Patch:
    """Rolled back and thrown back end alike: the image that the operator left counts as failed."""

    def restored(seen: Observation) -> BootStatus:
        return records.restored(seen).with_failed(records.of(seen).primary.identity)

    def rolling_back(seen: Observation) -> BootStatus:
        return replace(records.rolling_back(seen), primary=records.of(seen).primary)

    rows = {
        Phase.IDLE: tuple(rows_with(IDLE, "go back", then=write(rolling_back))),
        Phase.ROLLBACK: tuple(
            rows_with(ROLLBACK, "restored and read back", then=effect.counting(write(restored)))
        ),
    }
    return patch.dict(decide.TABLE, rows)


@shown_by(ROT_OTHER_STAGED, clause="only_the_tried_confirms")
def rot_repaired_from_any_image(effect: Effect) -> Patch:
    """A rotten primary is repaired from whatever whole image stands in staging."""

    def is_staged(seen: Observation) -> bool:
        return records.of(seen).staging.state is AreaState.VALID and not seen.staging.is_refused

    rows = rows_with(ROT, "is the same image staged?", when=both(is_staged, unread(STAGING)))
    rows = rows_with(
        rows,
        "repaired from staging",
        when=both(is_staged, copied(STAGING, PRIMARY)),
        then=effect.counting(write(records.repaired)),
    )
    rows = rows_with(rows, "repair from staging", when=is_staged)
    return with_rows(Phase.ROT, rows)


@shown_by(BY_NAME["rot-met-while-running"], clause="boots_whole_image")
def rot_met_is_counted_only(effect: Effect) -> Patch:
    """A rotten block that the image met is one more crash, and primary is started again unread."""
    rows = rows_with(
        IDLE, "met rot: read primary", then=effect.counting(write(records.crash_counted))
    )
    return with_rows(Phase.IDLE, rows)


# --- requests -------------------------------------------------------------------------------------


@shown_by(BY_NAME["refused-image"], clause="settles")
def request_not_cleared(effect: Effect) -> Patch:
    """A refusal is recorded, and the request stays; every start checks and refuses again."""

    def refused(seen: Observation) -> Action:
        status = records.refused(seen, Phase.CHECK, STAGING)
        return Write(replace(status, request=records.of(seen).request), boot_once=PRIMARY)

    was_refused = Row("refused now", lambda seen: seen.boot_once is PRIMARY, boot(PRIMARY))
    rows = rows_with(IDLE, "refused", then=effect.counting(refused))
    return with_rows(Phase.IDLE, [was_refused, *rows])


@shown_by(BY_NAME["refused-image"], clause="staging_consumed")
def refusal_not_recorded(effect: Effect) -> Patch:
    """A refused image is passed over without a word in the record."""
    rows = rows_with(IDLE, "refused", then=effect.counting(boot(PRIMARY)))
    return with_rows(Phase.IDLE, rows)


@shown_by(BY_NAME["restore-point-once"], clause="staging_consumed")
def started_once_for_ever(effect: Effect) -> Patch:
    """What staging holds is started, and the request stays in the record."""
    rows = rows_with(IDLE, "start staging once", then=effect.counting(boot(STAGING)))
    return with_rows(Phase.IDLE, rows)


@shown_by(BY_NAME["repair-stale-copy"], clause="healthy_start_writes_nothing")
def every_start_is_counted(effect: Effect) -> Patch:
    """Every start of the ordinary image is counted in the record."""
    right = Runner.run

    def run(self: Runner) -> Boot | Halt:
        outcome = right(self)
        if self.status is not None and self.status.phase is Phase.IDLE:
            effect.took_place()
            written = self.disk.status.replace(replace(self.status, progress=1))
            self.seen = replace(self.seen, status=written)
        return outcome

    return patch.object(Runner, "run", run)


@shown_by(OTHER_LAYOUT, clause="same_end")
def layout_hash_not_checked(effect: Effect) -> Patch:
    """A record that belongs to another partition table is obeyed, and areas are written."""

    def rows_anyway(seen: Observation) -> tuple[Row, ...]:
        status = seen.status
        if status is not None and status.layout_hash != seen.layout_hash:
            effect.took_place()
            return TABLE[status.phase]
        return rows_for(seen)

    return patch.object(decide, "rows_for", rows_anyway)


IN_TABLE: tuple[Mutant, ...] = (
    code_2_before_backup_is_whole,
    primary_named_before_it_is_copied,
    backup_rewritten_in_copy,
    floor_raised_before_confirm,
    floor_lost_with_stale_record,
    try_paid_after_hand_over,
    tries_refilled_at_every_start,
    last_try_keeps_code_3,
    unproven_boots_as_ordinary,
    failed_image_not_remembered,
    failed_image_installed_again,
    cut_gives_up_update,
    rollback_taken_for_rot,
    rollback_marked_as_failed,
    rot_repaired_from_any_image,
    rot_met_is_counted_only,
    request_not_cleared,
    refusal_not_recorded,
    started_once_for_ever,
    every_start_is_counted,
    layout_hash_not_checked,
)
