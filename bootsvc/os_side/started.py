"""What the updater handed to the OS that runs now.

``/run/bootsvc/handover.env`` says it in both kinds of start; where the image's initrd has not
written it (yet), the kernel options of a kexec start do. A start without either (rescue system,
another disk) is nobody's, and can never confirm anything (DESIGN 4).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootsvc.boot.cmdline import parse_options
from bootsvc.boot.handover import ENV_FILE
from bootsvc.formats.boot_status import NO_ID, NO_IDENTITY, Area
from bootsvc.sequence.requests import Started

CMDLINE_FILE = Path("/proc/cmdline")
_AREAS = {"primary": Area.PRIMARY, "backup": Area.BACKUP, "staging": Area.STAGING}


@dataclass(frozen=True)
class ThisStart:
    """The facts of this start.

    Attributes:
        started: area, identity and transaction.
        is_trial: the updater started the image on trial.
        root: the area's partition (``/dev/vda4``), or how else it is named; empty = unknown.
        alarm: name of the reason for an alarm that the updater raised, or empty.
        slot: of the updater that started the image, a or b; empty = unknown.
    """

    started: Started
    is_trial: bool = False
    root: str = ""
    alarm: str = ""
    slot: str = ""


def read_this_start(
    env_file: Path = ENV_FILE, cmdline_file: Path = CMDLINE_FILE
) -> ThisStart | None:
    """The facts of this start; None where the updater did not start this system."""
    return parse_env(_text_of(env_file)) or parse_cmdline(_text_of(cmdline_file))


def parse_env(text: str) -> ThisStart | None:
    """The facts in handover.env; None where they are not complete. Pure."""
    values = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        try:
            values[name.removeprefix("BOOTSVC_").lower()] = "".join(shlex.split(value))
        except ValueError:
            return None
    return _facts(values)


def parse_cmdline(text: str) -> ThisStart | None:
    """The facts in a kernel command line; None where they are not complete. Pure."""
    options = parse_options(text)
    values = {
        name.removeprefix("bootsvc."): value
        for name, value in options.items()
        if name.startswith("bootsvc.")
    }
    return _facts({**values, "root": options.get("root", "")})


def _facts(values: Mapping[str, str]) -> ThisStart | None:
    area = _AREAS.get(values.get("area", ""))
    identity = _bytes(values.get("identity", ""), len(NO_IDENTITY))
    transaction = _bytes(values.get("transaction", ""), len(NO_ID))
    if area is None or identity is None or transaction is None:
        return None
    return ThisStart(
        Started(area, identity, transaction),
        is_trial=values.get("trial") == "1",
        root=values.get("root", ""),
        alarm=values.get("alarm", ""),
        slot=values.get("slot", ""),
    )


def _bytes(text: str, size: int) -> bytes | None:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if len(data) == size and len(text) == 2 * size else None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
