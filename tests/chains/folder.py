"""Chains of real qcow2 files, and beside them the bytes that their guests must see."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bootsvc.chains.chain_files import MANIFEST_SUFFIX, read_chain, repair_information
from bootsvc.formats.manifest import (
    BootFile,
    BootSection,
    Manifest,
    build_manifest,
    identity_of,
)
from bootsvc.units import KIB

LINEAGE = "11112222-0000-4000-8000-123456789abc"
SIZE = 512 * KIB

Writes = Sequence[tuple[int, int, int]]
"""Offset, length, byte value."""


def tool(*command: str | Path, cwd: Path | None = None) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def view(path: Path) -> bytes:
    """What a guest sees, by qemu-img alone."""
    out = path.with_name(f".view-{path.name}")
    tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, out)
    try:
        return out.read_bytes()
    finally:
        out.unlink()


def manifest_of(content: bytes, number: int, parent: bytes | None = None) -> bytes:
    """A manifest of this content."""
    boot = BootSection("kexec", BootFile("/boot/vmlinuz", 1, bytes(32)))
    digest = hashlib.sha256(content).digest()
    return build_manifest(
        Manifest(
            lineage=LINEAGE,
            number=number,
            label=f"{number}.0",
            compatible="lab",
            size=len(content),
            sha256=digest,
            root=bytes(32),
            boot=boot,
            parent=parent,
        )
    )


@dataclass
class Published:
    """A server's folder: version n in file vn.qcow2, and what its guest sees in ``contents``."""

    folder: Path
    contents: list[bytes] = field(default_factory=list)
    manifests: list[bytes] = field(default_factory=list)

    def path(self, number: int) -> Path:
        """The file of a version; numbers begin at 1."""
        return self.folder / f"v{number}.qcow2"

    def identity(self, number: int) -> bytes:
        """The identity of a version."""
        return identity_of(self.manifests[number - 1])

    def publish(self, writes: Writes, *options: str) -> Path:
        """The next version: ``writes`` upon the one before."""
        number = len(self.contents) + 1
        path, below = self.path(number), self.path(number - 1).name
        content = bytearray(self.contents[-1] if self.contents else bytes(SIZE))
        parent = ["-b", below, "-F", "qcow2"] if self.contents else []
        size = [] if self.contents else [str(SIZE)]
        tool("qemu-img", "create", "-q", "-f", "qcow2", *options, *parent, path, *size)
        commands: list[str] = []
        for offset, wanted, value in writes:
            length = min(wanted, SIZE - offset)
            content[offset : offset + length] = bytes([value]) * length
            # As a guest does it: zeros become zero clusters.
            word = f"write -P {value}" if value else "write -z"
            commands += ["-c", f"{word} {offset} {length}"]
        if commands:
            tool("qemu-io", "-f", "qcow2", *commands, path)
        manifest = manifest_of(
            bytes(content), number, self.identity(number - 1) if parent else None
        )
        path.with_name(path.name + MANIFEST_SUFFIX).write_bytes(manifest)
        self.contents.append(bytes(content))
        self.manifests.append(manifest)
        repair_information(read_chain(path))
        return path


def published(folder: Path, count: int) -> Published:
    """A chain of ``count`` versions that differ, overlap, and have zeros again."""
    chain = Published(folder)
    for number in range(1, count + 1):
        start = 64 * KIB * (number - 1)
        chain.publish(
            [(start, 96 * KIB, number), (start // 2, 512, 0x80 + number), (start, 4096, 0)]
        )
    return chain
