"""``python -m qemu_lab.soak``: random updates, images and power cuts; does the machine survive?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from bootsvc.errors import BootsvcError
from initramfs.errors import InitramfsError
from qemu_lab.errors import LabError
from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.tools import BUILD, say
from qemu_lab.soak import disks
from qemu_lab.soak.plan import Story, story
from qemu_lab.soak.results import Results, RunResult
from qemu_lab.soak.run import play

FOLDER = BUILD / "soak"
DOCUMENT = "soak.json"
REPEATED = "repeated.json"
OURS = ("*.img", "*.console.txt", "*.qemu.txt", DOCUMENT, REPEATED)
"""What a soak leaves, whole or broken off; the next one begins without."""


def main() -> int:
    """Do what the command line says; 1 if anything was found, 2 if the lab failed."""
    arguments = _parse()
    seed, runs = arguments.seed, range(arguments.first, arguments.first + arguments.runs)
    stories = [story(seed, run) for run in runs]
    if arguments.repeat:
        seed, run = arguments.repeat
        stories = [story(seed, run)]
        for chapter in stories[0].chapters:
            say(str(chapter))
    try:
        _clear(arguments.out, arguments.repeat)
        say("images and disks ...")
        disks.prepare(arguments.out)
        document = arguments.out / (REPEATED if arguments.repeat else DOCUMENT)
        results = _soak(seed, stories, document, arguments.jobs)
    except (LabError, ImageBuildError, BootsvcError, InitramfsError) as error:
        sys.stderr.write(f"soak: {error}\n")
        return 2
    print(f"\n{results.table()}\n\n{document}")
    for failed in results.failed:
        print(f"again: {sys.executable} -m qemu_lab.soak --repeat {failed.story.label}")
    if results.is_right:
        return 0
    return 2 if all(run.fault for run in results.failed) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m qemu_lab.soak", description=__doc__)
    add = parser.add_argument
    add("--runs", type=int, default=20, metavar="N", help="machines (20)")
    add("--first", type=int, default=0, metavar="N", help="number of the first run (0)")
    add("--seed", type=int, default=1, metavar="N", help="all stories are drawn from it (1)")
    add("--jobs", type=int, default=2, metavar="N", help="machines at a time (2)")
    add("--out", type=Path, default=FOLDER, metavar="DIR", help="all files go here, made anew")
    add("--repeat", type=_label, metavar="SEED/RUN", help="this one run again, and no other")
    return parser.parse_args()


def _label(text: str) -> tuple[int, int]:
    seed, _, run = text.partition("/")
    return int(seed), int(run)


def _clear(folder: Path, repeat: tuple[int, int] | None) -> None:
    """Remove what the last soak left; before a repetition only what that one run left."""
    patterns = [f"run-{repeat[0]}-{repeat[1]}.*"] if repeat else OURS
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def _soak(seed: int, stories: list[Story], document: Path, jobs: int) -> Results:
    """All stories, or those that were told before the soak was broken off (Ctrl-C).

    Args:
        document: kept up to date after every run, in the folder of all other files.
    """
    told: list[RunResult] = []
    try:
        for result in _play(stories, document.parent, jobs):
            told.append(result)
            text = json.dumps(Results(seed, told).document(), indent=1)
            document.write_text(f"{text}\n", encoding="utf-8")
    except KeyboardInterrupt:
        say(f"broken off after {len(told)} of {len(stories)} runs")
    return Results(seed, told)


def _play(stories: list[Story], folder: Path, jobs: int) -> Iterator[RunResult]:
    """Tell all stories, ``jobs`` at a time; in the order in which they end."""
    begun = time.monotonic()
    # Spawned: a machine dies with the process that started it, and that one must have no threads.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            futures = [pool.submit(play, one, folder) for one in stories]
            for count, future in enumerate(as_completed(futures), 1):
                result = future.result()
                left = (time.monotonic() - begun) / count * (len(stories) - count)
                say(f"{count} of {len(stories)}, {left / 60:.0f} min left: {result.line()}")
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    sys.exit(main())
