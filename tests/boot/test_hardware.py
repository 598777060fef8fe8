"""What a machine is made of, read from trees of files like the kernel's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootsvc.boot.hardware import hardware, kernel_log


def tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def machine(tmp_path: Path) -> dict[str, object]:
    tree(
        tmp_path,
        {
            "sys/class/dmi/id/sys_vendor": "Example Corp.\n",
            "sys/class/dmi/id/product_serial": "S-1\n",
            "sys/block/sda/size": "2048\n",
            "sys/block/sda/device/model": "Left disk \n",
            "sys/block/sda/device/serial": "D-1\n",
            "sys/block/sda/queue/rotational": "1\n",
            "sys/block/loop0/size": "8\n",
            "sys/class/net/eth0/address": "52:54:00:12:34:56\n",
            "sys/class/net/eth0/device/uevent": "",
            "sys/class/net/lo/address": "00:00:00:00:00:00\n",
            "sys/class/watchdog/watchdog0/identity": "i6300ESB timer\n",
            "proc/version": "Linux version 6.1\n",
            "proc/cmdline": "console=ttyS0\n",
            "proc/uptime": "12.34 10.00\n",
            "proc/cpuinfo": "model name\t: CPU of tests\n\nmodel name\t: CPU of tests\n",
            "proc/meminfo": "MemTotal:      1024 kB\nMemFree: 1 kB\n",
            "kmsg": "6,1,5140900,-;text of it\n SUBSYSTEM=pci\n",
        },
    )
    return hardware(tmp_path / "proc", tmp_path / "sys", tmp_path / "kmsg")


def test_all_of_it_is_told_and_can_be_written_as_json(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert found["dmi"] == {"sys_vendor": "Example Corp.", "product_serial": "S-1"}
    assert found["firmware"] == "bios"
    assert found["cpu"] == {"model": "CPU of tests", "count": 2}
    assert found["memory"] == 1 << 20
    assert found["up_s"] == 12.34
    (disk,) = found["disks"] if isinstance(found["disks"], list) else []
    assert (disk["node"], disk["size"], disk["model"]) == ("/dev/sda", 1 << 20, "Left disk")
    assert (disk["serial"], disk["rotates"]) == ("D-1", "1")
    assert found["network"] == [{"name": "eth0", "address": "52:54:00:12:34:56"}]
    assert found["watchdogs"] == [{"name": "watchdog0", "identity": "i6300ESB timer"}]
    assert found["kernel_log"] == ["[    5.140900] text of it"]


def test_a_machine_started_by_uefi_says_so(tmp_path: Path) -> None:
    (tmp_path / "sys/firmware/efi").mkdir(parents=True)
    assert machine(tmp_path)["firmware"] == "uefi"


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    found = hardware(tmp_path / "proc", tmp_path / "sys", tmp_path / "kmsg")
    assert found["dmi"] == {}
    assert found["disks"] == []
    assert found["memory"] == 0
    assert found["kernel_log"] == []


def test_the_kernels_log_is_read_record_by_record_and_only_its_end_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /dev/kmsg: one record for each read, an error where one was lost, and one at the end."""
    records: list[bytes | OSError] = [
        f"6,{number},{number}000000,-;line {number}\n".encode() for number in range(5)
    ]
    records.insert(2, BrokenPipeError())
    records += [b"not a record\n", BlockingIOError()]

    def read(_: int, __: int) -> bytes:
        record = records.pop(0)
        if isinstance(record, OSError):
            raise record
        return record

    kmsg = tmp_path / "kmsg"
    kmsg.touch()
    monkeypatch.setattr("os.read", read)
    assert kernel_log(kmsg, most=2) == ["[    3.000000] line 3", "[    4.000000] line 4"]
    assert not records
