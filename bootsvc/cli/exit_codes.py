"""What the command's exit code means: one table for the code, ``bootsvc --help`` and README.md."""

from __future__ import annotations

from enum import IntEnum

from bootsvc import errors


class ExitCode(IntEnum):
    """Why the command ended; scripts may rely on these numbers."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DISK = 3
    NOT_BOOTSVC = 4
    STATUS_LOST = 5
    TOOL = 6
    SETTINGS = 7
    BUSY = 8
    NETWORK = 9
    PHASE = 10
    CONFIRM_REFUSED = 11
    NOT_STARTABLE = 12
    STORE = 13
    NOT_FRESH = 14
    NO_UPDATE = 15
    NO_IMAGE = 20
    INCOMPLETE = 21
    ALTERED = 22
    SIZE_MISMATCH = 23
    TOO_LARGE = 24
    SIGNATURE = 25
    RETIRED_KEY = 26
    WRONG_MACHINE = 27
    BELOW_FLOOR = 28
    FAILED_BEFORE = 29
    DAMAGED = 30
    BROKEN_CHAIN = 40
    UNSUPPORTED_DISK = 41
    DISK_FILE_IN_USE = 42
    MERGE = 43
    INTERRUPTED = 130


WORDS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "a check failed: something verified is bad",
    ExitCode.USAGE: "wrong use of the command",
    ExitCode.DISK: "a disk or file cannot be read or written",
    ExitCode.NOT_BOOTSVC: "not a bootsvc machine, or it is not clear which disk is meant",
    ExitCode.STATUS_LOST: "both copies of the boot-status record are lost",
    ExitCode.TOOL: "a program that the work needs is missing or failed",
    ExitCode.SETTINGS: "a setting is unknown or out of range",
    ExitCode.BUSY: "another program works on the disk and did not end within a minute",
    ExitCode.NETWORK: "the network, or a server on it, does not do what it is asked",
    ExitCode.PHASE: "not allowed now: an update is unfinished, or there is nothing to go back to",
    ExitCode.CONFIRM_REFUSED: "the running system is not the one on trial",
    ExitCode.NOT_STARTABLE: "the image has no kernel, no initrd, or options that cannot be used",
    ExitCode.STORE: "an image store cannot be used: access, damage, or another's keys",
    ExitCode.NOT_FRESH: "what a server offers is not signed, or cannot be known to be the newest",
    ExitCode.NO_UPDATE: "there is no version that this machine could be updated to",
    ExitCode.NO_IMAGE: "not an image file",
    ExitCode.INCOMPLETE: "the image is incomplete",
    ExitCode.ALTERED: "the image differs from its signed digests",
    ExitCode.SIZE_MISMATCH: "the image's sizes contradict each other",
    ExitCode.TOO_LARGE: "the image is larger than an area",
    ExitCode.SIGNATURE: "no signature by a trusted key",
    ExitCode.RETIRED_KEY: "signed by a retired key only",
    ExitCode.WRONG_MACHINE: "the image is for another machine type",
    ExitCode.BELOW_FLOOR: "the image is older than the version floor",
    ExitCode.FAILED_BEFORE: "this very image failed on this machine before",
    ExitCode.DAMAGED: "damaged data: a footer, key, partition table or kernel",
    ExitCode.BROKEN_CHAIN: "a chain of qcow2 files is broken, or it is not clear which is meant",
    ExitCode.UNSUPPORTED_DISK: "a qcow2 file of a kind that chains do not take",
    ExitCode.DISK_FILE_IN_USE: "a virtual machine, or another program, has a qcow2 file open",
    ExitCode.MERGE: "what was merged is not what the chain holds",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}

_CODES: tuple[tuple[type[errors.BootsvcError], ExitCode], ...] = (
    (errors.NoImageError, ExitCode.NO_IMAGE),
    (errors.IncompleteImageError, ExitCode.INCOMPLETE),
    (errors.AlteredImageError, ExitCode.ALTERED),
    (errors.SizeMismatchError, ExitCode.SIZE_MISMATCH),
    (errors.ImageTooLargeError, ExitCode.TOO_LARGE),
    (errors.RetiredKeyError, ExitCode.RETIRED_KEY),
    (errors.SignatureError, ExitCode.SIGNATURE),
    (errors.WrongMachineError, ExitCode.WRONG_MACHINE),
    (errors.BelowFloorError, ExitCode.BELOW_FLOOR),
    (errors.FailedBeforeError, ExitCode.FAILED_BEFORE),
    (errors.ImageError, ExitCode.DAMAGED),
    (errors.NetworkError, ExitCode.NETWORK),
    (errors.StoreError, ExitCode.STORE),
    (errors.FreshnessError, ExitCode.NOT_FRESH),
    (errors.UpdateError, ExitCode.NO_UPDATE),
    (errors.UnsupportedDiskError, ExitCode.UNSUPPORTED_DISK),
    (errors.DiskFileInUseError, ExitCode.DISK_FILE_IN_USE),
    (errors.MergeError, ExitCode.MERGE),
    (errors.ChainError, ExitCode.BROKEN_CHAIN),
    (errors.ConfirmRefusedError, ExitCode.CONFIRM_REFUSED),
    (errors.SequenceError, ExitCode.PHASE),
    (errors.NotBootsvcError, ExitCode.NOT_BOOTSVC),
    (errors.StatusLostError, ExitCode.STATUS_LOST),
    (errors.DiskBusyError, ExitCode.BUSY),
    (errors.StorageError, ExitCode.DISK),
    (errors.TruncatedError, ExitCode.INCOMPLETE),
    (errors.FormatError, ExitCode.DAMAGED),
    (errors.BootError, ExitCode.NOT_STARTABLE),
    (errors.SettingsError, ExitCode.SETTINGS),
    (errors.ToolError, ExitCode.TOOL),
)


def exit_code_of(error: errors.BootsvcError) -> ExitCode:
    """The exit code that stands for ``error``."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED


def table() -> str:
    """All exit codes, one a line."""
    return "\n".join(f"  {code:>3d}  {WORDS[code]}" for code in ExitCode)
