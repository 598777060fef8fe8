"""What an update frees, the system has back."""

from __future__ import annotations

import subprocess
import sys

from bootsvc.units import MIB

PROGRAM = """
import sys
from pathlib import Path
from bootsvc.os_side.freed_memory import give_back_freed_buffers

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

if sys.argv[1] == "given back":
    give_back_freed_buffers()
bytearray(8 << 20)
before = resident()
buffers = [bytearray(2 << 20) for _ in range(6)]
last = bytes(100_000)
del buffers
print((resident() - before) * 4096)
"""


READING = """
import resource
from bootsvc.os_side.freed_memory import give_back_freed_buffers
from bootsvc.storage.device import CHUNK_SIZE

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

give_back_freed_buffers()
for _ in range(3):
    bytes(bytearray(CHUNK_SIZE))
before = page_faults()
for _ in range(100):
    bytes(bytearray(CHUNK_SIZE))
print(page_faults() - before)
"""


def ran(program: str, *words: str) -> int:
    """The number that a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def kept(way: str) -> int:
    """Bytes that a process keeps of 12 MiB that it freed."""
    return ran(PROGRAM, way)


def test_a_freed_buffer_is_not_kept_for_the_next_one() -> None:
    assert kept("as it is") > 8 * MIB, "the C library has another habit by now"
    assert kept("given back") < MIB


def test_what_a_disk_is_read_by_is_not_asked_for_again_with_each_piece() -> None:
    assert ran(READING) < 100, "page faults of 100 pieces: each has 256 pages"
