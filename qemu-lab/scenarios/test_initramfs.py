"""The updater's initramfs in a machine: Python with exactly its files, and life without Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bootsvc.disk.partition import DiskLayout, plan, write_table
from bootsvc.formats.boot_status import (
    Area,
    AreaRecord,
    AreaState,
    BootStatus,
    Phase,
    StatusCode,
)
from bootsvc.formats.boot_status import build as build_record
from initramfs.build import BuildRequest, build
from initramfs.closure import libraries_of, with_links
from initramfs.modules import KernelTree
from qemu_lab import Bad, Drive, Machine, Stage, disk
from qemu_lab.images import kernels
from qemu_lab.pytest_plugin import Lab

pytestmark = pytest.mark.vm

MIB = 1024 * 1024
BOOT = 90
"""Seconds within which everything here has happened (it takes 4 to 8 under emulation)."""

SECOND_COPY = 2 * MIB

# An updater that only proves its surroundings: every module that it may need later is imported,
# a hash and a signature are computed, and nothing came from anywhere but the initramfs.
PROOF = """
import sys

LAZY_IMPORTS = ("construct", "crcmod", "nacl.bindings", "hashlib", "json", "tomllib", "ctypes")
STOPS = "/sys/module/watchdog/parameters/stop_on_reboot"


def main():
    from importlib import import_module
    for name in LAZY_IMPORTS:
        import_module(name)
    import crcmod, ctypes, hashlib, nacl.bindings as sodium
    assert "crcmod._crcfunext" in sys.modules  # the C code, not its stand-in in Python
    assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf")
    assert crcmod.mkCrcFun(0x104C11DB7, initCrc=0, xorOut=0xFFFFFFFF)(b"123456789") == 0xCBF43926
    public, secret = sodium.crypto_sign_seed_keypair(bytes(32))
    assert sodium.crypto_sign_open(sodium.crypto_sign(b"m", secret), public) == b"m"
    assert ctypes.CDLL(None).getpid() > 1
    files = [m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)]
    assert all(f.startswith(("/usr/lib/python3", "/usr/lib/bootsvc/")) for f in files), files
    assert not any(f.endswith(".py") and open_fails(f) is None for f in files), files
    stops = open_fails(STOPS) is None and open(STOPS).read().strip()
    print("proof: kexec stops a watchdog: %s" % {"0": "no"}.get(stops, "yes, or there is none"))
    print("proof: python runs, %d modules" % len(sys.modules))
    return 3


def open_fails(path):
    try:
        open(path).close()
    except OSError as exc:
        return exc
    return None
"""

IMAGE_INIT = """#!/bin/sh
. /run/bootsvc/handover.env
echo "image: version $(cat /version) from $BOOTSVC_AREA"
echo "image: transaction '$BOOTSVC_TRANSACTION'"
cat /run/bootsvc/alarms
touch /written && echo "image: the overlay takes writes"
grep -q '^[^ ]* /proc ' /proc/mounts && echo "image: /proc came along"
echo "image: done"
while :; do sleep 60; done
"""


@pytest.fixture(scope="module")
def cloud() -> KernelTree:
    return KernelTree.extracted(kernels.fetch("cloud").tree)


@pytest.fixture(scope="module")
def initramfs(cloud: KernelTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _initramfs(tmp_path_factory.mktemp("initramfs"), cloud, "virtio-nvme")


def _initramfs(folder: Path, kernel: KernelTree, profile: str) -> Path:
    package = folder / "project/bootsvc"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "proof.py").write_text(PROOF)
    request = BuildRequest(
        output=folder / "initramfs.cpio",
        kernel=kernel,
        profiles=(profile,),
        entry="bootsvc.proof",
        project=folder / "project",
        compression="none",
    )
    return build(request).output


def _machine(kernel: KernelTree, initrd: Path, *drives: Drive, options: str = "") -> Machine:
    return Machine(
        drives=drives,
        kernel=kernel.vmlinuz,
        initrd=initrd,
        append=f"console=ttyS0 panic=10 bootsvc.disk_wait_s=2 {options}",
    )


def _tiny_image(folder: Path, version: str) -> Path:
    """A squashfs with busybox and an init that says who it is."""
    root = folder / f"root-{version}"
    for name in ("bin", "sbin", "usr/sbin", "proc", "sys", "dev", "run"):
        (root / name).mkdir(parents=True)
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    for library in with_links(libraries_of([busybox])):
        place = root / str(library).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place, follow_symlinks=False)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in ("sh", "cat", "touch", "sleep", "grep"):
        (root / "bin" / applet).symlink_to("busybox")
    # As in Debian, init is a link with an absolute target, which must not lead out of the image.
    (root / "usr/sbin/real-init").write_text(IMAGE_INIT)
    (root / "usr/sbin/real-init").chmod(0o755)
    (root / "sbin/init").symlink_to("/usr/sbin/real-init")
    (root / "version").write_text(version)
    image = folder / f"image-{version}.squashfs"
    command = ["mksquashfs", str(root), str(image), "-all-root", "-noappend", "-quiet"]
    subprocess.run(command, check=True, capture_output=True)
    return image


def _disk_with(folder: Path, record: bytes) -> tuple[Drive, DiskLayout]:
    """A disk with version 1 in primary, version 2 in backup, and one record in both copies."""
    layout = plan(area_size=8 * MIB)
    path = folder / "machine.img"
    with path.open("wb") as stream:
        stream.truncate(layout.size)
    write_table(path, layout)
    for role, version in (("primary", "1"), ("backup", "2")):
        image = _tiny_image(folder, version)
        disk.write_range(path, layout[role].offset, image.read_bytes())
    for copy in (0, SECOND_COPY):
        disk.write_range(path, layout["status"].offset + copy, record)
    return Drive(path), layout


def _record(area: Area, code: StatusCode, phase: Phase) -> bytes:
    return build_record(
        BootStatus(
            status_code=code,
            phase=phase,
            boot_area=area,
            sequence=5,
            tries_left=1,
            primary=AreaRecord(state=AreaState.VALID),
            backup=AreaRecord(state=AreaState.VALID),
        )
    )


def test_python_runs_with_exactly_the_files_that_were_collected(
    lab: Lab, cloud: KernelTree, initramfs: Path
) -> None:
    vm = lab.vm(_machine(cloud, initramfs))
    vm.start()
    vm.console.wait_for_text("bootsvc: init started", BOOT)
    vm.console.wait_for_text("proof: python runs", BOOT)
    # Exit code 3 means that there is nothing to start: a shell, and no panic.
    vm.console.wait_for_bad(Bad.RESCUE_SHELL, BOOT)


def test_a_rescue_shell_that_is_left_comes_back(
    lab: Lab, cloud: KernelTree, initramfs: Path
) -> None:
    vm = lab.vm(_machine(cloud, initramfs))
    vm.start()
    vm.console.wait_for_bad(Bad.RESCUE_SHELL, BOOT)
    with vm.console.expecting(Bad.RESCUE_SHELL):
        vm.console.send("echo still $((40 + 2))\n")
        vm.console.wait_for_text("still 42", BOOT)
        vm.console.send("exit\n")
        vm.console.wait_for_text("rescue shell was left", BOOT)
        vm.console.send("echo again $((40 + 3))\n")
        vm.console.wait_for_text("again 43", BOOT)


def test_a_shell_before_the_updater_can_be_asked_for(
    lab: Lab, cloud: KernelTree, initramfs: Path
) -> None:
    vm = lab.vm(_machine(cloud, initramfs, options="bootsvc.shell"))
    vm.start()
    with vm.console.expecting(Bad.RESCUE_SHELL):
        vm.console.wait_for_text("a shell before the updater", BOOT)
        vm.console.send("echo inside $((40 + 2))\n")
        vm.console.wait_for_text("inside 42", BOOT)
        vm.console.send("exit\n")
        vm.console.wait_for_text("proof: python runs", BOOT)


def test_without_python_the_image_that_the_record_names_is_started(
    lab: Lab, cloud: KernelTree, initramfs: Path
) -> None:
    drive, _ = _disk_with(lab.directory, _record(Area.PRIMARY, StatusCode.WORKING, Phase.IDLE))
    vm = lab.vm(_machine(cloud, initramfs, drive, options="bootsvc.break=python"))
    vm.start()
    vm.console.wait_for(Stage.FALLBACK, BOOT)
    vm.console.wait_for_text("PYTHON DIED: /usr/bin/python3 could not be started", BOOT)
    vm.console.wait_for_text("image: version 1 from primary", BOOT)
    # Without a transaction this start can never confirm anything.
    vm.console.wait_for_text("image: transaction ''", BOOT)
    vm.console.wait_for_text("the updater's Python died", BOOT)
    vm.console.wait_for_text("image: the overlay takes writes", BOOT)
    vm.console.wait_for_text("image: /proc came along", BOOT)


def test_without_python_one_good_copy_of_the_record_is_enough(
    lab: Lab, cloud: KernelTree, initramfs: Path
) -> None:
    drive, layout = _disk_with(lab.directory, _record(Area.BACKUP, StatusCode.BACKUP, Phase.COPY))
    damaged = bytearray(_record(Area.PRIMARY, StatusCode.WORKING, Phase.IDLE))
    damaged[16] = 200  # a higher sequence, but its CRC does not fit
    disk.write_range(drive.path, layout["status"].offset, bytes(damaged))
    vm = lab.vm(_machine(cloud, initramfs, drive, options="bootsvc.break=python"))
    vm.start()
    vm.console.wait_for_text("image: version 2 from backup", BOOT)


def test_without_python_and_without_a_record_a_rescue_shell_stays(
    lab: Lab, cloud: KernelTree, initramfs: Path
) -> None:
    drive, _ = _disk_with(lab.directory, bytes(512))
    vm = lab.vm(_machine(cloud, initramfs, drive, options="bootsvc.break=python"))
    vm.start()
    vm.console.wait_for(Stage.FALLBACK, BOOT)
    vm.console.wait_for_bad(Bad.RESCUE_SHELL, BOOT)
    with vm.console.expecting(Bad.RESCUE_SHELL):
        vm.console.wait_for_text("no valid copy of the boot-status record", BOOT)


def test_a_hardware_watchdog_survives_kexec_and_can_still_be_stopped_before_it(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # With the generic kernel everything is a module: ext4, nvme and the watchdog's driver.
    kernel = KernelTree.extracted(kernels.fetch("generic").tree)
    initrd = _initramfs(tmp_path_factory.mktemp("generic"), kernel, "pc")
    machine = _machine(kernel, initrd)
    vm = lab.vm(
        Machine(
            kernel=machine.kernel,
            initrd=machine.initrd,
            append=machine.append,
            watchdog="i6300esb",
            memory_mib=512,
        )
    )
    vm.start()
    vm.console.wait_for_text("i6300ESB timer", BOOT)
    vm.console.wait_for_text("(nowayout=0)", BOOT)
    # modprobe gave the driver's core its option from /etc/modprobe.d.
    vm.console.wait_for_text("proof: kexec stops a watchdog: no", BOOT)
    vm.console.wait_for_text("proof: python runs", BOOT)
