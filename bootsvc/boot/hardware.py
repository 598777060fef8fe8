"""What this machine is made of, as its kernel says: for a report to somebody who is not there.

Everything is read from /proc, /sys and the kernel's log. What cannot be read is left out; nothing
here raises.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bootsvc.boot.disks import NEVER
from bootsvc.units import SECTOR_SIZE

PROC = Path("/proc")
SYS = Path("/sys")
KMSG = Path("/dev/kmsg")

KERNEL_LOG_LINES = 400
"""Of the kernel's log, from its end: the start of the machine and what went wrong since."""

_DMI = (
    "sys_vendor", "product_name", "product_version", "product_serial", "product_uuid",
    "board_vendor", "board_name", "board_serial", "bios_vendor", "bios_version", "bios_date",
)  # fmt: skip
_DISK = {
    "model": ("device/model", "device/name"),
    "serial": ("serial", "device/serial", "device/cid"),
    "firmware": ("device/rev", "device/firmware_rev", "device/fwrev"),
    "logical_sector": ("queue/logical_block_size",),
    "physical_sector": ("queue/physical_block_size",),
    "rotates": ("queue/rotational",),
    "write_cache": ("queue/write_cache",),
}
_WATCHDOG = ("identity", "state", "timeout", "bootstatus", "nowayout")
_NETWORK = ("address", "operstate", "carrier", "speed")
_MOST_RECORD = 8192
"""Bytes of one record of the kernel's log; longer ones do not exist."""

Facts = dict[str, object]


def hardware(proc: Path = PROC, sys: Path = SYS, kmsg: Path = KMSG) -> Facts:
    """All of it; sizes are bytes."""
    return {
        "dmi": _said(sys / "class/dmi/id", _DMI),
        "firmware": "uefi" if (sys / "firmware/efi").exists() else "bios",
        "kernel": _text(proc / "version"),
        "cmdline": _text(proc / "cmdline"),
        "up_s": _first_number(_text(proc / "uptime")),
        "cpu": _cpu(_text(proc / "cpuinfo")),
        "memory": _memory(_text(proc / "meminfo")),
        "disks": [_disk(one) for one in _entries(sys / "block") if not one.name.startswith(NEVER)],
        "network": [
            {"name": one.name, **_said(one, _NETWORK)}
            for one in _entries(sys / "class/net")
            if (one / "device").exists()
        ],
        "watchdogs": [
            {"name": one.name, **_said(one, _WATCHDOG)} for one in _entries(sys / "class/watchdog")
        ],
        "kernel_log": kernel_log(kmsg),
    }


def kernel_log(kmsg: Path = KMSG, most: int = KERNEL_LOG_LINES) -> list[str]:
    """The last lines of the kernel's log, each with its seconds since the kernel began."""
    lines: list[str] = []
    with suppress(OSError):
        fd = os.open(kmsg, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for record in _records(fd):
                lines += _log_lines(record)
        finally:
            os.close(fd)
    return lines[-most:]


def _records(fd: int) -> Iterable[str]:
    """Each read gives one record; one that was overwritten meanwhile is passed over (EPIPE)."""
    while True:
        try:
            data = os.read(fd, _MOST_RECORD)
        except BrokenPipeError:
            continue
        except OSError:  # EAGAIN: that was the last
            return
        if not data:
            return
        yield data.decode("utf-8", errors="replace")


def _log_lines(record: str) -> list[str]:
    """``6,339,5140900,-;text`` -> ``[    5.140900] text``; what follows the first line is not
    for people."""
    head, _, text = record.partition("\n")[0].partition(";")
    parts = head.split(",")
    if len(parts) < 3 or not parts[2].isdecimal():
        return []
    return [f"[{int(parts[2]) / 1e6:12.6f}] {text}"]


def _disk(entry: Path) -> Facts:
    sectors = _text(entry / "size")
    found: Facts = {"node": f"/dev/{entry.name}"}
    found["size"] = int(sectors) * SECTOR_SIZE if sectors.isdecimal() else 0
    for name, files in _DISK.items():
        texts = [_text(entry / file) for file in files]
        found[name] = next((text for text in texts if text), "")
    return found


def _cpu(cpuinfo: str) -> Facts:
    models = [
        line.partition(":")[2].strip()
        for line in cpuinfo.splitlines()
        if line.startswith("model name")
    ]
    return {"model": models[0] if models else "", "count": len(models)}


def _memory(meminfo: str) -> int:
    words = meminfo.split()
    return int(words[1]) * 1024 if words[:1] == ["MemTotal:"] and words[1].isdecimal() else 0


def _first_number(text: str) -> float:
    with suppress(ValueError, IndexError):
        return float(text.split(maxsplit=1)[0])
    return 0.0


def _said(folder: Path, names: Iterable[str]) -> dict[str, str]:
    found = {name: _text(folder / name) for name in names}
    return {name: text for name, text in found.items() if text}


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", errors="replace").strip()
    return ""
