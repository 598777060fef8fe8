"""The build-id of kernels that are packed in every way Linux knows."""

import bz2
import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootsvc.errors import FormatError, ToolError
from bootsvc.image.kernel_notes import kernel_build_id
from tests.image.rootfs import BUILD_ID, bzimage, elf_with_build_id, kernel


def program(*command: str) -> Callable[[bytes], bytes]:
    def packer(data: bytes) -> bytes:
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    return packer


def with_size(packer: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """As the kernel's makefiles do: the unpacked size stands behind the data."""
    return lambda data: packer(data) + struct.pack("<I", len(data))


PACKERS = {
    "xz": with_size(lzma.compress),
    "lzma": with_size(lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
    "gzip": gzip.compress,
    "bzip2": with_size(bz2.compress),
    "zstd": with_size(program("zstd", "-qc")),
    "lz4": with_size(program("lz4", "-qlc")),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_build_id_is_found_in_a_packed_kernel(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(PACKERS[kind](elf_with_build_id())))
    assert kernel_build_id(path) == BUILD_ID.hex()


def test_setup_part_of_size_zero_means_four_sectors(tmp_path: Path) -> None:
    data = bytearray(bzimage(PACKERS["xz"](elf_with_build_id()), setup_sectors=4))
    data[0x1F1] = 0
    (tmp_path / "vmlinuz").write_bytes(data)
    assert kernel_build_id(tmp_path / "vmlinuz") == BUILD_ID.hex()


def test_bare_elf_kernel_has_its_build_id(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(elf_with_build_id(b"\xab" * 20))
    assert kernel_build_id(tmp_path / "vmlinux") == "ab" * 20


@pytest.mark.parametrize("content", [b"", b"kernel", bytes(4096)])
def test_file_of_another_kind_has_no_build_id(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vmlinuz").write_bytes(content)
    assert not kernel_build_id(tmp_path / "vmlinuz")


def test_elf_without_notes_has_no_build_id(tmp_path: Path) -> None:
    data = bytearray(elf_with_build_id())
    struct.pack_into("<H", data, 56, 0)
    (tmp_path / "vmlinux").write_bytes(data)
    assert not kernel_build_id(tmp_path / "vmlinux")


def test_kernel_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(kernel()[:-1])
    with pytest.raises(FormatError, match="is it complete"):
        kernel_build_id(tmp_path / "vmlinuz")


def test_kernel_with_damaged_payload_is_refused(tmp_path: Path) -> None:
    data = bytearray(kernel())
    data[-40] ^= 1
    (tmp_path / "vmlinuz").write_bytes(data)
    with pytest.raises(FormatError, match="cannot be unpacked"):
        kernel_build_id(tmp_path / "vmlinuz")


def test_payload_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage(b"unknown packer"))
    with pytest.raises(FormatError, match="unknown kind"):
        kernel_build_id(tmp_path / "vmlinuz")


def test_old_boot_protocol_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage(b"x" * 100, protocol=0x0203))
    with pytest.raises(FormatError, match="boot protocol 0x0203"):
        kernel_build_id(tmp_path / "vmlinuz")


def test_missing_unpacker_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage(PACKERS["zstd"](elf_with_build_id())))
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ToolError, match="zstd is not installed") as caught:
        kernel_build_id(tmp_path / "vmlinuz")
    assert "apt-get install zstd" in caught.value.hint
