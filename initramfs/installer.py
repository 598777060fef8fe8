"""What an updater that makes disks carries: the machine's own updater, and GRUB, ready made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from initramfs.closure import libraries_of
from initramfs.errors import ContentsError

FOLDER = "/usr/lib/bootsvc/installer"

CONVERTER = "IBM850.so"
CONVERTERS = """\
alias CP850// IBM850//
module IBM850// INTERNAL IBM850 1
module INTERNAL IBM850// IBM850 1
"""
"""What the C library converts characters by: mtools makes no file without code page 850."""


@dataclass(frozen=True)
class Carried:
    """A file in `FOLDER`."""

    name: str
    data: bytes
    reason: str


def carried(kernel: Path, initramfs: Path, config: Path | None) -> tuple[Carried, ...]:
    """What goes on every disk. That it fits one, and leaves no lock open, is looked at here: on a
    machine it would be too late.

    Args:
        config: the site's settings, as in the updater.

    Raises ContentsError: a file is missing, GRUB is not installed, or they do not go together.
    """
    from bootsvc.disk import esp, grub
    from bootsvc.disk.grub_lock import check_locks
    from bootsvc.disk.partition import plan
    from bootsvc.errors import BootsvcError
    from bootsvc.settings import Settings, load

    for path in (kernel, initramfs):
        if not path.is_file():
            raise ContentsError(f"{path}: no such file")
    layout = plan()
    try:
        settings = load(config) if config else Settings()
        esp.check_fits(layout, kernel, initramfs)
        check_locks(initramfs, settings.grub_password)
        images = [
            Carried(grub.carried_name(one, layout), grub.make_image(one, layout), reason)
            for one, reason in (
                (grub.BIOS, "GRUB, for a BIOS"),
                (grub.EFI, "GRUB, for UEFI"),
            )
        ]
        boot = Carried(grub.BOOT_SECTOR, grub.boot_sector(), "GRUB's first sector, for a BIOS")
    except BootsvcError as exc:
        raise ContentsError(f"{exc}; {exc.hint}" if exc.hint else str(exc)) from exc
    return (
        Carried("vmlinuz", kernel.read_bytes(), "the kernel of the disk's own updater"),
        Carried("updater.img", initramfs.read_bytes(), "the disk's own updater"),
        boot,
        *images,
    )


def program_file(name: str) -> Path:
    """Where program ``name`` is on this machine. Raises ContentsError: nowhere."""
    from bootsvc.disk.tools import find_tool
    from bootsvc.errors import ToolError

    try:
        return Path(find_tool(name))
    except ToolError as exc:
        raise ContentsError(f"{exc}: {exc.hint}") from exc


def gconv_folder(programs: list[Path]) -> Path:
    """Where the C library that ``programs`` use has its converters.

    Raises ContentsError: `CONVERTER` is not there.
    """
    for library in libraries_of(programs):
        folder = Path("/usr") / str(library.parent).lstrip("/").removeprefix("usr/") / "gconv"
        if library.name == "libc.so.6" and (folder / CONVERTER).is_file():
            return folder
    raise ContentsError(f"the C library has no gconv/{CONVERTER}: install Debian's libc6")
