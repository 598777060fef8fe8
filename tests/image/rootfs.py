"""Small root file systems with a kernel that nobody starts."""

import lzma
import os
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bootsvc.errors import ToolError
from bootsvc.image.rootfs import Entry

BUILD_ID = bytes(range(20))


def elf_with_build_id(build_id: bytes = BUILD_ID) -> bytes:
    """An ELF file (64 bit) with nothing in it but two notes; the second is the build-id."""
    notes = b"".join(
        struct.pack("<III", 4, len(desc), kind) + name + desc + bytes(-len(desc) % 4)
        for name, kind, desc in ((b"Xen\0", 6, b"abcdef"), (b"GNU\0", 3, build_id))
    )
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    return header + segment + notes


def bzimage(payload: bytes, *, setup_sectors: int = 1, protocol: int = 0x020F) -> bytes:
    """A bzImage's setup part, then a little code, then ``payload`` and its unpacked size."""
    setup = bytearray((setup_sectors + 1) * 512)
    setup[0x1F1] = setup_sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, protocol)
    struct.pack_into("<II", setup, 0x248, 32, len(payload))
    return bytes(setup) + b"\xcc" * 32 + payload


def kernel(build_id: bytes = BUILD_ID) -> bytes:
    """A kernel file as Debian packs it."""
    elf = elf_with_build_id(build_id)
    return bzimage(lzma.compress(elf, check=lzma.CHECK_CRC32) + struct.pack("<I", len(elf)))


class TreeOnPaper:
    """A root file system of names only: text is a link's target, bytes are content."""

    def __init__(self, files: dict[str, bytes | str]) -> None:
        self.files = files

    def entries(self, folder: str) -> Mapping[str, Entry]:
        found: dict[str, Entry] = {}
        prefix = folder.rstrip("/") + "/"
        for path, content in self.files.items():
            if not path.startswith(prefix):
                continue
            name, _, rest = path.removeprefix(prefix).partition("/")
            if rest:
                found[name] = Entry("dir")
            elif isinstance(content, str):
                found[name] = Entry("link", len(content), content)
            else:
                found[name] = Entry("file", len(content))
        return found

    def extract(self, path: str, target: Path) -> None:
        content = self.files.get(path)
        if not isinstance(content, bytes):
            raise ToolError(f"{path}: not a regular file")
        target.write_bytes(content)


def write_tree(folder: Path, files: dict[str, bytes | str]) -> Path:
    """Files below ``folder``: bytes are content, text is the target of a symbolic link."""
    for name, content in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
    return folder


def pack(folder: Path, kind: str) -> Path:
    """The folder as a squashfs, ext4 or erofs file beside it."""
    out = folder.with_suffix(f".{kind}")
    if kind == "squashfs":
        command = ["mksquashfs", str(folder), str(out), "-quiet", "-no-progress", "-noappend"]
        command += ["-all-time", "0", "-mkfs-time", "0", "-all-root"]
    elif kind == "erofs":
        command = ["mkfs.erofs", "-zlz4", "-T0", "--all-root", "--quiet", str(out), str(folder)]
    else:
        command = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(folder), str(out), "4M"]
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": path})
    return out


def disk_of(out: Path, label: str, parts: Sequence[tuple[Path | None, str]]) -> Path:
    """A disk file with a partition table: the file system of each partition, and sfdisk's word for
    its type; a partition each 8 MiB, the first at 1 MiB."""
    lines = [f"label: {label}"]
    lines += [
        f"start={2048 + number * 16384}, size=16384, {kind}"
        for number, (_, kind) in enumerate(parts)
    ]
    with out.open("wb") as file:
        file.truncate((len(parts) * 8 + 2) * 2**20)
    subprocess.run(["sfdisk", "-q", str(out)], input="\n".join(lines), text=True, check=True)
    with out.open("r+b") as file:
        for number, (content, _) in enumerate(parts):
            if content:
                file.seek((1 + number * 8) * 2**20)
                file.write(content.read_bytes())
    return out
