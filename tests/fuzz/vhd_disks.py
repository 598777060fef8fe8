"""What VHD files say of themselves, with the checksums that whoever means harm would set right."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bootsvc.formats.vhd import FOOTER_SIZE, HEADER_SIZE, Kind, parse_footer, parse_header
from tests.image.vhd_files import sparse, with_checksum


def vhd(data: bytes) -> None:
    """Footer and header: what is accepted promises no more blocks than the disk has bytes for."""
    data = data.ljust(FOOTER_SIZE + HEADER_SIZE, b"\0")
    footer = parse_footer(with_checksum(bytearray(data[:FOOTER_SIZE]), 64))
    if footer.kind is Kind.FIXED:
        return
    head = bytearray(data[FOOTER_SIZE : FOOTER_SIZE + HEADER_SIZE])
    header = parse_header(with_checksum(head, 36), footer.current_size)
    assert (header.entries - 1) * header.block_size < footer.current_size
    assert header.entries * header.block_size >= footer.current_size
    assert header.bitmap_size * 8 * 512 >= header.block_size


def disks() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        made = [
            sparse(Path(folder) / "disk", 10 * 2**20, {0: bytes(512)}, kind=kind, parent="base.vhd")
            .read_bytes()[: FOOTER_SIZE + HEADER_SIZE]
            for kind in (3, 4)
        ]  # fmt: skip
    return tuple(made)
