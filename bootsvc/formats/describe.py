"""Words for people: the one table that the console, the command line and the logs all use."""

from __future__ import annotations

from bootsvc.formats.boot_status import (
    Area,
    AreaState,
    BootStatus,
    Failure,
    Phase,
    Reason,
    Request,
    StatusCode,
)

CODES = {
    StatusCode.WORKING: "1 (start the working image in primary)",
    StatusCode.BACKUP: "2 (start the backup image)",
    StatusCode.FIRST_START: "3 (first start of a new image in primary, on trial)",
}

PHASES = {
    Phase.UNKNOWN: "unknown",
    Phase.INSTALL: "first installation under way",
    Phase.IDLE: "nothing under way",
    Phase.CHECK: "checking the staged image",
    Phase.BACKUP: "copying primary to backup",
    Phase.COPY: "copying the staged image to primary",
    Phase.VERIFY: "reading primary back",
    Phase.TRIAL: "new image on trial",
    Phase.CONFIRM: "confirming the new image",
    Phase.RESTORE: "copying backup back to primary after a failed image",
    Phase.DEGRADED: "running from backup; primary is not usable",
    Phase.ROLLBACK: "going back to the image in backup on request",
    Phase.ROT: "repairing primary, which rotted at rest",
    Phase.HALT: "nothing left to start",
}

STATES = {
    AreaState.EMPTY: "empty",
    AreaState.WRITING: "being written",
    AreaState.VALID: "complete",
    AreaState.CONFIRMED: "confirmed",
    AreaState.BAD: "not usable",
}

REQUESTS = {
    Request.NONE: "none",
    Request.UPDATE: "install the staged image",
    Request.ROLLBACK: "go back to the image in backup",
    Request.BOOT_BACKUP_ONCE: "start the backup once",
    Request.BOOT_STAGING_ONCE: "start the staged image once",
}

REASONS = {
    Reason.NONE: "no reason recorded",
    Reason.NO_IMAGE: "no image was found there",
    Reason.INCOMPLETE: "the image is incomplete",
    Reason.ALTERED: "the image's bytes differ from its signed digests",
    Reason.SIZE_MISMATCH: "the sizes in the manifest contradict each other",
    Reason.TOO_LARGE: "the image is larger than the area",
    Reason.SIGNATURE: "no signature by a trusted key",
    Reason.RETIRED_KEY: "signed by a retired key",
    Reason.WRONG_MACHINE: "the image is for another machine type",
    Reason.BELOW_FLOOR: "the image is older than the version floor",
    Reason.FAILED_BEFORE: "this image failed on this machine before",
    Reason.IO_ERROR: "the disk reported an I/O error",
    Reason.READ_BACK: "what was read back differs from what was written",
    Reason.NOTHING_TO_FALL_BACK_TO: "there is no verified image to fall back to",
    Reason.PRIMARY_CHANGED: "primary differs from its signed digests",
    Reason.KERNEL_REFUSED: "its kernel could not be loaded",
    Reason.NOT_CONFIRMED: "the system ran but did not confirm within the limit",
    Reason.RESTARTED: "the system went down before it confirmed",
    Reason.PANIC: "the kernel panicked",
    Reason.ROTTEN_BLOCK: "the running image met a block that differs from its signed digest",
    Reason.WATCHDOG: "the watchdog reset the machine",
    Reason.CRASHES: "the confirmed image crashed too often",
    Reason.BACKUP_BAD: "the backup does not verify",
    Reason.RESTORE_OFF: "restoring is switched off",
    Reason.STATUS_LOST: "both copies of the boot-status record were lost",
    Reason.HEALTH_CHECK: "a health check failed",
    Reason.SAME_IMAGE: "backup holds the same image as primary",
    Reason.BOOT_SECTION: "the image's boot files do not fit its signed boot section",
    Reason.ASKED_AT_CONSOLE: "a technician asked for it at the console",
}


def describe_reason(reason: int) -> str:
    """The words for ``reason``; a number from a newer bootsvc is shown as it is."""
    try:
        return REASONS[Reason(reason)]
    except ValueError:
        return f"reason {reason} (unknown to this version)"


def describe_failure(failure: Failure) -> str:
    """The last failure as one sentence, or ``none``."""
    if failure.reason == Reason.NONE:
        return "none"
    text = f"{failure.phase.name}: {describe_reason(failure.reason)}"
    if failure.area is not Area.NONE:
        text += f", area {failure.area.name.lower()}"
    if failure.errno:
        text += f", errno {failure.errno}"
    if any(failure.identity):
        text += f", image number {failure.number} ({failure.identity.hex()[:12]})"
    return text


def next_start(status: BootStatus) -> str:
    """What the next start will do if nobody intervenes, as one sentence."""
    if status.phase in (Phase.IDLE, Phase.DEGRADED):
        running = "primary" if status.phase is Phase.IDLE else "backup"
        return {
            Request.UPDATE: f"check the staged image and install it (now running: {running})",
            Request.ROLLBACK: "go back to the image in backup",
            Request.BOOT_BACKUP_ONCE: "start the backup once",
            Request.BOOT_STAGING_ONCE: f"start the staged image once (now running: {running})",
            Request.NONE: f"start {running}",
        }[status.request]
    if status.phase is Phase.TRIAL:
        if status.tries_left:
            tries = "1 try" if status.tries_left == 1 else f"{status.tries_left} tries"
            return f"start the new image on trial ({tries} left)"
        return "give the new image up and restore the one in backup"
    if status.phase is Phase.HALT and status.request is Request.UPDATE:
        return "check the staged image and install it"
    return {
        Phase.INSTALL: "install the first image from staging",
        Phase.BACKUP: "finish the backup, then install the staged image",
        Phase.COPY: "finish copying the staged image to primary, then start it on trial",
        Phase.RESTORE: "finish restoring the backup to primary, then start it",
        Phase.ROLLBACK: "finish going back to the image in backup, then start it",
        Phase.ROT: "repair primary, then start it",
        Phase.HALT: "stop in the console: no image verifies",
    }.get(status.phase, "look at both areas")


def why_next_start(status: BootStatus) -> str:
    """Why the next start will do what ``next_start`` says."""
    settled = (Phase.IDLE, Phase.DEGRADED, Phase.HALT)
    if status.phase in settled and status.request is not Request.NONE:
        return {
            Request.UPDATE: "an update was asked for (bootsvc stage)",
            Request.ROLLBACK: "it was asked for (bootsvc rollback)",
            Request.BOOT_BACKUP_ONCE: "it was asked for at the console",
            Request.BOOT_STAGING_ONCE: "it was asked for (bootsvc restore-point boot-once)",
        }[status.request]
    if status.phase is Phase.IDLE:
        return "primary is confirmed, and nothing was asked for"
    if status.phase is Phase.TRIAL:
        return "the new image has not confirmed itself yet (bootsvc confirm)"
    if status.phase in (Phase.RESTORE, Phase.DEGRADED, Phase.ROT, Phase.HALT):
        return f"last failure: {describe_failure(status.last_failure)}"
    return {
        Phase.INSTALL: "the disk is new",
        Phase.BACKUP: "an update was begun",
        Phase.COPY: "an update was begun",
        Phase.ROLLBACK: "going back was begun on request",
    }.get(status.phase, PHASES[status.phase])
