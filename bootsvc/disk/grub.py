"""GRUB for BIOS and UEFI machines, put on a disk file without root (DESIGN 2).

What grub-install does on a mounted system is done here on the file. For a BIOS an image with the
few modules that the start needs is made by grub-mkimage and laid into the bios-grub partition, and
GRUB's first sector, in the MBR, is told where it begins. For UEFI the same modules become one
program on the ESP, under the name that firmware starts from any disk. Offsets: GRUB 2.06,
`boot.S` and `diskboot.S`; they have been the same since GRUB 2.00.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bootsvc.disk.partition import DiskLayout
from bootsvc.disk.tools import run_tool
from bootsvc.errors import LayoutError, ToolError
from bootsvc.settings import INSTALLER_DIR
from bootsvc.units import SECTOR_SIZE

SECTOR = SECTOR_SIZE

CONFIG = "/grub/grub.cfg"
"""Where both look for their configuration, on the ESP."""

EFI_PROGRAM = "/EFI/BOOT/BOOTX64.EFI"
"""What UEFI firmware starts from a disk that it knows nothing else about (UEFI 2.10, 3.5.1)."""

_MODULES = (
    "part_gpt",  # finds the ESP
    "fat",  # reads it
    "normal",  # menu and configuration file
    "terminal",  # consoles
    "echo",  # says what is started
    "configfile",  # a site's own configuration
    "test",  # conditions in it
    "true",  # true and false
    "loadenv",  # reads the marks and takes one away
    "hashsum",  # checks a slot before it is started
    "gcry_crc",  # by CRC-32
    "sleep",  # before a restart, where nothing can be started
    "password_pbkdf2",  # locks editor and command line
    "ls",  # for a technician at the prompt
    "cat",
    "reboot",
    "halt",
)


@dataclass(frozen=True)
class Platform:
    """One kind of firmware, as GRUB knows it.

    Attributes:
        name: as grub-mkimage calls it; package: Debian's, with its modules.
        modules: of this kind only.
    """

    name: str
    package: str
    modules: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its modules are."""
        return Path("/usr/lib/grub") / self.name


BIOS = Platform(
    "i386-pc",
    "grub-pc-bin",
    (
        "biosdisk",  # reads disks through the BIOS
        "linux16",  # starts the updater's kernel, see `boot_menu.menu_config`
        "serial",  # console on the serial line
    ),
)
EFI = Platform(
    "x86_64-efi",
    "grub-efi-amd64-bin",
    (
        "linux",  # starts the updater's kernel
        "efi_gop",  # hands the screen over to it
    ),
)

_KERNEL_SECTOR = 0x5C  # boot.img: u64, first sector of core.img
_BOOT_DRIVE = 0x64  # boot.img: 0xff = the drive that the BIOS started from
_DRIVE_CHECK = 0x66  # boot.img: a jump that grub-install, too, takes out on hard disks
_CODE_END = 440  # the disk's own bytes (signature, partition table) begin here
_FIRST_BLOCK = 0x1F4  # core.img: u64 sector, u16 count, u16 segment of the part behind its sector 0
_LOAD_SEGMENT = 0x820


BOOT_SECTOR = "boot.img"
"""GRUB's first sector for a BIOS: its file, in the folder of its modules and in an installer."""


def carried_name(platform: Platform, layout: DiskLayout) -> str:
    """Return the name of the file in which an installer carries what `make_image` returns."""
    return f"{platform.name}-gpt{layout.number('esp')}.img"


def make_image(platform: Platform, layout: DiskLayout) -> bytes:
    """Return GRUB with the modules above; it looks for its configuration on the ESP.

    An updater that makes disks carries it ready made (``initramfs --installer``).

    Raises:
        ToolError: GRUB's modules or grub-mkimage are missing, or it failed.
    """
    carried = INSTALLER_DIR / carried_name(platform, layout)
    if carried.exists():
        return carried.read_bytes()
    if not (platform.folder / "kernel.img").exists():
        raise ToolError(
            f"GRUB's modules are not in {platform.folder}",
            hint=f"apt-get install {platform.package}   (or: make setup)",
        )
    with tempfile.TemporaryDirectory(prefix="bootsvc-grub-") as folder:
        out = Path(folder) / "grub.img"
        # "(,gptN)": the disk that the firmware started from, whatever its number there.
        prefix = f"(,gpt{layout.number('esp')}){Path(CONFIG).parent}"
        where: list[str | Path] = ["-d", platform.folder, "-p", prefix, "-o", out]
        modules = (*platform.modules, *_MODULES)
        run_tool(["grub-mkimage", "-O", platform.name, *where, *modules])
        return out.read_bytes()


def boot_sector() -> bytes:
    """Return GRUB's first sector for a BIOS, as it comes."""
    carried = INSTALLER_DIR / BOOT_SECTOR
    return (carried if carried.exists() else BIOS.folder / BOOT_SECTOR).read_bytes()


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
    """Put GRUB for a BIOS on the disk file `path`, which bears its partition table already.

    Raises:
        ToolError: GRUB's parts are missing.
        LayoutError: the bios-grub partition is too small for it, or the sectors are not 512 bytes.
    """
    if not layout.boots_from_bios:
        raise LayoutError(f"a BIOS cannot start a disk with {layout.sector_size}-byte sectors")
    place = layout["bios-grub"]
    core_sector = place.offset // SECTOR
    core = patch_core(make_image(BIOS, layout), core_sector)
    if len(core) > place.size:
        raise LayoutError(f"GRUB needs {len(core)} bytes, its partition has {place.size}")
    boot = boot_sector()
    with path.open("r+b") as disk:
        mbr = disk.read(SECTOR)
        disk.seek(0)
        disk.write(patch_boot_sector(boot, mbr, core_sector))
        disk.seek(place.offset)
        disk.write(core)
