"""Start: from exec of Python to the decision, as a ratio to bare Python in the same run.

Natively and in a guest the same programs run under the initramfs's own Python with its own
files: natively in a user namespace whose root is the unpacked archive, in the guest from
the shell that ``bootsvc.shell`` opens before the updater.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from initramfs.build import BuildRequest, build
from initramfs.cpio import Archive
from initramfs.launcher import launcher_source
from initramfs.modules import KernelTree
from initramfs.python_runtime import DIST_PACKAGES, compile_text
from qemu_lab import Bad, Drive, Machine
from qemu_lab.bench.figures import Figure
from qemu_lab.images import products
from qemu_lab.images.tools import run
from qemu_lab.vm import VM

INSIDE = Path(__file__).with_name("inside")
PYTHON = Path("/usr/bin/python3")
GOAL_RATIO = 2.0
NATIVE_ROUNDS = 40
GUEST_ROUNDS = 12
BOOT_S = 120.0
_LINE = re.compile(r"bench: (\w+) cpu ([\d.]+) wall ([\d.]+)")

Clock = Literal["cpu", "wall"]


@dataclass(frozen=True)
class Sample:
    """One start of one program; seconds."""

    program: str
    cpu_s: float
    wall_s: float


def measure(scratch: Path, disk: Path) -> list[Figure]:
    """Both measurements.

    Args:
        scratch: folder for what is made on the way.
        disk: a lab disk with a confirmed image.
    """
    archive, extra = scratch / "updater.cpio", scratch / "bench.cpio"
    _build_updater(archive)
    _build_extra(extra)
    native = "Start, native (processor time)"
    # As the user in the namespace sees it, every file is root's: no right of root is needed.
    figures = ratio_figures(native, _native(scratch / "tree", (archive, extra), disk), "cpu")
    both = scratch / "both.cpio"
    both.write_bytes(archive.read_bytes() + extra.read_bytes())
    guest = "Start, guest (elapsed time in the guest)"
    return figures + ratio_figures(guest, _guest(scratch, both, disk), "wall")


def parse(lines: Iterable[str]) -> list[Sample]:
    """The samples that inside/driver.py printed."""
    found = (_LINE.search(line) for line in lines)
    return [Sample(hit[1], float(hit[2]), float(hit[3])) for hit in found if hit]


def ratio_figures(section: str, samples: list[Sample], clock: Clock) -> list[Figure]:
    """Minima: whatever else the machine does can only add."""

    def least_ms(program: str) -> float:
        of_program = [one for one in samples if one.program == program]
        return 1000 * min(one.cpu_s if clock == "cpu" else one.wall_s for one in of_program)

    bare, imports, decision = (least_ms(name) for name in ("bare", "imports", "decision"))
    rounds = f"least of {sum(one.program == 'bare' for one in samples)}"
    return [
        Figure(section, "bare Python with struct", bare, "ms", note=rounds),
        Figure(section, "all imports of the updater", imports, "ms", note=rounds),
        Figure(section, "exec to decision", decision, "ms", note=rounds),
        Figure(section, "exec to decision, ratio to bare", decision / bare, "x", GOAL_RATIO),
    ]


def _build_updater(out: Path) -> None:
    """The updater's initramfs as the lab uses it, but not compressed."""
    found = products.kernel("cloud")
    products.updater("cloud")  # the settings file comes with it
    build(
        BuildRequest(
            out,
            kernel=KernelTree.extracted(found.tree),
            profiles=products.PROFILES["cloud"],
            compression="none",
            config=products.SETTINGS_FILE,
            keys=(products.PUBLIC_KEY,),
        )
    )


def _build_extra(out: Path) -> None:
    """A second archive with the programs of ``inside``; the kernel unpacks one after the other."""
    sources = {
        "/bench/bare.pyc": (INSIDE / "bare.py").read_text(),
        "/bench/driver.pyc": (INSIDE / "driver.py").read_text(),
        # The launcher that init runs, with another module to import.
        "/bench/start.pyc": launcher_source("rehearsal"),
        f"{DIST_PACKAGES}/rehearsal.pyc": (INSIDE / "rehearsal.py").read_text(),
    }
    archive = Archive(0)
    for path, source in sources.items():
        archive.add_file(path, compile_text(source, path, PYTHON))
    with out.open("wb") as stream:
        archive.write(stream)


def _native(tree: Path, archives: Iterable[Path], disk: Path) -> list[Sample]:
    tree.mkdir(parents=True)
    for archive in archives:
        with archive.open("rb") as stream:
            # Device nodes need root, and nothing here opens one.
            unpack = ["cpio", "--quiet", "-idu", "--no-absolute-filenames", "-f", "dev/*"]
            subprocess.run(unpack, cwd=tree, stdin=stream, check=True)
    (tree / "disk.img").hardlink_to(disk)
    driver = ["/usr/bin/python3", "-I", "-S", "-B", "/bench/driver.pyc"]
    command = ["unshare", "-r", f"--root={tree}", *driver, str(NATIVE_ROUNDS), "/disk.img"]
    return parse(run(command).splitlines())


def _guest(scratch: Path, initrd: Path, disk: Path) -> list[Sample]:
    machine = Machine(
        drives=(Drive(disk),),
        kernel=products.kernel("cloud").vmlinuz,
        initrd=initrd,
        append=f"{products.CONSOLE} panic=10 quiet bootsvc.shell",
    )
    with VM(machine, scratch, name="start") as vm:
        vm.start()
        with vm.console.expecting(Bad.RESCUE_SHELL):
            vm.console.wait_for_text("a shell before the updater", BOOT_S)
            driver = "/usr/bin/python3 -I -S -B /bench/driver.pyc"
            vm.console.send(f"{driver} {GUEST_ROUNDS} /dev/vda\n")
            vm.console.wait_for_text("bench: end", BOOT_S)
        vm.power_cut()
        return parse(line.text for line in vm.console.transcript.lines)
