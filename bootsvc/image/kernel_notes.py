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
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from bootsvc.disk.tools import find_tool
from bootsvc.errors import FormatError, ToolError
from bootsvc.units import MIB

MAX_UNPACKED_SIZE = 1024 * MIB
"""Far above any kernel; a smaller bomb than the machine's memory."""

_ELF = b"\x7fELF"


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
    from elftools.elf.sections import NoteSection
    from elftools.elf.segments import NoteSegment

    try:
        elf = ELFFile(BytesIO(data))
        places = [one for one in elf.iter_segments() if isinstance(one, NoteSegment)]
        places += [one for one in elf.iter_sections() if isinstance(one, NoteSection)]
        for place in places:
            for note in place.iter_notes():
                # Xen's notes use the same numbers under another name.
                if note["n_name"] == "GNU" and note["n_type"] == "NT_GNU_BUILD_ID":
                    return str(note["n_desc"])
    except (ELFError, ValueError, KeyError, struct.error) as exc:
        raise FormatError(f"kernel: damaged ELF file: {exc}") from exc
    return ""


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
        # Without the 4 bytes of the unpacked size, which these programs take for a broken frame.
        with subprocess.Popen(
            [find_tool(command[0]), *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            data, _ = process.communicate(payload[:-4])
        if process.returncode:
            raise ToolError(f"{command[0]} cannot unpack the kernel: is it complete?")
        return _within_bounds(data)

    return unpacker


def _within_bounds(data: bytes) -> bytes:
    if len(data) >= MAX_UNPACKED_SIZE:
        raise FormatError(f"kernel: it unpacks to more than {MAX_UNPACKED_SIZE} bytes")
    return data


_UNPACKERS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ\0", _library(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ))),
    (b"\x5d\0\0", _library(lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE))),
    (b"BZh", _library(bz2.BZ2Decompressor)),
    (b"\x28\xb5\x2f\xfd", _program("zstd", "-dcq")),
    (b"\x02\x21\x4c\x18", _program("lz4", "-dcq")),
)
