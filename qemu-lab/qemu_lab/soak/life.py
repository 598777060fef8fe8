"""One machine as it lives: starts, what it says, the cuts, and what an operator would do for it.

Everything here waits on one stream of console lines and on the port; nothing blocks, so that a cut
comes at its moment whatever the machine is doing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from qemu_lab.deadline import patience
from qemu_lab.errors import BadOutputError
from qemu_lab.soak.images import CATALOGUE, Behaviour
from qemu_lab.soak.oracle import Finding, HandOver
from qemu_lab.soak.plan import At, Cut, Means
from qemu_lab.stages import Bad, Stage, StageSeen, StageTracker
from qemu_lab.vm import VM

START_S = 120.0
"""Longest time from power-on until an image is up, or its trial over, under emulation."""

MOST_STARTS = 10
"""Starts that a machine may take until it is up, left alone: more than three tries, a restore and
the start after it."""

FIRST_TEMPO_S = 4.0
"""Taken for the tempo of a machine that was not seen starting yet."""

_POLL_S = 0.02

_STAGES: Mapping[Stage, At] = {
    Stage.UPDATER_STARTED: At.UPDATER,
    Stage.CHECK: At.CHECK,
    Stage.REFUSED: At.REFUSED,
    Stage.BACKUP: At.BACKUP,
    Stage.COPY: At.COPY,
    Stage.VERIFY: At.VERIFY,
    Stage.TRIAL: At.TRIAL,
    Stage.HAND_OVER: At.HAND_OVER,
    Stage.OS_UP: At.OS_UP,
    Stage.ROLLBACK: At.ROLLBACK,
    Stage.RESTORE: At.RESTORE,
}
_ENDED = re.compile(r"lab: (confirm|command) ended (\d+)")
_BEHAVES = re.compile(r"probe: behaviour (hang|silent)")


class StuckError(Exception):
    """The machine does not come up, or shows what must never be seen."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


class Ending(Enum):
    """Why ``live`` returned."""

    UP = "up"  # a proven image runs, and the operator's command has ended
    CUT = "cut"


@dataclass
class Witness:
    """Who is told, while the machine is stopped.

    Attributes:
        at_hand_over: an image is about to be started.
        at_cut: the power is about to fail, or reset is about to be pressed.
    """

    at_hand_over: Callable[[HandOver], None]
    at_cut: Callable[[], None]


class Life:
    """One machine over all its starts.

    Attributes:
        starts: how many there were.
        stage: the last stage that the console showed in this start.
        stage_at_cut: the same at the last cut.
        helped: how often somebody switched it off and on because an image did nothing any more.
        command_status: exit status of the operator's last command; None while it runs.
        has_confirmed: an image on trial was told to confirm since this was last set to False.
    """

    def __init__(self, vm: VM, witness: Witness, *, is_fresh_after_reset: bool) -> None:
        """A machine that is off.

        Args:
            is_fresh_after_reset: a reset, by whomever, ends QEMU, and another one is started.
                Emulated, a guest starts two to three times slower after a reset than in a fresh
                QEMU.
        """
        self.vm = vm
        self._is_fresh_after_reset = is_fresh_after_reset
        self.starts = 0
        self.stage = self.stage_at_cut = Stage.UNKNOWN
        self.helped = 0
        self.command_status: int | None = None
        self.has_confirmed = False
        self._witness = witness
        self._tempo = FIRST_TEMPO_S
        self._tracker = StageTracker()
        self._read = 0  # lines of the transcript
        self._started_s = 0.0
        self._current: HandOver | None = None
        self._is_up = False
        self._is_silent = False
        self._is_ending = False  # it was stopped for good in this start

    def power_on(self) -> None:
        """Press the button."""
        self._read = len(self.vm.console.transcript.lines)
        self.vm.start()
        if self._is_fresh_after_reset:
            self.vm.qmp("set-action", reboot="shutdown")
        self._begin_start(self.vm.clock())

    def power_off(self) -> None:
        """Pull the plug of a machine that is up."""
        self._stop()
        self.vm.power_cut()

    def live(self, cut: Cut | None, *, is_patient: bool, command: str = "") -> Ending:
        """Let the machine live until ``cut``, or until it is up.

        Args:
            is_patient: leave an image alone that never confirms; else switch it off and on.
            command: what the operator has the running system do once it is up.

        Raises:
            StuckError: it does not come up.
            LabError: the lab failed.
        """
        due = self._due(cut, At.BOOT, self._started_s)
        first = self.starts
        waits_for = command
        while True:
            for seen in self._read_lines():
                if due is None and cut is not None and _STAGES.get(seen.stage) is cut.at:
                    due = self._due(cut, cut.at, seen.seconds)
            is_due = due is not None and self.vm.clock() >= due
            if cut is not None and is_due and self.vm.running:
                self._cut(cut)
                return Ending.CUT
            self._check(first)
            if self._greeted():
                due = due if due is not None else self._due(cut, At.CONFIRM, self.vm.clock())
            if self._is_up and waits_for:
                waits_for = ""
                self._begin("command", command)
                due = due if due is not None else self._due(cut, At.COMMAND, self.vm.clock())
            if self._is_up and due is None and (not command or self.command_status is not None):
                return Ending.UP
            if self._is_silent and not is_patient and due is None:
                self._help()
            time.sleep(_POLL_S)

    # --- what the machine says ------------------------------------------------------------------

    def _read_lines(self) -> list[StageSeen]:
        lines = self.vm.console.transcript.lines
        seen = []
        while self._read < len(lines):
            line = lines[self._read]
            self._read += 1
            stage = self._tracker.feed(line.text, line.seconds)
            if stage is not None:
                self._follow(stage)
                seen.append(stage)
            self._hear(line.text)
        return seen

    def _follow(self, seen: StageSeen) -> None:
        # The firmware greets twice after a reset: it has itself reset once more.
        if seen.stage is Stage.FIRMWARE and self.stage not in {Stage.UNKNOWN, Stage.FIRMWARE}:
            self._begin_start(seen.seconds)
        self.stage = seen.stage
        if seen.stage is Stage.UPDATER_STARTED:
            self._tempo = seen.seconds - self._started_s
        if seen.stage is Stage.HAND_OVER:
            facts = seen.details
            self._current = HandOver(facts["area"], int(facts["number"]), facts["trial"] == "1")
            self.vm.pause()
            self._witness.at_hand_over(self._current)
            if not self._is_ending:
                self.vm.resume()

    def _hear(self, text: str) -> None:
        if _BEHAVES.search(text):
            self._is_silent = True
        ended = _ENDED.search(text)
        if ended is None:
            return
        status = int(ended[2])
        if ended[1] == "command":
            self.command_status = status
        elif status == 0:
            self._is_up = True
        else:
            text = f"confirm ended with status {status}: {self.vm.console.tail(5)}"
            raise StuckError(Finding("the_right_one_confirms", text))

    def _greeted(self) -> bool:
        """Whether an image on trial has just said that it runs, and was told to confirm."""
        if not self.vm.port.reader.hellos:
            return False
        hello = self.vm.port.wait_hello(1.0)
        current = self._current
        said = hello.get("area"), hello.get("version"), hello.get("trial")
        if current is None or said != (
            current.area, str(current.number), str(int(current.is_trial)),
        ):  # fmt: skip
            text = f"the system says (area, version, trial) {said}, the updater {current}"
            raise StuckError(Finding("boots_whole_image", text))
        if not current.is_trial:
            self._is_up = True
            return False
        self.has_confirmed = True
        self._begin("confirm", "bootsvc confirm")
        return True

    def _check(self, first: int) -> None:
        """Nothing bad is on the console, and the machine has not used up its starts and time."""
        behaviour = None if self._current is None else CATALOGUE[self._current.number].behaviour
        expecting = [Bad.KERNEL_PANIC] if behaviour is Behaviour.PANIC else []
        try:
            self.vm.console.check("the machine lives", expecting)
        except BadOutputError as error:
            raise StuckError(Finding("never_seen", str(error))) from None
        self.vm.console.forgive(expecting)
        if not self.vm.running:
            self._restarted_itself()
        if self.starts - first > MOST_STARTS:
            raise StuckError(Finding("settles", f"not up after {MOST_STARTS} starts"))
        if self.vm.clock() - self._started_s > START_S * patience():
            text = f"not up after {START_S:.0f} s; last stage: {self.stage.value}"
            raise StuckError(Finding("settles", text))

    # --- what is done to it ---------------------------------------------------------------------

    def _begin_start(self, seconds: float) -> None:
        self.starts += 1
        self.stage = Stage.UNKNOWN
        self._tracker.restart()
        self._started_s = seconds
        self._current = None
        self._is_up = self._is_silent = self._is_ending = False
        self.command_status = None

    def _due(self, cut: Cut | None, at: At, seconds: float) -> float | None:
        """When ``cut`` is due, if it is one of this place, where the machine was at ``seconds``."""
        return seconds + cut.delay * self._tempo if cut is not None and cut.at is at else None

    def _begin(self, name: str, command: str) -> None:
        """Have the running system do something, without waiting for it."""
        told = f"{command} >/dev/null 2>&1; echo lab: {name} ended $? >/dev/console"
        self.vm.port.run(f"({told}) >/dev/null 2>&1 &", START_S)

    def _cut(self, cut: Cut) -> None:
        self._stop()
        self.stage_at_cut = self.stage
        self._witness.at_cut()
        if cut.means is Means.POWER:
            self.vm.power_cut()
        else:
            self._reset()

    def _restarted_itself(self) -> None:
        self.vm.wait_off(1.0, expecting=tuple(Bad))  # raises if QEMU died
        self._read_lines()
        self.power_on()

    def _stop(self) -> None:
        self._is_ending = True
        self.vm.pause()
        self.vm.console.settle()
        self._read_lines()

    def _help(self) -> None:
        self.helped += 1
        self.power_off()
        self.power_on()

    def _reset(self) -> None:
        if self._is_fresh_after_reset:
            self.vm.quit()  # what the disk has begun it completes, as at a reset
            self.power_on()
            return
        self.vm.reset()
        self._read = len(self.vm.console.transcript.lines)
        self._begin_start(self.vm.clock())
