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


def kept(way: str) -> int:
    """Bytes that a process keeps of 12 MiB that it freed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_freed_buffer_is_not_kept_for_the_next_one() -> None:
    assert kept("as it is") > 8 * MIB, "the C library has another habit by now"
    assert kept("given back") < MIB
