"""Booted states in files: boot once, start many scenarios from there.

A state is a folder: memory and devices (QEMU's migration stream), a copy of each disk as it was
at that moment, and a description of the machine. It is only good for the same QEMU version and
acceleration, which the description names.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from qemu_lab import disk
from qemu_lab.errors import LabError
from qemu_lab.machine import Machine

_DESCRIPTION = "state.json"
_MEMORY = "memory.migration"


@dataclass(frozen=True)
class SavedState:
    """A machine's state in a folder.

    Attributes:
        directory: the folder.
        machine: the machine, its drives naming the copies in the folder. Do not start it as it
            is: the copies belong to the memory; `scratch_machine` makes overlays.
        accel: acceleration it ran with.
        qemu: version of QEMU that wrote it, as QMP tells it.
    """

    directory: Path
    machine: Machine
    accel: str
    qemu: str

    @property
    def memory(self) -> Path:
        """The file with memory and device state."""
        return self.directory / _MEMORY

    @classmethod
    def load(cls, directory: Path) -> SavedState:
        """The state that is kept in `directory`.

        Raises:
            LabError: there is none, or an incomplete one.
        """
        try:
            values = json.loads((directory / _DESCRIPTION).read_text())
            machine = Machine.from_json(values["machine"])
            return cls(directory, machine, values["accel"], values["qemu"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabError(f"no saved state in {directory}: {error!r}") from error

    def save(self) -> None:
        """Writes the description; the last step, so that an unfinished state is not a state."""
        text = json.dumps(
            {"machine": self.machine.to_json(), "accel": self.accel, "qemu": self.qemu}
        )
        fresh = self.directory / f"{_DESCRIPTION}.new"
        fresh.write_text(text)
        fresh.replace(self.directory / _DESCRIPTION)

    def scratch_machine(self, directory: Path, name: str) -> Machine:
        """The machine with overlays in `directory` on the saved disks: the state stays as it is.

        Args:
            name: begins the names of the overlays.
        """
        directory.mkdir(parents=True, exist_ok=True)
        drives = []
        for index, drive in enumerate(self.machine.drives):
            overlay = directory / f"{name}.disk{index}.qcow2"
            disk.create_overlay(drive.path, overlay)
            drives.append(replace(drive, path=overlay, format="qcow2", write_log=None))
        pstore = None
        if self.machine.pstore is not None:
            pstore = directory / f"{name}.pstore"
            disk.copy_sparse(self.machine.pstore, pstore)
        return replace(self.machine, drives=tuple(drives), pstore=pstore)


def copy_disks(machine: Machine, directory: Path) -> Machine:
    """Copies the disks of a machine that is stopped; returns it with the copies as drives."""
    drives = []
    for index, drive in enumerate(machine.drives):
        copy = directory / f"disk{index}.{drive.format}"
        disk.copy_sparse(drive.path, copy)
        drives.append(replace(drive, path=copy))
    pstore = machine.pstore
    if pstore is not None:
        disk.copy_sparse(pstore, directory / "pstore")
        pstore = directory / "pstore"
    return replace(machine, drives=tuple(drives), pstore=pstore)


def write_uri(path: Path) -> str:
    """Migration URI that writes to a file. QEMU 7.2 has no file: URI, so a shell does it."""
    return f"exec:cat > {shlex.quote(str(path))}"


def read_uri(path: Path) -> str:
    """Migration URI that reads from a file."""
    return f"exec:cat {shlex.quote(str(path))}"
