"""The build-id of a kernel: what tells two builds of one release apart (DESIGN 5).

    bzImage   offset size field            (Linux, Documentation/arch/x86/boot.rst)
               0x1f1    1 setup_sects      sectors of the setup part, 0 means 4
               0x202    4 "HdrS"
               0x206    2 protocol version, at least 2.08 for the payload's place
               0x248    4 payload_offset   from the end of the setup part
               0x24c    4 payload_length   with 4 bytes behind the data that hold its unpacked size

The payload is the compressed ELF file of the kernel; its note NT_GNU_BUILD_ID is what the running
kernel shows in /sys/kernel/notes.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.disk.tools import find_tool
from bootsvc.errors import FormatError, ToolError
from bootsvc.formats.elf_notes import build_id_among
from bootsvc.units import KIB, MIB

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAX_UNPACKED_SIZE = 1024 * MIB
"""Far above any kernel; a smaller bomb than the machine's memory."""

MAX_UNPACKER_MEMORY = 256 * MIB
"""For xz and lzma, whose files name what they need; Linux packs with at most 128 MiB."""

MAX_HEADERS = 256
"""Program and section headers that are looked at; a kernel has fewer than a hundred of each."""

MAX_NOTES_SIZE = 16 * KIB
"""Bytes of notes that are looked at in one place; a kernel's build-id stands among the first."""

_ELF = b"\x7fELF"

_STUMBLES = (ValueError, LookupError, TypeError, OverflowError, struct.error)
"""What pyelftools raises, beside errors of its own, over numbers that lead nowhere."""

_TABLES = (
    ("e_ph", "Elf_Phdr", "p_type", "PT_NOTE", "p_offset", "p_filesz"),
    ("e_sh", "Elf_Shdr", "sh_type", "SHT_NOTE", "sh_offset", "sh_size"),
)
"""What pyelftools calls the two tables of headers and the fields that lead to notes."""


def kernel_build_id(kernel: Path) -> str:
    """The build-id in hexadecimal; empty where the file has none or is of another kind.

    Raises:
        FormatError: it claims to be a bzImage, but cannot be unpacked.
        ToolError: the unpacker it needs is not installed.
    """
    data = kernel.read_bytes()
    if data.startswith(_ELF):
        return elf_build_id(data)
    if len(data) < 0x250 or data[0x202:0x206] != b"HdrS":
        return ""
    return elf_build_id(unpack(payload_of(data)))


def payload_of(data: bytes) -> bytes:
    """The compressed payload of a bzImage.

    Raises:
        FormatError: an old boot protocol, or a payload outside the file.
    """
    (version,) = struct.unpack_from("<H", data, 0x206)
    if version < 0x0208:
        raise FormatError(f"kernel: boot protocol {version:#06x} does not say where its payload is")
    setup_sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    if not 4 < length <= len(data) - start:
        raise FormatError("kernel: its payload lies outside the file: is it complete?")
    return data[start : start + length]


def unpack(payload: bytes) -> bytes:
    """The ELF file in ``payload``, told by its magic number.

    Raises:
        FormatError: unknown or damaged.
        ToolError: zstd or lz4 is not installed.
    """
    for magic, unpacker in _UNPACKERS:
        if payload.startswith(magic):
            elf = unpacker(payload)
            if not elf.startswith(_ELF):
                raise FormatError("kernel: its payload is not an ELF file")
            return elf
    raise FormatError(f"kernel: payload of unknown kind ({payload[:6].hex()})")


def elf_build_id(data: bytes) -> str:
    """The build-id among the notes of an ELF file, or empty.

    Raises:
        FormatError: a damaged ELF file.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        for offset, size in _note_places(ELFFile(BytesIO(data))):
            if build_id := build_id_among(data[offset : offset + min(size, MAX_NOTES_SIZE)]):
                return build_id
    except (ELFError, *_STUMBLES) as exc:
        raise FormatError(f"kernel: damaged ELF file: {exc}") from exc
    return ""


def _note_places(elf: ELFFile) -> Iterator[tuple[int, int]]:
    """Offset and size of all note segments, then of all note sections.

    Only headers are read: what pyelftools makes of segments and sections themselves knows no
    bounds in a damaged file.
    """
    from elftools.common.utils import struct_parse

    for table, layout, kind, note, offset, size in _TABLES:
        for index in range(min(elf[f"{table}num"], MAX_HEADERS)):
            at = elf[f"{table}off"] + index * elf[f"{table}entsize"]
            header = struct_parse(getattr(elf.structs, layout), elf.stream, at)
            if header[kind] == note:
                yield header[offset], header[size]


def _library(
    make: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor],
) -> Callable[[bytes], bytes]:
    def unpacker(payload: bytes) -> bytes:
        try:
            return _within_bounds(make().decompress(payload, MAX_UNPACKED_SIZE))
        except (lzma.LZMAError, OSError, EOFError) as exc:
            raise FormatError(f"kernel: its payload cannot be unpacked: {exc}") from exc

    return unpacker


def _gzip(payload: bytes) -> bytes:
    try:
        return _within_bounds(zlib.decompressobj(31).decompress(payload, MAX_UNPACKED_SIZE))
    except zlib.error as exc:
        raise FormatError(f"kernel: its payload cannot be unpacked: {exc}") from exc


def _program(*command: str) -> Callable[[bytes], bytes]:
    def unpacker(payload: bytes) -> bytes:
        with tempfile.TemporaryFile() as packed:
            # Without the 4 bytes of the unpacked size, which they take for a broken frame.
            packed.write(payload[:-4])
            packed.seek(0)
            with subprocess.Popen(
                [find_tool(command[0]), *command[1:]],
                stdin=packed,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process:
                data = _within_bounds(_output_of(process))
        if process.returncode:
            raise ToolError(f"{command[0]} cannot unpack the kernel: is it complete?")
        return data

    return unpacker


def _output_of(process: subprocess.Popen[bytes]) -> bytes:
    """What the process prints; it is ended where that is more than a kernel can be."""
    data = bytearray()
    while process.stdout and (piece := process.stdout.read(MIB)):
        data += piece
        if len(data) >= MAX_UNPACKED_SIZE:
            process.kill()
            break
    return bytes(data)


def _within_bounds(data: bytes) -> bytes:
    if len(data) >= MAX_UNPACKED_SIZE:
        raise FormatError(f"kernel: it unpacks to more than {MAX_UNPACKED_SIZE} bytes")
    return data


_UNPACKERS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ\0", _library(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_UNPACKER_MEMORY))),
    (
        b"\x5d\0\0",
        _library(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, MAX_UNPACKER_MEMORY)),
    ),
    (b"BZh", _library(bz2.BZ2Decompressor)),
    (b"\x28\xb5\x2f\xfd", _program("zstd", "-dcq")),
    (b"\x02\x21\x4c\x18", _program("lz4", "-dcq")),
)
