"""FAT32 volumes with the updater's slots, small and made once."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path

from bootsvc.disk.tools import run_tool
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.updater_slots import format_slots
from bootsvc.units import MIB

ESP_SIZE = 8 * MIB

_SETUP = bytes(0x202) + b"HdrS" + bytes(8) + b"\x10\x02"


def kernel(number: int, size: int = 20_000) -> bytes:
    """What looks like an x86 kernel, of version 6.1.NUMBER."""
    head = _SETUP.ljust(0x410, b"\0") + f"6.1.{number} (somebody)\0".encode("ascii")
    return head + random.Random(number).randbytes(size - len(head))


def initramfs(number: int, size: int = 9_000) -> bytes:
    """What looks like an initramfs."""
    return b"070701" + random.Random(-number).randbytes(size - 6)


@functools.cache
def empty_esp(sector_size: int = 512) -> bytes:
    """An ESP as mkfs.vfat and ``format_slots`` leave it: both slots empty, none proven."""
    with tempfile.TemporaryDirectory(prefix="bootsvc-esp-") as folder:
        path = Path(folder) / "esp.fs"
        path.write_bytes(bytes(ESP_SIZE if sector_size == 512 else 6 * ESP_SIZE))
        run_tool(["mkfs.vfat", "-F", "32", "-S", str(sector_size), "-s", "1", path])
        with DirectDevice(path, writable=True) as device:
            device.sector_size = sector_size
            format_slots(device)
        return path.read_bytes()
