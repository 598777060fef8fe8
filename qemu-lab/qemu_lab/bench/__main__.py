"""``python -m qemu_lab.bench``: measure, print a table or JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

from bootsvc.errors import BootsvcError
from initramfs.errors import InitramfsError
from qemu_lab import accel
from qemu_lab.bench import guest, merge, sizes, start, update
from qemu_lab.bench.figures import Figure, table
from qemu_lab.errors import LabError
from qemu_lab.images import products
from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.products import ProbeImage
from qemu_lab.images.tools import BUILD

SCRATCH = BUILD / "tmp" / "bench"
"""Made anew at every run; only the transcripts of the machines stay."""

V1, V2, V1_KEXEC = ProbeImage(1), ProbeImage(2), ProbeImage(1, method="kexec")


def _start() -> list[Figure]:
    return start.measure(SCRATCH, products.lab_disk(SCRATCH / "start.img", V1.path))


PARTS: dict[str, Callable[[], list[Figure]]] = {
    "sizes": lambda: sizes.measure(SCRATCH),
    "start": _start,
    "healthy": lambda: [
        figure for image in (V1, V1_KEXEC) for figure in guest.measure_start(SCRATCH, image)
    ],
    "native-update": lambda: update.measure(SCRATCH, V1.path, V2.path),
    "merge": lambda: merge.measure(SCRATCH),
    "guest-update": lambda: guest.measure_memory_and_update(SCRATCH, V1, V2),
}


def main() -> int:
    """Measure what the command line asks for; 1 if a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m qemu_lab.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"nothing is named {unknown[0]}: one of {', '.join(PARTS)}")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    try:
        # Whoever reads the output wants figures only: what is built on the way says so aside.
        with redirect_stdout(sys.stderr):
            conditions, figures = _measure(arguments.parts or list(PARTS))
    except (LabError, ImageBuildError, BootsvcError, InitramfsError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    finally:
        for big in SCRATCH.iterdir():
            if big.is_dir():
                shutil.rmtree(big)
            elif big.suffix != ".txt":
                big.unlink()
    if arguments.json:
        document = {"conditions": conditions, "figures": [asdict(one) for one in figures]}
        print(json.dumps(document, indent=1))
    else:
        print("\n".join(f"{name}: {value}" for name, value in conditions.items()))
        print("\n" + table(figures))
    return 0


def _measure(parts: list[str]) -> tuple[dict[str, str], list[Figure]]:
    for image in (V1, V2, V1_KEXEC):
        products.probe_image(image)
    conditions = _conditions()
    figures: list[Figure] = []
    for name in parts:
        sys.stderr.write(f"bench: {name} ...\n")
        figures += PARTS[name]()
    return conditions, figures


def _conditions() -> dict[str, str]:
    """What every figure of this run depends on."""
    load_1, load_5, _ = os.getloadavg()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": _processor(),
        "processors": str(os.cpu_count()),
        "host": f"{platform.system()} {platform.release()}",
        "load at the beginning": f"{load_1:.1f} (1 min), {load_5:.1f} (5 min)",
        "acceleration of guests": f"{accel.choose().name}, CPU model qemu64, 1 CPU",
        "updater's kernel": products.kernel("cloud").release,
        "images": f"{V1.name} {V1.path.stat().st_size:,} bytes, "
        f"{V2.name} {V2.path.stat().st_size:,} bytes",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
