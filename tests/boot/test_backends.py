"""The two back ends: what is checked before anything is loaded, and what is handed over."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bootsvc.boot import backends, dm, syscalls
from bootsvc.boot.backends import load
from bootsvc.boot.handover import Handover, start_cpio
from bootsvc.errors import BootError
from bootsvc.formats.manifest import BootFile, BootSection, InnerPartition
from bootsvc.formats.verity import Verity
from bootsvc.units import MIB
from tests.boot.facts import HANDOVER

KERNEL = bytes(range(256)) * 4097  # more than one piece of 1 MiB
INITRD = b"initrd of the image"
BUILD_ID = "c0ffee" * 6 + "00"
RECORD = {"schema": 1, "entries": []}


def boot_file(path: str, data: bytes) -> BootFile:
    return BootFile(path, len(data), hashlib.sha256(data).digest())


BOOT = BootSection(
    "kexec",
    boot_file("/boot/vmlinuz", KERNEL),
    boot_file("/boot/initrd", INITRD),
    options="console=ttyS0",
    kernel_build_id=BUILD_ID,
)


@dataclass
class Kernel:
    """Stands for the running kernel: keeps what it was given to load."""

    root: Path
    is_mounted: bool = False
    loaded: list[tuple[bytes, bytes | None, str]] = field(default_factory=list)
    looked_at: list[tuple[InnerPartition | None, Verity | None]] = field(default_factory=list)

    @contextmanager
    def mounted(
        self, handover: Handover, part: InnerPartition | None, verity: Verity | None
    ) -> Iterator[Path]:
        assert handover.root_node == HANDOVER.root_node
        self.looked_at.append((part, verity))
        self.is_mounted = True
        yield self.root
        self.is_mounted = False

    def kexec_file_load(self, kernel_fd: int, initrd_fd: int | None, cmdline: str) -> None:
        assert not self.is_mounted, "loaded from the area and not from what was checked"
        initrd = None if initrd_fd is None else read_all(initrd_fd)
        self.loaded.append((read_all(kernel_fd), initrd, cmdline))


def read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The image's files are there, and the running kernel is another one."""
    for name, data in (("boot/vmlinuz", KERNEL), ("boot/initrd", INITRD), ("sbin/init", b"")):
        path = tmp_path / "image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    stand_in = Kernel(tmp_path / "image")
    monkeypatch.setattr(backends, "_mounted", stand_in.mounted)
    monkeypatch.setattr(syscalls, "kexec_file_load", stand_in.kexec_file_load)
    monkeypatch.setattr(backends, "_NOTES", tmp_path / "notes")
    monkeypatch.setattr(backends, "ENV_FILE", tmp_path / "handover.env")
    monkeypatch.setattr(backends, "START_FILE", tmp_path / "start.json")
    return stand_in


def open_files() -> set[str]:
    return {str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}


def test_kexec_loads_what_was_signed_with_our_facts_behind(kernel: Kernel) -> None:
    assert load(BOOT, HANDOVER, "", RECORD).method == "kexec"
    ((loaded, initrd, cmdline),) = kernel.loaded
    assert loaded == KERNEL
    assert initrd is not None
    assert initrd[: len(INITRD)] == INITRD
    assert initrd[len(INITRD) : 20] == b"\0", "the archive behind begins at a multiple of 4"
    assert initrd[20:] == start_cpio(RECORD)
    assert cmdline.startswith("console=ttyS0 root=PARTUUID=")
    assert f"bootsvc.identity={HANDOVER.identity.hex()}" in cmdline.split()


def test_an_image_without_initrd_is_loaded_without_one(kernel: Kernel) -> None:
    load(replace(BOOT, initrd=None), HANDOVER, "", RECORD)
    assert kernel.loaded[0][1] is None


@pytest.mark.parametrize("name", ["boot/vmlinuz", "boot/initrd"])
@pytest.mark.parametrize("damage", ["shorter", "longer", "altered", "missing"])
def test_a_file_that_differs_from_its_signed_digest_is_not_loaded(
    kernel: Kernel, name: str, damage: str
) -> None:
    path = kernel.root / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        altered = bytes([data[0] ^ 1]) + data[1:]
        path.write_bytes({"shorter": data[:-1], "longer": data + b"\0", "altered": altered}[damage])
    why = "cannot be read" if damage == "missing" else "differs from its signed digest"
    with pytest.raises(BootError, match=f"/{name}: {why}"):
        load(BOOT, HANDOVER, "", RECORD)
    assert not kernel.loaded
    assert not [one for one in open_files() if "memfd:" in one]


def test_a_file_that_grew_by_whole_pieces_is_not_read_to_its_end(tmp_path: Path) -> None:
    data = bytes(MIB)
    (tmp_path / "file").write_bytes(data)
    os.truncate(tmp_path / "file", 10**12)
    with ExitStack() as files, pytest.raises(BootError, match="differs"):
        backends._checked_copy(tmp_path, boot_file("/file", data), files, lambda: None)


def test_options_that_make_the_line_too_long_are_a_boot_error(kernel: Kernel) -> None:
    with pytest.raises(BootError, match="kernel command line"):
        load(replace(BOOT, options="x" * 2000), HANDOVER, "", RECORD)
    assert not kernel.loaded


# --- switch_root ---------------------------------------------------------------------------------

SWITCH = replace(BOOT, method="switch_root")
RUNNING = "BOOT_IMAGE=/bootsvc/a/vmlinuz console=ttyS0 rdinit=/init\n"


def note(name: bytes, kind: int, data: bytes) -> bytes:
    head = struct.pack("<III", len(name), len(data), kind)
    return head + name + bytes(-len(name) % 4) + data + bytes(-len(data) % 4)


GNU = note(b"GNU\0", 3, bytes.fromhex(BUILD_ID))
XEN = note(b"Xen\0", 3, b"\x11" * 19)  # the same number under another name
NOTES = {
    "alone": GNU,
    "behind Xen's": note(b"Linux\0", 257, b"\0") + XEN + GNU,
    "before Xen's": GNU + XEN,
}


@pytest.mark.parametrize("name", NOTES)
def test_the_running_kernels_build_id_is_found_among_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "notes").write_bytes(NOTES[name])
    monkeypatch.setattr(backends, "_NOTES", tmp_path / "notes")
    assert backends._running_build_id() == BUILD_ID


@pytest.mark.parametrize("notes", [b"", XEN, GNU[:11], note(b"GNU\0", 1, bytes(16)), b"\xff" * 64])
def test_other_notes_are_no_build_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: bytes
) -> None:
    (tmp_path / "notes").write_bytes(notes)
    monkeypatch.setattr(backends, "_NOTES", tmp_path / "notes")
    assert not backends._running_build_id()
    monkeypatch.setattr(backends, "_NOTES", tmp_path / "none")
    assert not backends._running_build_id()


def test_switch_root_serves_where_kernel_and_options_are_the_same(
    kernel: Kernel, tmp_path: Path
) -> None:
    (tmp_path / "notes").write_bytes(GNU)
    loaded = load(SWITCH, HANDOVER, RUNNING, RECORD)
    assert loaded.method == "switch_root"
    assert not (tmp_path / "handover.env").exists(), "nothing is handed over before the start"
    loaded.start()
    assert (tmp_path / "handover.env").read_text() == HANDOVER.env_text()
    assert json.loads((tmp_path / "start.json").read_text()) == RECORD
    assert not kernel.loaded


@pytest.mark.parametrize(
    ("boot", "notes", "running"),
    [
        (SWITCH, GNU, RUNNING.replace("console=ttyS0", "console=ttyS1")),
        (SWITCH, GNU, RUNNING.replace("console", "quiet console")),
        (SWITCH, note(b"GNU\0", 3, bytes(19)), RUNNING),
        (replace(SWITCH, kernel_build_id=""), b"", RUNNING),
        (BOOT, GNU, RUNNING),
    ],
    ids=["other value", "one more option", "other kernel", "no build-id at all", "kexec asked for"],
)
def test_everything_else_goes_by_kexec(
    kernel: Kernel, tmp_path: Path, boot: BootSection, notes: bytes, running: str
) -> None:
    (tmp_path / "notes").write_bytes(notes)
    assert load(boot, HANDOVER, running, RECORD).method == "kexec"
    assert len(kernel.loaded) == 1


def test_an_image_without_its_init_is_not_switched_to(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(GNU)
    (kernel.root / "sbin/init").unlink()
    with pytest.raises(BootError, match="the image has no /sbin/init"):
        load(SWITCH, HANDOVER, RUNNING, RECORD)
    # A link may lead to where only the running image has it.
    (kernel.root / "sbin/init").symlink_to("/nowhere/systemd")
    assert load(SWITCH, HANDOVER, RUNNING, RECORD).method == "switch_root"


# --- an image that is a disk, an image whose blocks are checked -----------------------------------

ROOT, BOOT_PART = InnerPartition(1 * MIB, 8 * MIB), InnerPartition(16 * MIB, MIB)
VERITY = Verity(4096, 5000, bytes(range(32)))


def test_kernel_and_initrd_of_a_whole_disk_image_are_read_in_its_boot_partition(
    kernel: Kernel,
) -> None:
    handover = replace(HANDOVER, root_offset=ROOT.offset, verity=VERITY)
    load(replace(BOOT, root_partition=ROOT), handover, "", RECORD)
    load(replace(BOOT, root_partition=ROOT, boot_partition=BOOT_PART), handover, "", RECORD)
    assert kernel.looked_at == [(ROOT, None), (BOOT_PART, None)], "they have digests of their own"
    for *_, cmdline in kernel.loaded:
        words = cmdline.split()
        assert "bootsvc.root_offset=1048576" in words
        assert f"bootsvc.verity=4096:5000:{bytes(range(32)).hex()}" in words


def test_switch_root_looks_at_a_checked_root_and_maps_it_for_good_only_at_the_start(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").write_bytes(GNU)
    made: list[tuple[object, ...]] = []

    def map_area(*facts: object) -> list[str]:
        made.append(facts)
        return ["/dev/dm-0", "/dev/dm-1"]

    monkeypatch.setattr(dm, "map_area", map_area)
    handover = replace(HANDOVER, root_offset=ROOT.offset, verity=VERITY)
    loaded = load(replace(SWITCH, root_partition=ROOT), handover, RUNNING, RECORD)
    assert kernel.looked_at == [(ROOT, VERITY)]
    assert not made, "a rotten block must not end the machine while another image could be started"
    loaded.start()
    assert made == [("/dev/vda4", "bootsvc-primary", ROOT, VERITY)]
    assert "BOOTSVC_MAPPED='/dev/dm-1'\n" in (tmp_path / "handover.env").read_text()


# --- the area's file system ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "magic", "expected"),
    [
        (0, b"hsqs", ("squashfs", "")),
        (1024 + 56, b"\x53\xef", ("ext4", "noload")),
        (1024, b"\xe2\xe1\xf5\xe0", ("erofs", "")),
    ],
)
def test_the_file_system_is_told_by_its_magic(
    tmp_path: Path, offset: int, magic: bytes, expected: tuple[str, str]
) -> None:
    area = tmp_path / "area"
    area.write_bytes(bytes(offset) + magic + bytes(4096))
    assert backends._file_system(str(area)) == expected


@pytest.mark.parametrize("content", [b"", bytes(4096), b"hsq", bytes(1079) + b"\x53\xef" * 9])
def test_an_area_without_a_known_file_system_is_refused(tmp_path: Path, content: bytes) -> None:
    area = tmp_path / "area"
    area.write_bytes(content)
    with pytest.raises(BootError, match="none of the file systems squashfs, ext4, erofs"):
        backends._file_system(str(area))
    with pytest.raises(BootError, match="cannot be read"):
        backends._file_system(str(tmp_path / "none"))
