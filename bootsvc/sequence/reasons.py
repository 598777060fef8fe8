"""Errors -> the reason that is kept in the record. One table, so that none is forgotten."""

from __future__ import annotations

import errno

from bootsvc import errors
from bootsvc.formats.boot_status import Reason

_REASONS: tuple[tuple[type[errors.BootsvcError], Reason], ...] = (
    (errors.NoImageError, Reason.NO_IMAGE),
    (errors.IncompleteImageError, Reason.INCOMPLETE),
    (errors.AlteredImageError, Reason.ALTERED),
    (errors.SizeMismatchError, Reason.SIZE_MISMATCH),
    (errors.ImageTooLargeError, Reason.TOO_LARGE),
    (errors.RetiredKeyError, Reason.RETIRED_KEY),
    (errors.SignatureError, Reason.SIGNATURE),
    (errors.WrongMachineError, Reason.WRONG_MACHINE),
    (errors.BelowFloorError, Reason.BELOW_FLOOR),
    (errors.FailedBeforeError, Reason.FAILED_BEFORE),
    (errors.ReadBackError, Reason.READ_BACK),
    (errors.TruncatedError, Reason.INCOMPLETE),
    (errors.FormatError, Reason.ALTERED),
    (errors.StorageError, Reason.IO_ERROR),
    (errors.BootError, Reason.KERNEL_REFUSED),
    (errors.ImageError, Reason.ALTERED),
    (errors.BootsvcError, Reason.KERNEL_REFUSED),  # a tool or a setting failed the hand-over
)


_DISK_ERRORS = frozenset(
    {errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.ENOLINK, errno.ETIMEDOUT, errno.EILSEQ}
)
"""What the kernel's block layer says of a disk that fails."""


def reason_of(error: errors.BootsvcError) -> Reason:
    """The reason that stands for ``error`` in the record; the last row of the table fits all. A
    hand-over that a failing disk prevented says nothing of the image."""
    if errno_of(error) in _DISK_ERRORS:
        return Reason.IO_ERROR
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))


def errno_of(error: BaseException | None) -> int:
    """The kernel's error number behind ``error``, 0 where there is none."""
    while error is not None:
        if isinstance(error, errors.DeviceError | OSError) and error.errno:
            return error.errno
        error = error.__cause__
    return 0
