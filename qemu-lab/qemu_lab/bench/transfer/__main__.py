"""``python -m qemu_lab.bench.transfer``: block sizes and peers on real pairs of images.

Needs root. The pairs are built at the first run, to build/pairs/, and kept.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qemu_lab.errors import LabError
from qemu_lab.images.tools import BUILD, say

SCRATCH = BUILD / "pairs" / "scratch"
"""Beside the images, so that a copy has the same way to go as a fetch. Empty after a run."""

PARTS = ("pairs", "blocks", "peers")
MODULES = ("fastcdc", "zstandard")


def main() -> int:
    """Measure what the command line asks for; 1 if that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m qemu_lab.bench.transfer",
        description="What an update costs on the wire: block sizes, formats, peers.",
    )
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="pairs (build the images only), blocks, peers (default: blocks peers)",
    )
    parser.add_argument("--pairs", default="ABCS", help="names of the pairs (default: ABCS)")
    parser.add_argument("--only", action="append", help="a contender by its name; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"nothing is named {unknown[0]}: one of {', '.join(PARTS)}")
    lacking = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if lacking:
        sys.stderr.write(
            f"transfer: Python has no {', '.join(lacking)}: pip install -e '.[store,bench]'\n"
        )
        return 1
    try:
        # Whoever reads the output wants figures only.
        with redirect_stdout(sys.stderr):
            document, text = _measure(arguments)
    except LabError as error:
        sys.stderr.write(f"transfer: {error}\n")
        return 1
    print(json.dumps(document, indent=1) if arguments.json else text)
    return 0


def _measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    # Imported late: they need the modules asked for above.
    from qemu_lab.bench.transfer import pairs, results, run, study

    pairs.build()
    chosen = [pair for pair in pairs.PAIRS if pair.name in arguments.pairs]
    parts = arguments.parts or ["blocks", "peers"]
    contenders = run.chosen(arguments.only)
    conditions = _conditions(run.packages(contenders) if "peers" in parts else ())
    changes = pairs.CHANGES.read_text(encoding="utf-8").splitlines()
    document: dict[str, Any] = {"conditions": conditions, "packages_changed": changes}
    text = [f"{name}: {value}" for name, value in conditions.items()]
    text += [f"pair {pair.name}: {pair.what}" for pair in chosen]
    text.append(f"packages that differ between the two versions: {len(changes)}")
    if "blocks" in parts:
        rows = study.measure(chosen, lambda words: say(f"{words} ..."))
        document["blocks"] = [asdict(row) for row in rows]
        text += ["", "Block sizes (MiB; e: estimated from a sample)", results.study_table(rows)]
    if "peers" in parts:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        try:
            found = run.measure(contenders, chosen, SCRATCH)
        finally:
            shutil.rmtree(SCRATCH)
        document["peers"] = [{**asdict(one), "ratio": one.ratio} for one in found]
        text += ["", "From the old image to the new one", results.peers_table(found)]
    return document, "\n".join(text)


def _conditions(packages: Sequence[str]) -> dict[str, str]:
    """What every figure of this run depends on."""
    from qemu_lab.bench.transfer.measured import version_of

    load_1, load_5, _ = os.getloadavg()
    processor = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": f"{processor}, {os.cpu_count()} processors",
        "host": f"{platform.system()} {platform.release()}",
        "load at the beginning": f"{load_1:.1f} (1 min), {load_5:.1f} (5 min)",
        **{name: version_of(name) for name in packages},
    }


if __name__ == "__main__":
    sys.exit(main())
