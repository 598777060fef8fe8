"""GRUB for BIOS machines, put on a disk file without root (DESIGN 2).

What grub-install does on a mounted system is done here on the file: an image with the few modules
that the start needs is made by grub-mkimage and laid into the bios-grub partition, and GRUB's
first sector, in the MBR, is told where it begins. Offsets: GRUB 2.06, `boot.S` and `diskboot.S`;
they have been the same since GRUB 2.00.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bootsvc.disk.partition import DiskLayout
from bootsvc.disk.tools import run_tool
from bootsvc.errors import LayoutError, SettingsError, ToolError
from bootsvc.units import SECTOR_SIZE

SECTOR = SECTOR_SIZE
MODULE_DIR = Path("/usr/lib/grub/i386-pc")

MODULES = (
    "biosdisk",  # reads disks through the BIOS
    "part_gpt",  # finds the ESP
    "fat",  # reads it
    "linux16",  # starts the updater's kernel, see `menu_config`
    "normal",  # menu and configuration file
    "serial",  # console on the serial line
    "terminal",  # input and output on it
    "echo",  # says what is started
    "configfile",  # a site's own configuration
    "test",  # conditions in it
    "ls",  # for a technician at the prompt
    "cat",
    "reboot",
    "halt",
)

_KERNEL_SECTOR = 0x5C  # boot.img: u64, first sector of core.img
_BOOT_DRIVE = 0x64  # boot.img: 0xff = the drive that the BIOS started from
_DRIVE_CHECK = 0x66  # boot.img: a jump that grub-install, too, takes out on hard disks
_CODE_END = 440  # the disk's own bytes (signature, partition table) begin here
_FIRST_BLOCK = 0x1F4  # core.img: u64 sector, u16 count, u16 segment of the part behind its sector 0
_LOAD_SEGMENT = 0x820


@dataclass(frozen=True)
class MenuEntry:
    """One line of the boot menu: its title, and the updater slot and kernel options it starts."""

    title: str
    slot: str
    options: str


def kernel_path(slot: str) -> str:
    """Return where slot `slot` ("a" or "b") keeps the updater's kernel, as a path on the ESP."""
    return f"/bootsvc/{slot}/vmlinuz"


def initramfs_path(slot: str) -> str:
    """Return where slot `slot` keeps the updater's initramfs, as a path on the ESP."""
    return f"/bootsvc/{slot}/initramfs.img"


def check_options(options: str) -> str:
    """Return kernel options in one line, fit to stand in GRUB's configuration.

    Raises:
        SettingsError: a character that GRUB's shell would take for its own.
    """
    words = options.split()
    for word in words:
        bad = set(word) & set("'\"\\$;|&<>{}`")
        if bad or not word.isprintable():
            raise SettingsError(f"kernel option {word!r}: GRUB's shell would read {sorted(bad)}")
    return " ".join(words)


def menu_config(entries: tuple[MenuEntry, ...], *, seconds: int) -> str:
    """Return grub.cfg: consoles on the serial line and the screen, and a menu.

    Kernels are started with ``linux16``, that is by the kernel's own 16-bit entry: GRUB's 32-bit
    ``linux`` first moves all the memory that the kernel asks for (54 MB with Debian's 6.1) byte by
    byte, which takes 2.4 of 6.5 seconds in emulation (GRUB 2.06).

    Args:
        entries: the first one is started by default.
        seconds: how long Esc calls up the menu. 0 starts at once.

    Raises:
        SettingsError: an option that cannot stand there.
    """
    # A hidden menu would wait three seconds even where the timeout is 0 (Debian's 2.06, measured).
    style = "countdown" if seconds else "menu"
    lines = [
        "# Starts the updater. Made by `bootsvc disk create`.",
        "serial --unit=0 --speed=115200",
        "terminal_input serial console",
        "terminal_output serial console",
        "set default=0",
        f"set timeout_style={style}",
        f"set timeout={seconds}",
    ]
    for entry in entries:
        lines += [
            "",
            f"menuentry '{entry.title}' {{",
            f"    linux16 {kernel_path(entry.slot)} {check_options(entry.options)}",
            f"    initrd16 {initramfs_path(entry.slot)}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def make_core(layout: DiskLayout) -> bytes:
    """Return GRUB's image with the modules above; it looks for /grub/grub.cfg on the ESP.

    Raises:
        ToolError: GRUB's BIOS modules or grub-mkimage are missing, or it failed.
    """
    if not (MODULE_DIR / "boot.img").exists():
        raise ToolError(
            f"GRUB's modules for BIOS machines are not in {MODULE_DIR}",
            hint="apt-get install grub-pc-bin   (or: make setup)",
        )
    with tempfile.TemporaryDirectory(prefix="bootsvc-grub-") as folder:
        out = Path(folder) / "core.img"
        # "(,gptN)": the disk that the BIOS started from, whatever its number there.
        prefix = f"(,gpt{layout.number('esp')})/grub"
        run_tool(
            [
                *("grub-mkimage", "-O", "i386-pc", "-d", MODULE_DIR),
                *("-p", prefix, "-o", out, *MODULES),
            ]
        )
        return out.read_bytes()


def patch_boot_sector(boot: bytes, mbr: bytes, core_sector: int) -> bytes:
    """Return the MBR `mbr` with GRUB's first sector `boot` in it, which loads `core_sector`."""
    code = bytearray(boot[:SECTOR])
    struct.pack_into("<Q", code, _KERNEL_SECTOR, core_sector)
    code[_BOOT_DRIVE] = 0xFF
    code[_DRIVE_CHECK : _DRIVE_CHECK + 2] = b"\x90\x90"
    return bytes(code[:_CODE_END]) + mbr[_CODE_END:SECTOR]


def patch_core(core: bytes, core_sector: int) -> bytes:
    """Return `core` in whole sectors, its first one told where the others are: right behind it."""
    padded = bytearray(core + bytes(-len(core) % SECTOR))
    rest = len(padded) // SECTOR - 1
    struct.pack_into("<QHH", padded, _FIRST_BLOCK, core_sector + 1, rest, _LOAD_SEGMENT)
    return bytes(padded)


def install(path: Path, layout: DiskLayout) -> None:
    """Put GRUB on the disk file `path`, which bears the layout's partition table already.

    Raises:
        ToolError: GRUB's parts are missing.
        LayoutError: the bios-grub partition is too small for it, or the sectors are not 512 bytes.
    """
    if not layout.boots_from_bios:
        raise LayoutError(f"a BIOS cannot start a disk with {layout.sector_size}-byte sectors")
    place = layout["bios-grub"]
    core_sector = place.offset // SECTOR
    core = patch_core(make_core(layout), core_sector)
    if len(core) > place.size:
        raise LayoutError(f"GRUB needs {len(core)} bytes, its partition has {place.size}")
    boot = (MODULE_DIR / "boot.img").read_bytes()
    with path.open("r+b") as disk:
        mbr = disk.read(SECTOR)
        disk.seek(0)
        disk.write(patch_boot_sector(boot, mbr, core_sector))
        disk.seek(place.offset)
        disk.write(core)
