"""A virtual machine: power, reset, disks with faults, saved states. Synchronous.

    with VM(Machine(drives=(Drive(disk),)), directory=scratch) as vm:
        vm.start()
        vm.console.wait_for(Stage.OS_UP, 120)
        assert vm.port.ask("version").text == "1"
        vm.power_cut()
        vm.start()

The object is the machine, not the QEMU process: it outlives power cuts, and its console, its
transcript and its clock go on.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from qemu_lab import accel as acceleration
from qemu_lab.console import Console
from qemu_lab.deadline import Deadline
from qemu_lab.disk import prepare_pstore
from qemu_lab.errors import DeadlineError, LabError, LostVMError, VMLaunchFailure
from qemu_lab.faults import Faults
from qemu_lab.machine import Machine, Wiring, compose, describe, device_id
from qemu_lab.port import Port
from qemu_lab.qmp import Event, Monitor
from qemu_lab.stages import Bad
from qemu_lab.state import SavedState, copy_disks, read_uri, write_uri
from qemu_lab.updater_port import UpdaterPort
from qemu_lab.write_log import create_log

LAUNCH_SECONDS = 30.0
"""How long QEMU may take from its start to the QMP greeting (0.1 s on an idle host)."""

END_SECONDS = 10.0
"""How long QEMU may take to end after it was told to."""


class VM:
    """One machine.

    Attributes:
        machine: what it is made of; may be replaced while it is off (another disk put in).
        console: its serial line; lives on across resets and power cuts.
        port: results from the guest.
        updater: the updater's console for programs, where the machine has `updater_port`.
        faults: I/O errors and slow disks, see `faults.Faults`.
        accel: what runs it, and why.
    """

    def __init__(
        self,
        machine: Machine,
        directory: Path,
        *,
        name: str = "vm",
        accel: acceleration.Choice | None = None,
    ) -> None:
        """A machine that is switched off.

        Args:
            directory: where its transcript (`<name>.console.txt`) and QEMU's messages
                (`<name>.qemu.txt`) go; both are kept.
            accel: default: `accel.choose()`.
        """
        self.machine = machine
        self.directory = directory
        self.name = name
        self.accel = accel or acceleration.choose()
        self._began: float | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.console = Console(
            directory / f"{name}.console.txt",
            self.clock,
            f"machine {name!r}: {describe(machine)}; acceleration {self.accel.name}",
        )
        self.port = Port(self._check, self.console.forgive, self.console.report)
        self.updater = UpdaterPort(
            directory / f"{name}.updater.txt",
            self._check,
            self.console.forgive,
            self.console.report,
        )
        self.faults = Faults(self._execute, machine)
        self._messages = directory / f"{name}.qemu.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._command: list[str] = []
        self._monitor: Monitor | None = None
        self._past_events: list[Event] = []
        self._power_ons = 0
        self._resume_from: Path | None = None  # memory of a saved state, for the next start
        self._resources = ExitStack()  # of one power-on

    # ---- life ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Switches the machine off by force and closes the transcript."""
        if self._process is not None:
            self._kill("end of the scenario")
        self.console.close()

    def clock(self) -> float:
        """Seconds since the first power-on; 0.0 before it."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def running(self) -> bool:
        """True while the QEMU process lives (a paused machine is running in this sense)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of QEMU.

        Raises:
            LostVMError: the machine is off.
        """
        if self._process is None:
            raise LostVMError(f"machine {self.name!r} is off")
        return self._process.pid

    def start(self, *, paused: bool = False) -> None:
        """Switches the machine on.

        QEMU dies with this process, and with the thread that called start(): start machines
        from a thread that lives as long as they do.

        Args:
            paused: stop before the first instruction, to set faults; resume() starts it.

        Raises:
            VMLaunchFailure: QEMU did not come up.
            LabError: it is on already.
        """
        if self._process is not None:
            raise LabError(f"machine {self.name!r} is on already: power_cut() or quit() first")
        incoming, self._resume_from = self._resume_from, None
        if self._began is None:
            self._began = time.monotonic()
        if self.machine.pstore is not None:
            prepare_pstore(self.machine.pstore)
        for drive in self.machine.drives:
            if drive.write_log is not None:
                create_log(drive.write_log)
        self.faults.restart(self.machine)
        self._power_ons += 1
        deadline = Deadline.of(LAUNCH_SECONDS)
        with ExitStack() as stack:
            ends = {}
            ours = {}
            for channel in ("qmp", "serial", "port", *self._more_channels()):
                ours[channel], ends[channel] = socket.socketpair()
                # QEMU's end is closed here right after the start, so that QEMU's death shows.
                stack.enter_context(ends[channel])
            wiring = Wiring(
                qmp_fd=ends["qmp"].fileno(),
                serial_fd=ends["serial"].fileno(),
                port_fd=ends["port"].fileno(),
                updater_fd=ends["updater"].fileno() if "updater" in ends else None,
                paused=paused,
                incoming=incoming is not None,
            )
            self._command = compose(
                self.machine, wiring, accel=self.accel.name, name=f"lab-{self.name}"
            )
            messages = stack.enter_context(self._messages.open("ab"))
            self._console_on(ours["serial"])
            self.port.attach(ours["port"], greeted=incoming is not None)
            self._resources.callback(self.port.detach)
            if "updater" in ours:
                self.updater.attach(ours["updater"])
                self._resources.callback(self.updater.detach)
            self._process = subprocess.Popen(
                # setpriv: QEMU is killed when we die, however we die. (A function run between
                # fork and exec would do it, too, but may hang in a process that has threads.)
                ["setpriv", "--pdeathsig", "KILL", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=subprocess.STDOUT,
                pass_fds=[end.fileno() for end in ends.values()],
            )
        try:
            self._monitor = Monitor(ours["qmp"], self.clock, deadline)
            self._resources.callback(self._monitor_off)
            # The end of a migration is an event instead of a state to ask for again and again.
            self._execute(
                "migrate-set-capabilities",
                {"capabilities": [{"capability": "events", "state": True}]},
            )
            if incoming is not None:
                self._receive(incoming, deadline, paused=paused)
        except LabError as error:
            exit_code = self._reap(1.0 if isinstance(error, LostVMError) else 0.0)
            output = f"{self._output().strip()}\n  cause: {error}".lstrip()
            self._kill("launch failed")
            raise VMLaunchFailure(exit_code, self._command, output) from None
        except BaseException:
            self._kill("launch was interrupted")
            raise

    def _more_channels(self) -> tuple[str, ...]:
        return ("updater",) if self.machine.updater_port else ()

    def _console_on(self, sock: socket.socket) -> None:
        self.console.attach(sock, f"power on {self._power_ons}", self._why_ended)

    def _why_ended(self) -> str:
        exit_code = self._reap(1.0)
        if exit_code is None:
            return "(QEMU still runs)"
        return f"(QEMU ended with status {exit_code}: {self._output().strip() or 'no message'})"

    def _reap(self, seconds: float) -> int | None:
        if self._process is None:
            return None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def _output(self) -> str:
        return self._messages.read_text(errors="replace") if self._messages.exists() else ""

    def _monitor_off(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
            self._past_events += self._monitor.events
            self._monitor = None

    def _kill(self, reason: str) -> int | None:
        """SIGKILL and clean up; returns the exit status."""
        exit_code = None
        if self._process is not None:
            if self._process.poll() is None:
                os.kill(self._process.pid, signal.SIGKILL)
            exit_code = self._process.wait()
        self._process = None
        self._resources.close()
        self.console.detach(f"{reason} at {self.clock():.3f} s")
        self.faults.restart(self.machine)
        return exit_code

    # ---- power -----------------------------------------------------------------------------

    def power_cut(self) -> None:
        """Cuts the power: SIGKILL to QEMU. The machine can be started again.

        What the guest had not yet handed to its disk (page cache, anything before a write was
        completed) is lost. What the disk had completed is **not** lost, flushed or not, in any
        cache mode: QEMU gave it to the host's kernel, which lives on. So this finds wrong order
        between program steps, but not a missing flush: lost and torn writes need a simulated
        device or a replay of blklogwrites.

        Raises:
            LostVMError: the machine was gone before the cut.
        """
        if not self.running:
            raise LostVMError(f"power cut: {self._lost()}")
        self._kill("power cut")

    def reset(self) -> None:
        """Presses the reset button: RAM and devices start anew, disks and console stay.

        Returns when the machine runs again; output and answers from before are forgotten.
        """
        # Paused, so that what the guest said before the reset is separable from what follows.
        self.pause()
        self.console.settle()
        self.port.settle()
        self.updater.settle()
        self._execute("system_reset")
        self.wait_event("RESET", 10)
        self.console.transcript.note("reset by the lab")
        self.console.restart()
        self.port.restart()
        self.updater.restart()
        self.resume()

    def pause(self) -> None:
        """Stops the CPUs; the guest does not notice but for its clock."""
        self._execute("stop")

    def resume(self) -> None:
        """Lets the CPUs run (again)."""
        self._execute("cont")

    def quit(self) -> None:
        """Switches off in an orderly way for QEMU (not for the guest): files are closed."""
        with suppress(LostVMError):  # it may go before it answers, as it was told to
            self._execute("quit")
        if self._reap(END_SECONDS) is None:
            self._kill("quit: QEMU did not end")
            raise DeadlineError(f"QEMU did not end within {END_SECONDS:.0f} s of quit")
        self._kill("quit")

    def wait_off(self, timeout: Deadline | float, *, expecting: Collection[Bad] = ()) -> None:
        """Waits until the guest has switched itself off; the machine can be started again.

        Raises:
            DeadlineError: it did not.
            LostVMError: QEMU ended, but not because the guest switched off.
        """
        deadline = Deadline.of(timeout)
        monitor = self._need_monitor()
        # Not SHUTDOWN alone: a reset of the guest is the same event name with other data.
        while self._reap(min(0.1, deadline.remaining)) is None:
            self.console.check("waited for the machine to switch off", expecting)
            if deadline.expired:
                raise DeadlineError(
                    f"machine {self.name!r} did not switch off within {deadline.seconds:.1f} s;"
                    f" transcript: {self.console.transcript.path}"
                )
        reason = self._lost()
        self._kill("switched off by the guest")
        if not any(event.name == "SHUTDOWN" for event in monitor.events):
            raise LostVMError(f"waited for the machine to switch off: {reason}")

    # ---- QMP -------------------------------------------------------------------------------

    def _need_monitor(self) -> Monitor:
        if self._monitor is None:
            raise LostVMError(f"machine {self.name!r} is off")
        return self._monitor

    def _execute(self, command: str, arguments: dict[str, object] | None = None) -> object:
        result: object = self._need_monitor().execute(command, arguments)
        return result

    def qmp(self, command: str, **arguments: object) -> object:
        """Runs any QMP command; underscores in argument names become hyphens.

        Raises:
            MonitorError: QEMU refused it.
        """
        return self._execute(command, {key.replace("_", "-"): v for key, v in arguments.items()})

    @property
    def events(self) -> tuple[Event, ...]:
        """Every QMP event since the first power-on."""
        now = self._monitor.events if self._monitor is not None else []
        return (*self._past_events, *now)

    def wait_event(
        self,
        name: str,
        timeout: Deadline | float,
        *,
        expecting: Collection[Bad] = (),
        **data: object,
    ) -> Event:
        """Waits for a QMP event; one that came before the call counts, each only once.

        Args:
            name: for example "WATCHDOG", "RESET", "SHUTDOWN", "BLOCK_IO_ERROR".
            data: values that the event's payload must have: reason="guest-reset".

        Raises:
            DeadlineError, BadOutputError, LostVMError: see `Console.wait_for`.
        """
        what = f"waited for event {name}"
        event = self._need_monitor().wait_event(
            name, Deadline.of(timeout), lambda: self._check(what, expecting), **data
        )
        self.console.forgive(expecting)
        return event

    def unplug(self, drive: int, timeout: Deadline | float = 30.0) -> None:
        """Takes a drive out of the running machine, with the guest's consent (PCI hot-unplug).

        Raises:
            DeadlineError: the guest did not let it go.
        """
        device = device_id(drive)
        self._execute("device_del", {"id": device})
        self.wait_event("DEVICE_DELETED", timeout, device=device)

    def _lost(self) -> str:
        exit_code = None if self._process is None else self._process.poll()
        if self._process is None:
            return f"machine {self.name!r} is off"
        if exit_code is None:
            return f"machine {self.name!r} runs"
        return (
            f"QEMU of machine {self.name!r} ended with status {exit_code}; "
            f"output: {self._output().strip() or '(nothing)'}"
        )

    def _check(self, what: str, expecting: Collection[Bad]) -> None:
        self.console.check(what, expecting)
        if not self.running:
            raise LostVMError(self.console.report(f"{what}: {self._lost()}"))

    # ---- saved states ----------------------------------------------------------------------

    def save_state(
        self, directory: Path, timeout: Deadline | float = 60.0, *, resume: bool = False
    ) -> SavedState:
        """Saves memory, devices and disks; the machine is off afterwards.

        Args:
            directory: a folder of its own for the state; made here.
            resume: let the machine run on instead.

        Raises:
            LabError: faults are in place (they are not part of a state), or QEMU failed.
        """
        deadline = Deadline.of(timeout)
        if self.faults.active:
            raise LabError("a state cannot be saved while faults are in place: remove() them")
        directory.mkdir(parents=True, exist_ok=True)
        self.pause()
        self.console.settle()
        version = self._execute("query-version")
        state = SavedState(directory, self.machine, self.accel.name, json.dumps(version))
        self._execute("migrate", {"uri": write_uri(state.memory)})
        self._migrated(deadline, "saving the state")
        # After a migration QEMU has handed over its disks: everything is in the files.
        state = replace(state, machine=copy_disks(self.machine, directory))
        state.save()
        if resume:
            self.resume()
        else:
            self.quit()
        return state

    @classmethod
    def from_state(cls, state: SavedState, directory: Path, *, name: str = "vm") -> Self:
        """A machine that continues where `state` was saved; its start() does that.

        What it writes goes to overlays in `directory`, so one state serves many machines. A
        later power_cut() and start() is an ordinary boot from those disks.
        """
        accel = acceleration.Choice(state.accel, "the saved state was made with it")
        vm = cls(state.scratch_machine(directory, name), directory, name=name, accel=accel)
        vm._resume_from = state.memory
        return vm

    def _receive(self, memory: Path, deadline: Deadline, *, paused: bool) -> None:
        self._execute("migrate-incoming", {"uri": read_uri(memory)})
        self._migrated(deadline, "loading the state")
        if not paused:
            self.resume()

    def _migrated(self, deadline: Deadline, what: str) -> None:
        """Waits until a migration has ended well."""
        while True:
            event = self.wait_event("MIGRATION", deadline)
            if event.data["status"] == "completed":
                return
            if event.data["status"] == "failed":
                raise LabError(f"{what} failed; QEMU says: {self._output().strip() or 'nothing'}")
