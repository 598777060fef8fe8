"""Which acceleration to use: KVM only after a guest has really run with it for a moment.

On some hosts /dev/kvm opens, QEMU starts, and the guest hardly executes: waiting for its console
then takes every deadline there is. So a probe guest is run first, a boot sector of our own
(guest/probe.S) that takes timer interrupts and then counts in 64-bit mode. What counts is its live
output: on one such host the interrupts came, and the loop ran a thousand times slower than under
emulation.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from qemu_lab.deadline import Deadline

OVERRIDE_VARIABLE = "BOOTSVC_LAB_ACCEL"
"""Environment variable: "tcg" or "kvm" instead of the probe, "probe" to ignore the cache."""

PROBE_SECONDS = 5.0
"""How long the probe guest may take. Emulation needs 0.4 s for all of it, on a slow host."""

TICKS_WANTED = 4
"""Timer interrupts that the probe guest takes before it goes to 64-bit mode."""

ROUNDS_WANTED = 20
"""Loops of two million rounds that it must then do: 50 ms under emulation, less under KVM."""

# guest/probe.S, assembled.
_PROBE_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfbb052e6e9b90400f4b02ee6e9e2f9fabf0010b9001831c0fcf3abc7"
    "0600100320c70600200330c7060030830066b8001000000f22d866b8200000000f22e066b9800000"
    "c00f32660d000100000f300f0116987c66b8010000800f22c0ea6e7c0800b04ce6e9b980841e0048"
    "6bc00348ffc0ffc975f5b02be6e9ebea000000000000000000000000009a20000f00887c0000"
)


def probe_boot_sector() -> bytes:
    """The probe guest: 512 bytes with the BIOS's boot signature."""
    return _PROBE_CODE.ljust(510, b"\0") + b"\x55\xaa"


@dataclass(frozen=True)
class Outcome:
    """What happened when the probe guest was started.

    Attributes:
        available: /dev/kvm exists and may be opened.
        output: what the probe guest wrote.
        seconds: how long it was watched.
        exit_code: QEMU's, when it ended by itself.
        message: what QEMU said.
    """

    available: bool
    output: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True)
class Choice:
    """What to use.

    Attributes:
        name: "kvm" or "tcg".
        reason: why, in words.
    """

    name: str
    reason: str


def decide(outcome: Outcome, override: str = "") -> Choice:
    """The choice that follows from a probe's outcome. Pure.

    Raises:
        ValueError: `override` is not one of "", "probe", "kvm", "tcg".
    """
    if override in ("kvm", "tcg"):
        return Choice(override, f"{OVERRIDE_VARIABLE} says so")
    if override not in ("", "probe"):
        raise ValueError(f"{OVERRIDE_VARIABLE}={override!r}: give kvm, tcg or probe")
    if not outcome.available:
        return Choice("tcg", "/dev/kvm cannot be opened here")
    ticks, rounds = outcome.output.count("."), outcome.output.count("+")
    if outcome.exit_code is not None:
        return Choice(
            "tcg",
            f"QEMU with KVM ended with status {outcome.exit_code}: {outcome.message.strip()}",
        )
    if "R" not in outcome.output:
        return Choice("tcg", f"a guest under KVM did not run within {outcome.seconds:.1f} s")
    if ticks < TICKS_WANTED:
        return Choice("tcg", f"a guest under KVM stopped after {ticks} timer ticks")
    if rounds < ROUNDS_WANTED:
        return Choice(
            "tcg",
            f"a guest under KVM did {rounds} of {ROUNDS_WANTED} rounds of 64-bit work"
            f" within {outcome.seconds:.1f} s (emulation: all of them in a tenth of a second)",
        )
    return Choice("kvm", f"a guest under KVM did its work in {outcome.seconds:.1f} s")


def run_probe(accel: str = "kvm", seconds: float = PROBE_SECONDS) -> Outcome:
    """Runs the probe guest and watches it until it has done enough or the time is over."""
    if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Outcome(available=False)
    deadline = Deadline.after(seconds)
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".probe") as disk:
        disk.write(probe_boot_sector())
        disk.flush()
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults"]
        command += ["-no-user-config", "-display", "none", "-accel", accel, "-m", "16"]
        command += ["-drive", f"file={disk.name},format=raw,if=ide,readonly=off,snapshot=on"]
        # The debug console is one port: output needs no device set-up by the guest. Its text
        # gets to us through standard output; QEMU's own words come by standard error.
        command += ["-chardev", "stdio,id=out,signal=off"]
        command += ["-device", "isa-debugcon,iobase=0xe9,chardev=out"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        output = b""
        try:
            while output.count(b"+") < ROUNDS_WANTED and not deadline.expired:
                if not select.select([process.stdout], [], [], deadline.remaining)[0]:
                    break
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    break
                output += piece
            elapsed = time.monotonic() - began
            # An end of the output is QEMU ending; it may be a moment before it can be waited for.
            done = deadline.expired or output.count(b"+") >= ROUNDS_WANTED
            ended = None if done else process.wait(2)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            process.kill()
        message = process.stderr.read().decode(errors="replace")
        process.wait()
        process.stdout.close()
        process.stderr.close()
    return Outcome(True, output.decode("latin-1"), elapsed, ended, message)


def _cache_file(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "qemu-lab" / "accel.json"


def _host_identity() -> str:
    """Changes when a cached choice no longer counts: another boot, another QEMU."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for folder in os.get_exec_path():
        qemu = Path(folder) / "qemu-system-x86_64"
        if qemu.exists():
            return f"{boot} {qemu} {qemu.stat().st_mtime_ns}"
    return boot


def choose(
    environment: Mapping[str, str] | None = None,
    probe: Callable[[], Outcome] = run_probe,
    cache: Path | None = None,
) -> Choice:
    """The acceleration for this host: by the override, the cache, or a probe (cached per boot).

    Args:
        environment: default: the process's own.
        probe: runs the probe guest; tests give their own.
        cache: the cache file; default: in XDG_CACHE_HOME.
    """
    environment = os.environ if environment is None else environment
    override = environment.get(OVERRIDE_VARIABLE, "")
    if override not in ("", "probe"):
        return decide(Outcome(available=False), override)
    cache = cache or _cache_file(environment)
    identity = _host_identity()
    if not override:
        try:
            stored = json.loads(cache.read_text())
            if stored["host"] == identity:
                return Choice(**stored["choice"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no cache, or one that another version wrote: probe
    choice = decide(probe(), override)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        fresh = cache.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"host": identity, "choice": asdict(choice)}))
        fresh.replace(cache)
    except OSError:
        pass  # a cache that cannot be written costs a probe next time, nothing else
    return choice
