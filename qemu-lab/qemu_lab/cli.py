"""`python -m qemu_lab`: a disk in a terminal, and what the lab thinks of this host."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qemu_lab import accel, disk
from qemu_lab.errors import LabError
from qemu_lab.machine import OVMF, Drive, Machine, compose_interactive

_DESCRIPTION = """\
Boot chains in QEMU, for people who test them.

  python -m qemu_lab run DISK.img       boot a disk; its serial console is this terminal
  python -m qemu_lab accel              which acceleration is used on this host, and why

Scenarios are written in Python: see qemu-lab/README.md.
"""

_RUN = """\
Boots DISK.img (raw or qcow2) by its own boot loader. The serial console is this terminal:

  Ctrl-A x   end the machine (a power cut)      Ctrl-A c   QEMU's monitor and back
  Ctrl-A h   all keys                           system_reset (in the monitor): reset button

What the guest writes stays in the file, unless --scratch is given.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qemu_lab",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="boot a disk, with its serial console in this terminal",
        description=_RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("disk", type=Path, metavar="DISK.img", help="disk file, raw or qcow2")
    run.add_argument("--memory", type=int, default=256, metavar="MIB", help="RAM (default 256)")
    run.add_argument("--cpu", default="qemu64", help="CPU model (default qemu64: fast emulated)")
    run.add_argument("--smp", type=int, default=1, metavar="N", help="CPUs (default 1)")
    run.add_argument(
        "--bus",
        default="virtio",
        choices=("virtio", "nvme", "ide", "sata"),
        help="disk controller (default virtio)",
    )
    run.add_argument("--uefi", action="store_true", help="start by UEFI (OVMF) instead of a BIOS")
    run.add_argument(
        "--watchdog", action="store_true", help="add an i6300esb watchdog that resets the machine"
    )
    run.add_argument("--pstore", type=Path, metavar="FILE", help="keep kernel panics in FILE")
    run.add_argument("--network", action="store_true", help="user-mode network with DHCP")
    run.add_argument("--scratch", action="store_true", help="throw away what the guest writes")
    run.add_argument("--show", action="store_true", help="print the QEMU command, start nothing")
    run.set_defaults(work=_run)
    probe = commands.add_parser(
        "accel",
        help="show which acceleration is used, and why",
        description="Shows which acceleration the lab uses on this host, and why. KVM is trusted "
        "only after a guest has run with it. The choice is kept until the next boot of the host; "
        f"{accel.OVERRIDE_VARIABLE}=kvm or =tcg overrides it.",
    )
    probe.add_argument("--probe", action="store_true", help="probe again, ignore the kept choice")
    probe.set_defaults(work=_accel)
    return parser


def _accel(arguments: argparse.Namespace) -> int:
    environment = dict(os.environ)
    if arguments.probe:
        environment[accel.OVERRIDE_VARIABLE] = "probe"
    choice = accel.choose(environment)
    print(f"{choice.name}: {choice.reason}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.disk.exists():
        raise LabError(f"{arguments.disk}: no such disk file (`bootsvc disk create` makes one)")
    with tempfile.TemporaryDirectory(prefix="lab-run-") as folder:
        drive = Drive(arguments.disk, format=disk.format_of(arguments.disk), bus=arguments.bus)
        if arguments.scratch:
            overlay = disk.create_overlay(arguments.disk, Path(folder) / "scratch.qcow2")
            drive = Drive(overlay.path, format="qcow2", bus=arguments.bus)
        machine = Machine(
            drives=(drive,),
            memory_mib=arguments.memory,
            cpu=arguments.cpu,
            smp=arguments.smp,
            firmware=OVMF if arguments.uefi else None,
            watchdog="i6300esb" if arguments.watchdog else None,
            pstore=arguments.pstore,
            network=arguments.network,
        )
        command = compose_interactive(machine, accel=accel.choose().name)
        if arguments.show:
            print(shlex.join(command))
            return 0
        if machine.pstore is not None:
            disk.prepare_pstore(machine.pstore)
        print(f"starting {arguments.disk}; Ctrl-A x ends the machine", flush=True)
        return subprocess.run(command, check=False).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 well, 1 lab error, 2 wrong usage."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.work(parsed)
    except (LabError, OSError, ValueError) as error:
        print(f"qemu_lab: {error}", file=sys.stderr)
        return 1
    return status
