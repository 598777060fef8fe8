"""The inputs that stand in the tree, and which of the fuzzer's are worth to stand there.

``found-*`` are findings of old: they stay. Every other file earns its place by a step between two
lines of bootsvc that neither seeds nor findings nor a better file of its folder take.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import bootsvc
from bootsvc.units import KIB
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

FOLDER = Path(__file__).parent / "corpus"
MOST_FILES = 60
MOST_BYTES = 200 * KIB
LONGEST_FILE = 4 * KIB
MOST_CHOSEN = 4
"""Files of one folder, beside findings."""

FINDING = "found-"

_PRODUCT = str(Path(bootsvc.__file__).parent)

Step = tuple[str, int, int]
"""File, the line before, this line."""


def files() -> list[Path]:
    """All inputs in the tree."""
    return sorted(path for path in FOLDER.glob("*/*") if path.is_file())


def steps_of(target: Target, data: bytes) -> frozenset[Step]:
    """The steps that ``data`` makes bootsvc take; an input that is a finding takes none."""
    steps: set[Step] = set()

    def enter(frame: FrameType, _event: str, _value: object) -> object:
        file = frame.f_code.co_filename
        if not file.startswith(_PRODUCT):
            return None
        before = 0

        def follow(inner: FrameType, _event: str, _value: object) -> object:
            nonlocal before
            steps.add((file, before, inner.f_lineno))
            before = inner.f_lineno
            return follow

        return follow

    outer = sys.gettrace()
    sys.settrace(enter)  # type: ignore[arg-type]  # its type asks for what it calls itself
    try:
        target.try_input(data)
    except Exception:  # noqa: BLE001  # findings are reported where they are found
        return frozenset()
    finally:
        sys.settrace(outer)
    return frozenset(steps)


def chosen(folder: str, candidates: Iterable[bytes]) -> list[bytes]:
    """The few of ``candidates`` that reach most beyond seeds and findings, the best first."""
    sharing = [one for one in TARGETS.values() if one.corpus == folder]

    def steps(data: bytes) -> frozenset[Step]:
        return frozenset().union(*(steps_of(target, data) for target in sharing))

    findings = [path.read_bytes() for path in (FOLDER / folder).glob(f"{FINDING}*")]
    sound = [data for target in sharing for data in target.seeds()]
    reached = frozenset().union(*map(steps, (*findings, *sound)))
    left = {data: steps(data) for data in candidates if len(data) <= LONGEST_FILE}
    best: list[bytes] = []
    while left and len(best) < MOST_CHOSEN:
        data = max(left, key=lambda one: (len(left[one] - reached), -len(one), one))
        if left[data] <= reached:
            break
        reached |= left.pop(data)
        best.append(data)
    return best


def keep(target: Target, found: Iterable[bytes]) -> int:
    """Let the best of ``found`` and of the target's folder be what stands there.

    Returns how many of the files are new.
    """
    folder = FOLDER / target.corpus
    stored = {path.read_bytes(): path for path in folder.glob("*") if FINDING not in path.name}
    best = chosen(target.corpus, {*found, *stored})
    for data, path in stored.items():
        if data not in best:
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for data in best:
        (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return len(set(best) - set(stored))
