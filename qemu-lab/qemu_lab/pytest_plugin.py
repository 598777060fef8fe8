"""Fixtures of pytest for scenarios.

In a conftest.py:

    from qemu_lab.pytest_plugin import lab, pytest_runtest_makereport

    __all__ = ["lab", "pytest_runtest_makereport"]

A scenario then says `machine = lab.vm(Machine(...))`; the fixture switches machines off, keeps
their transcripts, keeps everything else only when the scenario failed, and adds the last console
lines to pytest's report.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from qemu_lab.machine import Machine
from qemu_lab.state import SavedState
from qemu_lab.vm import VM

_FAILED = pytest.StashKey[bool]()
_LAB = pytest.StashKey["Lab"]()


class Lab:
    """Machines and scratch files of one scenario.

    Attributes:
        directory: scratch folder of this scenario, empty at its start; the transcripts
            (`*.console.txt`) stay there, the rest only after a failure.
        machines: every machine that was made, in order.
    """

    def __init__(self, directory: Path) -> None:
        """Empties `directory`, or makes it."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.directory = directory
        self.machines: list[VM] = []

    def vm(self, machine: Machine, name: str = "") -> VM:
        """A machine that is switched off, to be switched off again at the end."""
        return self._keep(VM(machine, self.directory, name=name or self._next_name()))

    def vm_from_state(self, state: SavedState, name: str = "") -> VM:
        """A machine that will continue from a saved state (see `VM.from_state`)."""
        return self._keep(VM.from_state(state, self.directory, name=name or self._next_name()))

    def close(self, *, keep: bool) -> None:
        """Switches all machines off.

        Args:
            keep: keep all files, not only the transcripts.
        """
        for machine in self.machines:
            machine.close()
        if keep:
            return
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.endswith(".console.txt"):
                path.unlink()

    def _next_name(self) -> str:
        return f"vm{len(self.machines) + 1}"

    def _keep(self, vm: VM) -> VM:
        self.machines.append(vm)
        return vm


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab of one scenario, its files in build/tests/<scenario>."""
    name = re.sub(r"[^\w.-]+", "_", request.node.nodeid.rpartition("/")[2])
    result = Lab(request.config.rootpath / "build" / "tests" / name)
    request.node.stash[_LAB] = result
    yield result
    result.close(keep=request.node.stash.get(_FAILED, False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the consoles to the report of a failed scenario."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        found = item.stash.get(_LAB, None)
        for machine in found.machines if found is not None else []:
            transcript = machine.console.transcript.path
            report.sections.append(
                (f"console of {machine.name}: {transcript}", machine.console.tail())
            )
    return report
