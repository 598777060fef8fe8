"""The stages of a boot, each with the console line that proves it, and the bad patterns.

This file is the only place in the lab that knows how a stage looks on the console. Scenarios
name stages; they contain no regular expressions.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field


class Stage(enum.Enum):
    """Where a machine is between power-on and a running system."""

    UNKNOWN = "unknown"
    """Nothing was seen yet since power-on."""
    FIRMWARE = "firmware"
    BOOT_LOADER = "boot loader"
    KERNEL = "kernel"
    """The updater's kernel (the first one of this start)."""
    UPDATER_STARTED = "updater started"
    FETCH = "fetch"
    """The updater fetches an image into staging."""
    IDLE = "idle"
    CHECK = "check"
    REFUSED = "refused"
    INSTALL = "install"
    BACKUP = "backup"
    COPY = "copy"
    VERIFY = "verify"
    TRIAL = "trial"
    CONFIRM = "confirm"
    RESTORE = "restore"
    ROLLBACK = "rollback"
    ROT = "rot"
    DEGRADED = "degraded"
    FALLBACK = "fallback"
    """The updater's Python died and the shell starts what the record names."""
    HAND_OVER = "hand-over"
    HALT = "halt"
    OS_KERNEL = "OS kernel"
    """A kernel that started after the hand-over: only the kexec back end has one."""
    OS_UP = "OS up"


@dataclass(frozen=True)
class Proof:
    """How one stage shows itself.

    Attributes:
        stage: what is proven.
        pattern: regular expression searched in one line of console text.
        prompt: True when the proof ends in a prompt, so that no line end follows it.
        reason: why this line proves it.
    """

    stage: Stage
    pattern: str
    reason: str
    prompt: bool = False


MARK = r"bootsvc: stage={word}(?![\w-])"
"""The updater's own marks: whole words on a line of their own, with details as key=value."""

# The order matters only where one line could prove two stages: the first wins.
# fmt: off
PROOFS: tuple[Proof, ...] = (
    Proof(Stage.FIRMWARE, r"SeaBIOS \(version|UEFI firmware|BdsDxe: loading",
          "banner of the firmware; needs Machine.firmware_on_serial for SeaBIOS"),
    Proof(Stage.BOOT_LOADER, r"GRUB loading|Welcome to GRUB!|Booting `",
          "first words of GRUB's core image or menu"),
    Proof(Stage.UPDATER_STARTED, MARK.format(word="start"), "the updater runs"),
    Proof(Stage.FETCH, MARK.format(word="fetch"), "an image is being fetched into staging"),
    Proof(Stage.IDLE, MARK.format(word="idle"), "nothing to do"),
    Proof(Stage.CHECK, MARK.format(word="check"), "the staged image is being checked"),
    Proof(Stage.REFUSED, MARK.format(word="refused"), "the staged image was refused"),
    Proof(Stage.INSTALL, MARK.format(word="install"), "first image of a new machine"),
    Proof(Stage.BACKUP, MARK.format(word="backup"), "primary is being copied to backup"),
    Proof(Stage.COPY, MARK.format(word="copy"), "the new image is being copied to primary"),
    Proof(Stage.VERIFY, MARK.format(word="verify"), "primary is being read back"),
    Proof(Stage.TRIAL, MARK.format(word="trial"), "a try of the new image is recorded"),
    Proof(Stage.CONFIRM, MARK.format(word="confirm"), "the image was confirmed"),
    Proof(Stage.RESTORE, MARK.format(word="restore"), "backup is being copied to primary"),
    Proof(Stage.ROLLBACK, MARK.format(word="rollback"), "the operator asked for the old image"),
    Proof(Stage.ROT, MARK.format(word="rot"), "primary fails its digest at rest"),
    Proof(Stage.DEGRADED, MARK.format(word="degraded"), "runs from the backup, stays there"),
    Proof(Stage.FALLBACK, MARK.format(word="fallback"), "Python died; the shell takes over"),
    Proof(Stage.HAND_OVER, MARK.format(word="handover"), "last line before the image is started"),
    Proof(Stage.HALT, MARK.format(word="halt"), "nothing can be started"),
    # Which kernel it is depends on what came before: see StageTracker.
    Proof(Stage.KERNEL, r"Linux version \d", "first line of a kernel's log"),
    Proof(Stage.OS_UP, r"lab: responder up", "guest/responder.sh answers"),
    Proof(Stage.OS_UP, r"(?<!Last )\blogin: ", "getty waits for a user", prompt=True),
)
# fmt: on

_COMPILED = tuple((proof, re.compile(proof.pattern)) for proof in PROOFS)
_DETAIL = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class StageSeen:
    """One stage, seen on one line.

    Attributes:
        stage: which.
        seconds: when, since the first power-on of this machine.
        details: the key=value words of the mark, for example {"area": "primary"}.
    """

    stage: Stage
    seconds: float
    details: dict[str, str] = field(default_factory=dict)


def stage_of_line(line: str, before: Stage = Stage.UNKNOWN) -> Stage | None:
    """The stage that `line` proves, or None.

    Args:
        line: one line of console text without its line end (or an unfinished one: a prompt).
        before: the stage of the machine so far; a kernel that starts after the hand-over is the
            image's own.
    """
    for proof, pattern in _COMPILED:
        if pattern.search(line):
            if proof.stage is Stage.KERNEL and before is Stage.HAND_OVER:
                return Stage.OS_KERNEL
            return proof.stage
    return None


def is_prompt(line: str) -> bool:
    """True when an unfinished line already proves a stage (no line end will follow)."""
    return any(proof.prompt and pattern.search(line) for proof, pattern in _COMPILED)


class StageTracker:
    """Follows a machine through its stages, line by line."""

    def __init__(self) -> None:
        self.current = Stage.UNKNOWN

    def restart(self) -> None:
        """The machine was powered on or reset by the lab: forget where it was."""
        self.current = Stage.UNKNOWN

    def feed(self, line: str, seconds: float = 0.0) -> StageSeen | None:
        """Takes one line; returns what it proves, None when it proves nothing."""
        stage = stage_of_line(line, self.current)
        if stage is None:
            return None
        self.current = stage
        details = dict(_DETAIL.findall(line)) if "bootsvc: stage=" in line else {}
        details.pop("stage", None)
        return StageSeen(stage, seconds, details)


# ----------------------------------------------------------------------------------------------
# Progress


@dataclass(frozen=True)
class Progress:
    """One progress line of the updater: `bootsvc: backup 12.0 / 64.0 MiB  19%  ...`.

    Attributes:
        word: the work in the updater's word, for example "backup" or "verify".
        area: what it works on where that is said ("verify primary"), else "".
        done, total: amounts in `unit`.
        percent: 0 to 100.
    """

    word: str
    area: str
    done: float
    total: float
    unit: str
    percent: int


_PROGRESS = re.compile(r"bootsvc: ([a-z]+)(?: ([a-z]+))?\s+([\d.]+) / ([\d.]+) (\w+)\s+(\d+)%")


def progress_of_line(line: str) -> Progress | None:
    """The progress that `line` reports, or None."""
    found = _PROGRESS.search(line)
    if found is None:
        return None
    word, area, done, total, unit, percent = found.groups()
    return Progress(word, area or "", float(done), float(total), unit, int(percent))


# ----------------------------------------------------------------------------------------------
# What must not be on the console


class Bad(enum.Enum):
    """Console text that fails any wait, unless that wait declares it expected.

    Each member's value is a regular expression, searched in unfinished lines too.
    """

    KERNEL_PANIC = r"Kernel panic - not syncing"
    KERNEL_BUG = r"\bBUG: |kernel BUG at|\bOops: "
    OUT_OF_MEMORY = r"Out of memory: Killed process|invoked oom-killer"
    PYTHON_FATAL = r"Fatal Python error"
    PYTHON_TRACEBACK = r"Traceback \(most recent call last\)"
    RESCUE_SHELL = r"bootsvc: rescue shell|(?:^|\n)(?:~|/) # |\(initramfs\) "
    BOOT_LOADER_PROMPT = r"grub rescue>|(?:^|\n)grub> "
    NOT_BOOTABLE = r"No bootable device"
    HALT = r"bootsvc: stage=halt\b"

    @property
    def words(self) -> str:
        """The name for messages: "kernel panic"."""
        return self.name.lower().replace("_", " ")


_BAD_COMPILED = tuple((bad, re.compile(bad.value)) for bad in Bad)


def bad_in(text: str) -> list[Bad]:
    """Every kind of bad output that `text` (a line, finished or not) contains."""
    return [bad for bad, pattern in _BAD_COMPILED if pattern.search(text)]
