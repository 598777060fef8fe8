"""The table of stages, progress lines and bad patterns."""

from __future__ import annotations

import pytest

from qemu_lab.stages import (
    PROOFS,
    Bad,
    Stage,
    StageTracker,
    bad_in,
    is_prompt,
    progress_of_line,
    stage_of_line,
)

# Lines as machines print them. fmt: off
LINES = [
    ("SeaBIOS (version 1.16.2-debian-1.16.2-1)", Stage.FIRMWARE),
    ("GRUB loading.", Stage.BOOT_LOADER),
    (
        "[    0.000000] Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org)",
        Stage.KERNEL,
    ),
    ("bootsvc: stage=start", Stage.UPDATER_STARTED),
    ("bootsvc: stage=idle", Stage.IDLE),
    ("bootsvc: stage=check", Stage.CHECK),
    ("bootsvc: stage=refused reason=signature", Stage.REFUSED),
    ("bootsvc: stage=install", Stage.INSTALL),
    ("bootsvc: stage=backup", Stage.BACKUP),
    ("bootsvc: stage=copy", Stage.COPY),
    ("bootsvc: stage=verify", Stage.VERIFY),
    ("bootsvc: stage=trial", Stage.TRIAL),
    ("bootsvc: stage=confirm", Stage.CONFIRM),
    ("bootsvc: stage=restore", Stage.RESTORE),
    ("bootsvc: stage=rollback", Stage.ROLLBACK),
    ("bootsvc: stage=rot", Stage.ROT),
    ("bootsvc: stage=degraded", Stage.DEGRADED),
    ("bootsvc: stage=fallback", Stage.FALLBACK),
    ("bootsvc: stage=handover area=primary method=kexec", Stage.HAND_OVER),
    ("bootsvc: stage=halt", Stage.HALT),
    ("lab: responder up version=1", Stage.OS_UP),
    ("lab login: ", Stage.OS_UP),
]
# fmt: on


@pytest.mark.parametrize(("line", "stage"), LINES)
def test_each_stage_is_proven_by_its_line(line: str, stage: Stage) -> None:
    assert stage_of_line(line) is stage


def test_every_stage_has_a_proof() -> None:
    by_context = {Stage.UNKNOWN, Stage.OS_KERNEL}
    assert {proof.stage for proof in PROOFS} == set(Stage) - by_context


@pytest.mark.parametrize(
    "line",
    [
        "",
        "bootsvc: stage=copying-is-no-stage",
        "bootsvc: stage=rotten",
        "bootsvc: backup 12.0 / 64.0 MiB  19%",
        "Last login: Sat Nov 21 on ttyS0",
        "GRUB is mentioned here",
    ],
)
def test_other_lines_prove_nothing(line: str) -> None:
    assert stage_of_line(line) is None


def test_a_kernel_after_the_hand_over_is_the_images_own() -> None:
    tracker = StageTracker()
    kernel = "Linux version 6.1.0"
    for line, stage in [
        (kernel, Stage.KERNEL),
        ("bootsvc: stage=start", Stage.UPDATER_STARTED),
        ("bootsvc: stage=handover area=primary method=kexec", Stage.HAND_OVER),
        (kernel, Stage.OS_KERNEL),
    ]:
        seen = tracker.feed(line)
        assert seen is not None
        assert seen.stage is stage
    tracker.restart()
    assert tracker.current is Stage.UNKNOWN
    again = tracker.feed(kernel)
    assert again is not None
    assert again.stage is Stage.KERNEL


def test_the_details_of_a_mark_are_its_other_words() -> None:
    seen = StageTracker().feed("[ 1.0] bootsvc: stage=handover area=backup method=switch_root", 3.5)
    assert seen is not None
    assert seen.details == {"area": "backup", "method": "switch_root"}
    assert seen.seconds == 3.5


def test_only_prompts_prove_a_stage_without_a_line_end() -> None:
    assert is_prompt("lab login: ")
    assert not is_prompt("bootsvc: stage=copy")


def test_a_progress_line_is_read() -> None:
    progress = progress_of_line("bootsvc: backup 12.0 / 64.0 MiB  19%  10.1 MiB/s  5 s left")
    assert progress is not None
    assert (progress.word, progress.area) == ("backup", "")
    assert (progress.done, progress.total, progress.unit) == (12.0, 64.0, "MiB")
    assert progress.percent == 19
    verify = progress_of_line("bootsvc: verify primary 0.5 / 4.0 MiB  12%  1.0 MiB/s  waiting")
    assert verify is not None
    assert (verify.word, verify.area, verify.percent) == ("verify", "primary", 12)
    assert progress_of_line("bootsvc: stage=backup") is None


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("[    9.1] Kernel panic - not syncing: sysrq triggered crash", Bad.KERNEL_PANIC),
        ("[    9.1] BUG: kernel NULL pointer dereference", Bad.KERNEL_BUG),
        ("[    9.1] Oops: 0002 [#1] SMP", Bad.KERNEL_BUG),
        ("[    9.1] Out of memory: Killed process 12 (python3)", Bad.OUT_OF_MEMORY),
        ("Fatal Python error: failed to get random numbers", Bad.PYTHON_FATAL),
        ("Traceback (most recent call last):", Bad.PYTHON_TRACEBACK),
        ("bootsvc: rescue shell", Bad.RESCUE_SHELL),
        ("/ # ", Bad.RESCUE_SHELL),
        ("(initramfs) ", Bad.RESCUE_SHELL),
        ("grub rescue> ", Bad.BOOT_LOADER_PROMPT),
        ("No bootable device.", Bad.NOT_BOOTABLE),
        ("bootsvc: stage=halt", Bad.HALT),
    ],
)
def test_bad_output_is_recognised(text: str, bad: Bad) -> None:
    assert bad_in(text) == [bad]


@pytest.mark.parametrize("text", ["DEBUG: all well", "root@lab:~# ", "bootsvc: stage=copy"])
def test_ordinary_output_is_not_bad(text: str) -> None:
    assert bad_in(text) == []
