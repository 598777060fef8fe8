"""The console without a machine: one end of a socket plays the guest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu_lab.console import TAIL_LINES, Console
from qemu_lab.errors import BadOutputError, DeadlineError, ExpectationError, LostVMError
from qemu_lab.stages import Bad, Stage


class _Guest:
    """A console and the guest's end of it."""

    def __init__(self, directory: Path) -> None:
        self.console = Console(directory / "console.txt", lambda: 1.5)
        self.power_on()

    def power_on(self) -> None:
        ours, self.line = socket.socketpair()
        self.console.attach(ours, "power on", lambda: "(status -9)")

    def says(self, *lines: str) -> None:
        self.line.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def close(self) -> None:
        self.console.close()
        self.line.close()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[_Guest]:
    result = _Guest(tmp_path)
    yield result
    result.close()


def test_a_wait_returns_when_the_stage_is_proven(guest: _Guest) -> None:
    guest.says("SeaBIOS (version 1.16)", "noise", "bootsvc: stage=copy area=primary", "more")
    seen = guest.console.wait_for(Stage.COPY, 5)
    assert seen.details == {"area": "primary"}


def test_stages_are_read_in_order_and_only_once(guest: _Guest) -> None:
    guest.says("bootsvc: stage=copy", "bootsvc: stage=verify")
    guest.console.wait_for(Stage.VERIFY, 5)
    with pytest.raises(DeadlineError, match="stage 'copy'"):
        guest.console.wait_for(Stage.COPY, 0.1)


def test_a_prompt_needs_no_line_end(guest: _Guest) -> None:
    guest.line.sendall(b"lab login: ")
    guest.console.wait_for(Stage.OS_UP, 5)
    assert [seen.stage for seen in guest.console.stages] == [Stage.OS_UP]
    guest.says("root")
    guest.says("bootsvc: stage=copy")
    guest.console.wait_for(Stage.COPY, 5)
    assert [seen.stage for seen in guest.console.stages] == [Stage.OS_UP, Stage.COPY]


def test_half_a_line_proves_nothing(guest: _Guest) -> None:
    guest.line.sendall(b"bootsvc: stage=copy")
    with pytest.raises(DeadlineError):
        guest.console.wait_for(Stage.COPY, 0.1)
    guest.says("")
    guest.console.wait_for(Stage.COPY, 5)


def test_the_images_kernel_is_told_from_the_updaters(guest: _Guest) -> None:
    guest.says("Linux version 6.1", "bootsvc: stage=handover method=kexec", "Linux version 6.1")
    guest.console.wait_for(Stage.OS_KERNEL, 5)
    stages = [seen.stage for seen in guest.console.stages]
    assert stages == [Stage.KERNEL, Stage.HAND_OVER, Stage.OS_KERNEL]


@pytest.mark.parametrize("bad", list(Bad))
def test_every_bad_output_fails_any_wait(guest: _Guest, bad: Bad) -> None:
    text = {
        Bad.KERNEL_BUG: "BUG: soft lockup",
        Bad.OUT_OF_MEMORY: "Out of memory: Killed process 1",
        Bad.PYTHON_TRACEBACK: "Traceback (most recent call last):",
        Bad.RESCUE_SHELL: "bootsvc: rescue shell",
        Bad.BOOT_LOADER_PROMPT: "grub rescue>",
    }.get(bad, bad.value)
    guest.says(text, "bootsvc: stage=copy")
    with pytest.raises(BadOutputError, match=bad.words):
        guest.console.wait_for(Stage.COPY, 5)


def test_declared_bad_output_is_passed_over_by_that_wait_only(guest: _Guest) -> None:
    guest.says("Kernel panic - not syncing", "bootsvc: stage=copy")
    guest.console.wait_for(Stage.COPY, 5, expecting={Bad.KERNEL_PANIC})
    guest.says("Kernel panic - not syncing", "bootsvc: stage=copy")
    with pytest.raises(BadOutputError):
        guest.console.wait_for(Stage.COPY, 5, expecting={Bad.PYTHON_FATAL})


def test_bad_output_may_be_expected_for_a_whole_block(guest: _Guest) -> None:
    with guest.console.expecting(Bad.KERNEL_PANIC):
        guest.says("Kernel panic - not syncing", "bootsvc: stage=copy")
        guest.console.wait_for(Stage.COPY, 5)
        guest.console.check("waited for nothing")


def test_a_halt_is_bad_unless_it_is_waited_for(guest: _Guest) -> None:
    guest.says("bootsvc: stage=halt")
    guest.console.wait_for(Stage.HALT, 5)
    guest.says("bootsvc: stage=halt")
    with pytest.raises(BadOutputError, match="halt"):
        guest.console.wait_for(Stage.OS_UP, 5)


def test_a_provoked_failure_can_be_waited_for(guest: _Guest) -> None:
    guest.says("words", "Kernel panic - not syncing: on purpose")
    guest.console.wait_for_bad(Bad.KERNEL_PANIC, 5)
    guest.console.check("waited for the port")


def test_bad_output_that_nobody_read_fails_waits_on_other_channels(guest: _Guest) -> None:
    guest.says("Kernel panic - not syncing")
    guest.console.settle()
    with pytest.raises(BadOutputError, match="waited for the port: kernel panic"):
        guest.console.check("waited for the port")
    guest.console.check("waited for the port", {Bad.KERNEL_PANIC})
    guest.console.forgive({Bad.KERNEL_PANIC})
    guest.console.check("waited for the port")
    guest.says("bootsvc: stage=copy")
    guest.console.wait_for(Stage.COPY, 5)


def test_a_failed_wait_shows_the_end_of_the_console_and_names_the_file(guest: _Guest) -> None:
    guest.says(*(f"line {number}" for number in range(100)))
    with pytest.raises(DeadlineError) as caught:
        guest.console.wait_for(Stage.COPY, 0.1)
    message = str(caught.value)
    assert str(guest.console.transcript.path) in message
    assert message.count("] line ") == TAIL_LINES
    assert "line 99" in message
    assert "line 69" not in message


def test_the_bad_line_is_shown_even_when_a_long_trace_follows(guest: _Guest) -> None:
    guest.says("Kernel panic - not syncing: the cause", *["trace"] * 100)
    with pytest.raises(BadOutputError, match="the cause"):
        guest.console.wait_for(Stage.COPY, 5)


def test_a_line_that_qemu_closes_is_a_lost_machine(guest: _Guest) -> None:
    guest.says("words")
    guest.line.close()
    with pytest.raises(LostVMError, match="status -9"):
        guest.console.wait_for(Stage.COPY, 5)
    with pytest.raises(LostVMError):
        guest.console.send("words")


def test_what_came_before_the_end_is_still_read(guest: _Guest) -> None:
    guest.says("bootsvc: stage=copy")
    guest.line.close()
    guest.console.wait_for(Stage.COPY, 5)


def test_a_new_power_on_goes_on_in_the_same_transcript_and_forgets_unread_text(
    guest: _Guest,
) -> None:
    guest.says("bootsvc: stage=copy", "Kernel panic - not syncing", "unfinis")
    guest.console.settle()
    guest.line.close()
    guest.console.detach("power cut at 1.500 s")
    guest.power_on()
    guest.says("bootsvc: stage=verify")
    guest.console.wait_for(Stage.VERIFY, 5)
    with pytest.raises(DeadlineError):
        guest.console.wait_for(Stage.COPY, 0.1)
    text = guest.console.transcript.path.read_text()
    assert text.count("=== power on") == 2
    assert text.index("=== power cut at 1.500 s") < text.index("stage=verify")


def test_progress_is_waited_for_by_percent(guest: _Guest) -> None:
    guest.says("bootsvc: stage=copy")
    for percent in (5, 19, 64, 100):
        guest.says(f"bootsvc: copy 1.0 / 64.0 MiB  {percent}%  10.1 MiB/s  5 s left")
    assert guest.console.wait_for_progress(Stage.COPY, 50, 5).percent == 64
    assert guest.console.wait_for_progress(Stage.COPY, 100, 5).percent == 100


def test_progress_counts_for_the_stage_it_is_in(guest: _Guest) -> None:
    guest.says("bootsvc: stage=check", "bootsvc: verify staging 1.0 / 2.0 MiB  50%  x")
    guest.says("bootsvc: stage=verify", "bootsvc: verify primary 1.8 / 2.0 MiB  90%  x")
    assert guest.console.wait_for_progress(Stage.VERIFY, 10, 5).area == "primary"


def test_progress_that_ends_early_fails_at_once(guest: _Guest) -> None:
    guest.says("bootsvc: stage=copy", "bootsvc: copy 1.0 / 64.0 MiB  19%  x", "bootsvc: stage=rot")
    with pytest.raises(ExpectationError, match="stage 'rot' came first; it was at 19%"):
        guest.console.wait_for_progress(Stage.COPY, 50, 60)


def test_text_is_waited_for_literally(guest: _Guest) -> None:
    guest.says("a+b", "a(b")
    guest.console.wait_for_text("a(b", 5)
    with pytest.raises(DeadlineError, match="in vain"):
        guest.console.wait_for_text("a.b", 0.1)


def test_what_is_typed_arrives_and_is_noted(guest: _Guest) -> None:
    guest.console.send("root\n")
    assert guest.line.recv(100) == b"root\n"
    assert r"typed 'root\n'" in guest.console.transcript.path.read_text()


def test_a_console_that_was_never_attached_says_so(tmp_path: Path) -> None:
    console = Console(tmp_path / "console.txt", lambda: 0.0)
    with pytest.raises(LostVMError, match="never started"):
        console.wait_for(Stage.OS_UP, 5)
    console.close()


def test_a_long_backlog_is_read_quickly(guest: _Guest) -> None:
    guest.says(*["x" * 80] * 3000, "bootsvc: stage=copy")
    guest.console.wait_for(Stage.COPY, 10)
