"""An update on a disk file, without a machine, against what disk and hash need for it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from bootsvc.console.reporter import ConsoleReporter
from bootsvc.os_side.site import load_site
from bootsvc.sequence.actions import Boot
from bootsvc.sequence.runner import Runner, Start
from bootsvc.settings import load
from bootsvc.storage.disk import open_disk
from bootsvc.units import MIB
from qemu_lab.bench.figures import Figure
from qemu_lab.errors import ExpectationError
from qemu_lab.images import products
from qemu_lab.images.tools import run

SECTION = "Update, native, on a disk file"
RATE_ROUNDS = 3


def measure(scratch: Path, first: Path, second: Path) -> list[Figure]:
    """Update a disk with ``first`` to ``second`` in this process."""
    disk = products.lab_disk(scratch / "update.img", first)
    site = ["--keys", str(products.KEYS), "--settings", str(products.SETTINGS_FILE)]
    stage = ["stage", "--disk", str(disk), *site, str(second)]
    run([sys.executable, "-m", "bootsvc.cli", *stage])
    works = _update(disk)
    read_rate, hash_rate, write_rate = _rates(scratch, second)
    figures = [
        Figure(SECTION, "dd reads, direct", read_rate / MIB, "MiB/s"),
        Figure(SECTION, "SHA-256, all at once", hash_rate / MIB, "MiB/s"),
        Figure(SECTION, "dd writes, direct, with fsync", write_rate / MIB, "MiB/s"),
    ]
    total = total_limit = 0.0
    for work in works:
        # Of all that a copy reads, only the image's own bytes need to be hashed.
        limit = work["read"] / read_rate + work["done"] / hash_rate + work["written"] / write_rate
        total, total_limit = total + work["seconds"], total_limit + limit
        amounts = ", ".join(
            f"{what} {work[what] / MIB:.1f}" for what in ("read", "written", "skipped")
        )
        note = f"{amounts} MiB; {work['seconds'] / limit:.2f} x its limit of {limit:.3f} s"
        figures.append(Figure(SECTION, work["work"], work["seconds"], "s", note=note))
    figures.append(Figure(SECTION, "all phases", total, "s"))
    figures.append(Figure(SECTION, "all phases, ratio to limit", total / total_limit, "x"))
    return figures


def _update(disk_path: Path) -> list[dict[str, Any]]:
    """What the reporter kept of each piece of work."""
    reporter = ConsoleReporter()
    settings = load(products.SETTINGS_FILE)
    site = load_site(products.KEYS, products.SETTINGS_FILE)
    start = Start(site, settings.policy, fresh_id=os.urandom(16))
    with (
        open_disk(disk_path, writable=True) as disk,
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
    ):
        outcome = Runner(disk, start, reporter).run()
    if not (isinstance(outcome, Boot) and outcome.is_trial):
        raise ExpectationError(f"the update on {disk_path} ended with {outcome}")
    return [entry for entry in reporter.entries if "work" in entry]


def _rates(scratch: Path, image: Path) -> tuple[float, float, float]:
    """Bytes a second, best of a few: reading, hashing, writing the image once."""
    target = scratch / "written.bin"
    data = image.read_bytes()
    read = ["dd", f"if={image}", "of=/dev/null", "bs=1M", "iflag=direct"]
    write = ["dd", f"if={image}", f"of={target}", "bs=1M", "oflag=direct", "conv=notrunc,fsync"]
    _dd_s(write)  # the first time, the file system must find the room
    return (
        len(data) / min(_dd_s(read) for _ in range(RATE_ROUNDS)),
        len(data) / min(_hash_s(data) for _ in range(RATE_ROUNDS)),
        len(data) / min(_dd_s(write) for _ in range(RATE_ROUNDS)),
    )


def _dd_s(command: list[str]) -> float:
    """The seconds that dd itself reports."""
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stderr.rpartition("copied, ")[2].split()[0])


def _hash_s(data: bytes) -> float:
    began = time.perf_counter()
    hashlib.sha256(data).digest()
    return time.perf_counter() - began
