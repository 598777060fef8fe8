"""Images that are disks: which partition is the root, where the kernel is, what gets signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootsvc.errors import BootError, FormatError
from bootsvc.formats.manifest import BootSection, InnerPartition
from bootsvc.image.make import BootOptions, read_boot_section
from bootsvc.units import MIB
from tests.image.rootfs import disk_of, kernel, pack, write_tree

INIT: dict[str, bytes | str] = {"usr/sbin/init": b"#!/bin/sh\n", "sbin": "usr/sbin"}
BOOT: dict[str, bytes | str] = {"vmlinuz-6.1": kernel(), "initrd.img-6.1": b"i" * 5000}
IN_BOOT = {f"boot/{name}": content for name, content in BOOT.items()}

LINUX, ROOT, ESP = "type=linux", "type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "type=uefi"


def file_system(folder: Path, kind: str, files: dict[str, bytes | str]) -> Path:
    return pack(write_tree(folder, files), kind)


def section(disk: Path, **options: object) -> BootSection:
    found = read_boot_section(disk, BootOptions(**options), disk.parent)  # type: ignore[arg-type]
    assert not [one for one in disk.parent.iterdir() if one.name.startswith(".bootsvc")]
    return found


def place(number: int) -> InnerPartition:
    return InnerPartition((1 + (number - 1) * 8) * MIB, 8 * MIB)


@pytest.mark.parametrize("label", ["gpt", "dos"])
@pytest.mark.parametrize("kind", ["squashfs", "ext4", "erofs"])
def test_the_partition_with_the_first_program_is_the_root(
    tmp_path: Path, label: str, kind: str
) -> None:
    """As a Debian cloud image has it, with a partition that is no file system of ours."""
    root = file_system(tmp_path / "root", kind, {**INIT, **IN_BOOT})
    data = file_system(tmp_path / "data", "ext4", {"srv/file": b"x"})
    esp = "type=ef" if label == "dos" else ESP
    found = section(disk_of(tmp_path / "disk", label, [(None, esp), (data, LINUX), (root, LINUX)]))
    assert found.root_partition == place(3)
    assert found.boot_partition is None
    assert found.kernel.path == "/boot/vmlinuz-6.1"
    assert found.initrd is not None


def test_the_type_of_a_root_partition_decides_among_several(tmp_path: Path) -> None:
    root = file_system(tmp_path / "root", "squashfs", {**INIT, **IN_BOOT})
    two = [(root, LINUX), (root, LINUX)]
    with pytest.raises(BootError, match=r"several partitions could be the root, among: 1 \(8"):
        section(disk_of(tmp_path / "disk", "gpt", two))
    assert section(tmp_path / "disk", root_partition=1).root_partition == place(1)
    two[1] = (root, ROOT)
    assert section(disk_of(tmp_path / "disk", "gpt", two)).root_partition == place(2)


def test_kernel_and_initrd_are_found_on_a_boot_partition_of_their_own(tmp_path: Path) -> None:
    root = file_system(tmp_path / "root", "ext4", {**INIT, "boot/.empty": b""})
    boot = file_system(tmp_path / "boot", "ext4", BOOT)
    found = section(disk_of(tmp_path / "disk", "gpt", [(boot, LINUX), (root, LINUX)]))
    assert (found.root_partition, found.boot_partition) == (place(2), place(1))
    assert found.kernel.path == "/vmlinuz-6.1"
    assert found.initrd is not None
    assert (found.initrd.path, found.initrd.size) == ("/initrd.img-6.1", 5000)


def test_an_entry_on_the_boot_partition_says_what_is_started(tmp_path: Path) -> None:
    entry = "title x\nversion 6.1\nlinux /vmlinuz-6.1\ninitrd /initrd.img-6.1\noptions quiet\n"
    root = file_system(tmp_path / "root", "ext4", {**INIT, "boot/.empty": b""})
    boot = file_system(tmp_path / "boot", "ext4", {**BOOT, "loader/entries/x.conf": entry.encode()})
    found = section(disk_of(tmp_path / "disk", "gpt", [(boot, LINUX), (root, LINUX)]))
    assert (found.kernel.path, found.options) == ("/vmlinuz-6.1", "quiet")


def test_a_kernel_beside_the_boot_partition_is_refused(tmp_path: Path) -> None:
    root = file_system(tmp_path / "root", "ext4", {**INIT, "opt/vmlinuz": kernel()})
    boot = file_system(tmp_path / "boot", "ext4", BOOT)
    disk = disk_of(tmp_path / "disk", "gpt", [(boot, LINUX), (root, LINUX)])
    with pytest.raises(BootError, match="/opt/vmlinuz: not on the partition that is /boot"):
        section(disk, kernel="/opt/vmlinuz")


def test_a_disk_without_a_root_says_what_it_has_instead(tmp_path: Path) -> None:
    data = file_system(tmp_path / "data", "ext4", {"srv/file": b"x"})
    disk = disk_of(tmp_path / "disk", "gpt", [(None, LINUX), (data, LINUX)])
    with pytest.raises(BootError, match=r"no partition could be the root") as refused:
        section(disk)
    assert "1 (8.0 MiB, another file system or none); 2 (8.0 MiB, ext4)" in str(refused.value)
    with pytest.raises(BootError, match="no usable partition 7"):
        section(disk, root_partition=7)


def test_a_number_is_no_use_for_an_image_without_partitions(tmp_path: Path) -> None:
    root = file_system(tmp_path / "root", "squashfs", {**INIT, **IN_BOOT})
    with pytest.raises(FormatError, match="no partitions"):
        section(root, root_partition=1)
    root.write_bytes(bytes(510) + b"\x55\xaa" + bytes(4096))
    with pytest.raises(FormatError, match="neither squashfs, ext4 nor erofs"):
        section(root)


def test_a_root_at_an_odd_place_is_refused(tmp_path: Path) -> None:
    """As partition tables of the year 2000 have it."""
    root = file_system(tmp_path / "root", "squashfs", {**INIT, **IN_BOOT})
    disk = disk_of(tmp_path / "disk", "dos", [(root, "type=83")])
    content = bytearray(disk.read_bytes())
    content[454:458] = (63).to_bytes(4, "little")
    content[63 * 512 : 63 * 512 + 2 * MIB] = content[MIB : 3 * MIB]
    disk.write_bytes(content)
    with pytest.raises(FormatError, match="begins at byte 32256, no multiple of 4096"):
        section(disk)


def test_a_partition_beyond_the_end_of_the_file_is_none(tmp_path: Path) -> None:
    root = file_system(tmp_path / "root", "squashfs", {**INIT, **IN_BOOT})
    disk = disk_of(tmp_path / "disk", "dos", [(root, "type=83"), (root, "type=83")])
    content = disk.read_bytes()
    disk.write_bytes(content[: 10 * MIB])
    assert section(disk).root_partition == place(1)


def test_a_disk_or_a_checked_image_needs_an_initrd(tmp_path: Path) -> None:
    root = file_system(tmp_path / "root", "squashfs", {**INIT, **IN_BOOT})
    for source, options in (
        (root, {"verity": True}),
        (disk_of(tmp_path / "disk", "gpt", [(root, LINUX)]), {}),
    ):
        for method in ("kexec", "switch_root"):
            with pytest.raises(BootError, match="without an initrd"):
                section(source, with_initrd=False, method=method, **options)
