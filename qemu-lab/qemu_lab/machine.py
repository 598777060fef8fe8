"""What a machine is made of, and the QEMU command line for it. Pure: nothing is started here."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

PORT_NAME = "org.bootsvc.lab"
"""Name of the virtio-serial port; guest/responder.sh finds it by this name."""

UPDATER_PORT_NAME = "org.bootsvc.console"
"""Name of the virtio-serial port on which the updater's console speaks JSON."""

OVMF = Path("/usr/share/ovmf/OVMF.fd")
"""UEFI firmware (Debian package ovmf), for `Machine.firmware`. What the guest sets in its variables
is forgotten at power-off; it starts /EFI/BOOT/BOOTX64.EFI of the first disk that has one."""

PSTORE_BYTES = 64 * 1024
"""Size of the ACPI ERST store that backs pstore under BIOS."""


@dataclass(frozen=True)
class Drive:
    """One disk of a machine.

    Attributes:
        path: the disk file; what the guest writes goes there.
        format: "raw", or "qcow2" (for example an overlay, see `disk.create_overlay`).
        bus: the controller the guest sees. Debian's cloud kernel has "nvme" built in and
            "virtio" as modules; "ide" and "sata" exist for firmware without either.
        sector_bytes: logical sector size; 4096 makes a disk that refuses 512-byte direct writes.
        read_only: the guest's writes fail.
        serial: what /dev/disk/by-id shows; "" for "lab<index>".
        write_log: file to which QEMU appends every write and flush that reaches the disk, in
            their order, for `write_log.WriteLog`; only a raw disk can be recorded.
    """

    path: Path
    format: Literal["raw", "qcow2"] = "raw"
    bus: Literal["virtio", "nvme", "ide", "sata"] = "virtio"
    sector_bytes: Literal[512, 4096] = 512
    read_only: bool = False
    serial: str = ""
    write_log: Path | None = None


@dataclass(frozen=True)
class Machine:
    """A machine, complete: two equal ones behave alike.

    Attributes:
        drives: disks in order; firmware boots from the first one.
        memory_mib: RAM.
        cpu: CPU model. qemu64 is the default because under emulation the richer models are
            slower: SHA-256 runs at 68 MB/s on it and at 12 MB/s on "max" (figures of one run).
        smp: number of CPUs.
        machine_type: QEMU board; "pc" starts about twice as fast as "q35" under emulation.
        watchdog: hardware watchdog, or none. Debian's cloud kernel has no driver for it.
        watchdog_action: what it does when it fires.
        kernel, initrd, append: direct boot by QEMU instead of from disk.
        firmware: another firmware than SeaBIOS, for example `OVMF`.
        firmware_on_serial: SeaBIOS and boot loader messages go to the console, too.
        pstore: backing file of an ACPI ERST store, in which Linux keeps panics across a reset.
        rng: entropy for the guest; without it and without RDRAND (qemu64) Python's start fails.
        network: user-mode network with DHCP (the guest reaches out; nobody reaches in).
        updater_port: the lab is connected to the updater's console (`updater_port`). A start then
            takes 0.3 s longer, in which the updater looks for what the lab has sent.
        screen: a VGA card and a keyboard, for `screen.Screen`; "ps2" and "usb" name the keyboard
            that is plugged in. The kernel writes there if one of its consoles is tty0.
        extra: further QEMU options, as given.
    """

    drives: tuple[Drive, ...] = ()
    memory_mib: int = 256
    cpu: str = "qemu64"
    smp: int = 1
    machine_type: str = "pc"
    watchdog: Literal["i6300esb"] | None = None
    watchdog_action: Literal["reset", "poweroff", "pause", "none"] = "reset"
    kernel: Path | None = None
    initrd: Path | None = None
    append: str = ""
    firmware: Path | None = None
    firmware_on_serial: bool = True
    pstore: Path | None = None
    rng: bool = True
    network: bool = False
    updater_port: bool = False
    screen: Literal["ps2", "usb"] | None = None
    extra: tuple[str, ...] = ()

    def to_json(self) -> str:
        """This machine as JSON text, for `from_json`."""
        return json.dumps(asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Machine:
        """The machine that `to_json` wrote.

        Raises:
            TypeError: the text names an attribute that this version does not know.
        """
        values: dict[str, Any] = json.loads(text)
        drives = tuple(Drive(**_with_paths(drive)) for drive in values.pop("drives"))
        values["extra"] = tuple(values["extra"])
        return cls(drives=drives, **_with_paths(values))


def _with_paths(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` of JSON, with what names a file as a path again."""
    files = ("path", "write_log", "kernel", "initrd", "firmware", "pstore")
    return {
        name: Path(value) if name in files and value is not None else value
        for name, value in values.items()
    }


@dataclass(frozen=True)
class Wiring:
    """How one QEMU process is connected to the lab.

    Attributes:
        qmp_fd, serial_fd, port_fd: QEMU's ends of connected sockets. Sockets instead of paths:
            nothing to wait for, no length limit, nothing left behind in the file system.
        updater_fd: likewise, for a machine with an updater's port.
        paused: wait for QMP `cont` before the first instruction.
        incoming: expect the state of another QEMU by QMP `migrate-incoming`.
    """

    qmp_fd: int
    serial_fd: int
    port_fd: int
    updater_fd: int | None = None
    paused: bool = False
    incoming: bool = False


def top_node(index: int) -> str:
    """Name of the block node that the device of drive `index` uses."""
    return f"disk{index}"


def format_node(index: int) -> str:
    """Name of the node that interprets the disk file of drive `index`."""
    return f"disk{index}-format"


def device_id(index: int) -> str:
    """Id of the guest device of drive `index`."""
    return f"disk{index}-device"


def file_node_options(index: int, drive: Drive) -> dict[str, object]:
    """The block graph of a drive, as for blockdev-add: top -> format -> file.

    The raw node on top does nothing but can be reopened with another child while the guest
    runs: that is how faults are put between the guest and its disk (see `faults`).

    Raises:
        ValueError: a write log is asked for and the disk is not raw: the log would hold QEMU's
            own tables.
    """
    file: dict[str, object] = {
        "driver": "file",
        "node-name": f"disk{index}-file",
        "filename": str(drive.path),
        "read-only": drive.read_only,
        "discard": "unmap",
    }
    if drive.write_log is not None:
        if drive.format != "raw":
            raise ValueError(f"{drive.path}: only a raw disk can be recorded, not {drive.format}")
        file = _recorded(index, file, drive.write_log)
    return {
        "driver": "raw",
        "node-name": top_node(index),
        "read-only": drive.read_only,
        # Discards reach the file: scratch disks stay sparse.
        "discard": "unmap",
        "file": {
            "driver": drive.format,
            "node-name": format_node(index),
            "read-only": drive.read_only,
            "discard": "unmap",
            "file": file,
        },
    }


def _recorded(index: int, file: dict[str, object], log: Path) -> dict[str, object]:
    """A node that keeps a log of what reaches ``file``; below all faults."""
    return {
        "driver": "blklogwrites",
        "node-name": f"disk{index}-recorder",
        "file": file,
        "log": {"driver": "file", "node-name": f"disk{index}-log", "filename": str(log)},
        # The log goes on over power cuts; its superblock tells the whole length at any time.
        "log-append": True,
        "log-super-update-interval": 1,
    }


def _drive_options(index: int, drive: Drive, *, bootable: bool) -> list[str]:
    driver = {"virtio": "virtio-blk-pci", "nvme": "nvme", "ide": "ide-hd", "sata": "ide-hd"}
    device: dict[str, object] = {
        "driver": driver[drive.bus],
        "id": device_id(index),
        "drive": top_node(index),
        "serial": drive.serial or f"lab{index}",
        "logical_block_size": drive.sector_bytes,
        "physical_block_size": drive.sector_bytes,
    }
    if bootable:
        # The firmware tries the disks in order; without it the order is that of the PCI slots.
        device["bootindex"] = index
    if drive.bus != "nvme":
        # The guest gets the error. The default (enospc) stops the machine instead on ENOSPC.
        device["werror"] = "report"
        device["rerror"] = "report"
    if drive.bus == "sata":
        device["bus"] = f"ahci.{index}"
    # JSON, since a comma in a path would end a value in the classic syntax.
    return [
        "-blockdev",
        json.dumps(file_node_options(index, drive)),
        "-device",
        json.dumps(device),
    ]


def _boot_options(machine: Machine) -> list[str]:
    options: list[str] = []
    if machine.firmware is not None:
        options += ["-bios", str(machine.firmware)]  # another firmware than SeaBIOS
    if machine.kernel is not None:
        options += ["-kernel", str(machine.kernel)]  # no boot loader: seconds saved
        if machine.initrd is not None:
            options += ["-initrd", str(machine.initrd)]
        if machine.append:
            options += ["-append", machine.append]
    return options


def _device_options(machine: Machine) -> list[str]:
    options: list[str] = []
    if machine.watchdog is not None:
        options += ["-device", f"{machine.watchdog},id=watchdog"]
        # A real board resets; QEMU's default also is reset, but the scenario may say otherwise.
        options += ["-action", f"watchdog={machine.watchdog_action}"]
    if machine.pstore is not None:
        # ACPI ERST is the one pstore back end that works under BIOS. share=on: the file gets
        # what the guest stores, so it survives a power cut like the flash chip it stands for.
        store = {
            "qom-type": "memory-backend-file",
            "id": "erst",
            "size": PSTORE_BYTES,
            "mem-path": str(machine.pstore),
            "share": True,
        }
        options += ["-object", json.dumps(store), "-device", "acpi-erst,memdev=erst"]
    if machine.rng:
        options += ["-object", "rng-random,id=rng,filename=/dev/urandom"]
        options += ["-device", "virtio-rng-pci,rng=rng"]
    if machine.network:
        options += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"]
    if machine.screen is not None:
        options += ["-device", "VGA"]
    if machine.screen == "usb":
        options += ["-device", "qemu-xhci,id=xhci", "-device", "usb-kbd,bus=xhci.0"]
    if any(drive.bus == "sata" for drive in machine.drives):
        options += ["-device", "ahci,id=ahci"]
    return options


def compose(machine: Machine, wiring: Wiring, *, accel: str, name: str = "lab") -> list[str]:
    """The QEMU command line for `machine`, connected as `wiring` says.

    Args:
        accel: "kvm" or "tcg", from `accel.choose`.
        name: shown in the process list.
    """
    command = _board_options(machine, accel, name)
    # Nobody looks at a window; a screen that the machine has can be read all the same.
    command += ["-display", "none"]
    # QMP: control. The chardevs use file descriptors that were connected before QEMU started.
    command += ["-chardev", f"socket,id=qmp,fd={wiring.qmp_fd}"]
    command += ["-mon", "chardev=qmp,mode=control"]
    # The serial console: ttyS0.
    command += ["-chardev", f"socket,id=console,fd={wiring.serial_fd}"]
    command += ["-serial", "chardev:console"]
    # The virtio-serial port for results: apart from the console, so that a kernel message in
    # the middle of an answer cannot break it.
    command += ["-chardev", f"socket,id=port,fd={wiring.port_fd}"]
    command += ["-device", "virtio-serial-pci,id=virtio-serial"]
    command += ["-device", f"virtserialport,bus=virtio-serial.0,chardev=port,name={PORT_NAME}"]
    if wiring.updater_fd is not None:
        command += ["-chardev", f"socket,id=updater,fd={wiring.updater_fd}"]
        port = f"virtserialport,bus=virtio-serial.0,chardev=updater,name={UPDATER_PORT_NAME}"
        command += ["-device", port]
    command += _equipment_options(machine)
    if wiring.paused:
        command += ["-S"]  # faults can be set before the first instruction
    if wiring.incoming:
        # "defer": capabilities are set by QMP before the state is read.
        command += ["-incoming", "defer"]
    # Neither -no-reboot (resets are what is being tested) nor -no-shutdown (a guest that powers
    # off ends the process, which is what a machine without power looks like).
    return command + list(machine.extra)


def compose_interactive(machine: Machine, *, accel: str) -> list[str]:
    """The QEMU command line for `machine` with its serial console in the terminal."""
    command = _board_options(machine, accel, "lab-run")
    # The terminal is the console and, behind Ctrl-A c, QEMU's monitor; no window is opened.
    command += ["-display", "none", "-serial", "mon:stdio"]
    return command + _equipment_options(machine) + list(machine.extra)


def _board_options(machine: Machine, accel: str, name: str) -> list[str]:
    # SeaBIOS writes to the first serial port only on a board that says it has no graphics.
    graphics = ",graphics=off" if machine.firmware_on_serial else ""
    command = ["qemu-system-x86_64"]
    # The name tells the processes of several scenarios apart in `ps`.
    command += ["-name", f"{name},debug-threads=on"]
    # No devices and no settings but those named here: the same machine on every host.
    command += ["-nodefaults", "-no-user-config"]
    # Every board has a PS/2 keyboard, but for one that is to be used with another.
    ps2 = ",i8042=off" if machine.screen == "usb" else ""
    command += ["-machine", f"{machine.machine_type}{graphics}{ps2}"]
    # Never "kvm:tcg": it takes a KVM that opens but does not run (see accel.py).
    command += ["-accel", accel]
    command += ["-cpu", machine.cpu]
    command += ["-smp", str(machine.smp)]
    command += ["-m", f"{machine.memory_mib}M"]
    # The guest's clock starts at the host's in UTC, and runs with it.
    return [*command, "-rtc", "base=utc"]


def _equipment_options(machine: Machine) -> list[str]:
    options = _device_options(machine)
    for index, drive in enumerate(machine.drives):
        # (Direct boot takes the first place of the boot order for itself.)
        options += _drive_options(index, drive, bootable=machine.kernel is None)
    return options + _boot_options(machine)


def describe(machine: Machine) -> str:
    """One line for a transcript: what the machine has."""
    parts = [f"{machine.memory_mib} MiB", f"{machine.smp} x {machine.cpu}", machine.machine_type]
    parts += [f"{drive.bus} {drive.path.name}" for drive in machine.drives]
    if machine.watchdog:
        parts.append(machine.watchdog)
    if machine.kernel:
        parts.append(f"kernel {machine.kernel.name} {shlex.quote(machine.append)}")
    return ", ".join(parts)
