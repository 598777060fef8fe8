"""Compressors for the archive: programs of the system, run so that the same bytes come out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from initramfs.errors import CompressionError

# The kernel's unpackers: xz needs CRC-32 (or no check) and a dictionary that fits; lz4 needs
# the legacy format; gzip -n leaves out name and time. zstd uses one thread: several make
# other bytes. -19 needs a window of 8 MiB, which every kernel accepts.
COMMANDS: dict[str, tuple[str, ...]] = {
    "zstd": ("zstd", "-19", "--single-thread", "--quiet", "--stdout"),
    "gzip": ("gzip", "-9", "-n", "--stdout"),
    "xz": ("xz", "--check=crc32", "--lzma2=dict=8MiB", "--threads=1", "--stdout"),
    "lz4": ("lz4", "-l", "-9", "--quiet", "--stdout"),
}
CHOICES = ("none", *COMMANDS)
# The kernel must have been built with the same unpacker.
KERNEL_OPTION = {
    "none": "CONFIG_BLK_DEV_INITRD",
    "zstd": "CONFIG_RD_ZSTD",
    "gzip": "CONFIG_RD_GZIP",
    "xz": "CONFIG_RD_XZ",
    "lz4": "CONFIG_RD_LZ4",
}


def compress(source: Path, target: Path, method: str) -> int:
    """Compress ``source`` into ``target``; returns the size in bytes.

    Raises CompressionError: the program is missing or failed.
    """
    if method == "none":
        shutil.copyfile(source, target)
        return target.stat().st_size
    if method not in COMMANDS:
        raise CompressionError(f"unknown compression {method!r}: choose from {', '.join(CHOICES)}")
    command = COMMANDS[method]
    try:
        with source.open("rb") as stdin, target.open("wb") as stdout:
            subprocess.run(command, stdin=stdin, stdout=stdout, check=True)
    except FileNotFoundError as exc:
        raise CompressionError(f"{command[0]} is not installed: apt install {command[0]}") from exc
    except subprocess.CalledProcessError as exc:
        raise CompressionError(f"{command[0]} failed with exit code {exc.returncode}") from exc
    return target.stat().st_size


def compressed_size(data: bytes, method: str = "zstd") -> int:
    """Size in bytes of ``data`` compressed alone (for the table of shares)."""
    done = subprocess.run(COMMANDS[method], input=data, capture_output=True, check=True)
    return len(done.stdout)
