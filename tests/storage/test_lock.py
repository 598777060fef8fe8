"""One writer at a time: a lock that is held is waited for, and whoever keeps it is named."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootsvc.errors import DiskBusyError
from bootsvc.storage import lock as module
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.lock import lock

HOLDER = """
import fcntl, sys
with open(sys.argv[2], "rb") as disk:
    fcntl.flock(disk, getattr(fcntl, sys.argv[3]))
    print("held", flush=True)
    sys.stdin.read(1)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(4096))
    return path


@contextmanager
def held(disk: Path, kind: str = "LOCK_EX") -> Iterator[subprocess.Popen[str]]:
    """Another process has the lock until it is told to end."""
    program = disk.with_name("bootsvc")
    program.write_text(HOLDER)
    with subprocess.Popen(
        [sys.executable, program, "stage", disk, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("kind", ["LOCK_EX", "LOCK_SH"])
def test_a_lock_that_another_program_gives_back_is_waited_for(
    disk: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """LOCK_SH is what udev holds while it looks at a disk."""
    monkeypatch.setattr(module, "_SILENT_S", 0.0)
    told: list[str] = []
    with held(disk, kind) as other, DirectDevice(disk, writable=True) as device:

        def give_back(text: str) -> None:
            told.append(text)
            other.kill()

        lock(device, on_wait=give_back)
        assert not module._try_lock(DirectDevice(disk, writable=True).fileno())
    assert len(told) == 1
    assert told[0] == f"{disk}: waiting for bootsvc stage (process {other.pid}), at most 60 s"


def test_whoever_keeps_the_lock_is_named(disk: Path) -> None:
    with (
        held(disk) as other,
        DirectDevice(disk, writable=True) as device,
        pytest.raises(DiskBusyError) as caught,
    ):
        lock(device, wait_s=0.0)
    assert f"bootsvc stage (process {other.pid}) works on this disk" in str(caught.value)
    assert caught.value.hint


def test_a_lock_that_nobody_holds_is_taken_without_a_word(disk: Path) -> None:
    told: list[str] = []
    with DirectDevice(disk, writable=True) as device:
        lock(device, on_wait=told.append)
    assert told == []
