"""The few system calls that Python's standard library lacks, through the C library."""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path

from bootsvc.errors import BootError

_SYS_KEXEC_FILE_LOAD = 320
_KEXEC_FILE_NO_INITRAMFS = 4
_REBOOT_CMD_KEXEC = 0x45584543
_REBOOT_CMD_RESTART = 0x01234567
_REBOOT_CMD_POWER_OFF = 0x4321FEDC
_BLKROSET = 0x125D
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises BootError with the kernel's words."""
    done = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    if done != 0:
        raise _error(f"{source}: cannot be mounted as {kind}")


def umount(target: Path) -> None:
    """umount2(2), detached where it is busy. Raises BootError."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) != 0:
        raise _error(f"{target}: cannot be unmounted")


def set_read_only(node: Path) -> None:
    """Have the kernel refuse writes to a block device. Raises OSError."""
    fd = os.open(node, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _BLKROSET, (1).to_bytes(4, "little"))
    finally:
        os.close(fd)


def kexec_file_load(kernel_fd: int, initrd_fd: int | None, cmdline: str) -> None:
    """kexec_file_load(2): the kernel reads and checks both files. Raises BootError."""
    raw = cmdline.encode() + b"\0"
    done = _libc.syscall(
        ctypes.c_long(_SYS_KEXEC_FILE_LOAD),
        ctypes.c_int(kernel_fd),
        ctypes.c_int(-1 if initrd_fd is None else initrd_fd),
        ctypes.c_ulong(len(raw)),
        raw,
        ctypes.c_ulong(_KEXEC_FILE_NO_INITRAMFS if initrd_fd is None else 0),
    )
    if done != 0:
        raise _error("the kernel refuses to load the image's kernel")


def kexec_start() -> None:
    """Jump into the loaded kernel at once, unwritten data or not; returns only by raising
    BootError."""
    _libc.reboot(ctypes.c_int(_REBOOT_CMD_KEXEC))
    raise _error("the loaded kernel cannot be started")


def restart() -> None:
    """Restart the machine at once, unwritten data or not; returns only by raising BootError."""
    _libc.reboot(ctypes.c_int(_REBOOT_CMD_RESTART))
    raise _error("the machine cannot be restarted")


def power_off() -> None:
    """Switch the machine off at once, unwritten data or not; returns only by raising BootError."""
    _libc.reboot(ctypes.c_int(_REBOOT_CMD_POWER_OFF))
    raise _error("the machine cannot be switched off")


def _error(what: str) -> BootError:
    number = ctypes.get_errno()
    return BootError(f"{what}: {os.strerror(number)} (errno {number})")
