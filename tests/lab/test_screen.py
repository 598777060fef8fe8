"""A machine's screen read as a picture, its keyboard typed on."""

from __future__ import annotations

import lzma
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qemu_lab.errors import LabError
from qemu_lab.screen import (
    GLYPH_ROWS,
    UNKNOWN,
    Font,
    Picture,
    font_in,
    kernel_image,
    key_codes,
    parse_ppm,
    text_of,
)

LETTER_A = bytes.fromhex("000010386cc6c6fec6c6c6c600000000")
LETTER_B = bytes.fromhex("0000fc6666667c66666666fc00000000")
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


def table(mark: int = 0) -> bytes:
    """A font of 256 glyphs, no two alike; another one for each ``mark``."""
    glyphs = [bytes([code, mark, *bytes(13), code ^ 0xFF]) for code in range(256)]
    glyphs[ord(" ")] = bytes(GLYPH_ROWS)
    glyphs[ord("A")], glyphs[ord("B")] = LETTER_A, LETTER_B
    return b"".join(glyphs)


FONT = font_in(b"before" + table() + b"after", "here")
GLYPHS = {char: dots for dots, char in FONT.items()}


def drawn(lines: list[str], width: int, height: int, cell: int = 8, grey: int = 0xAA) -> bytes:
    """A PPM file with ``lines`` on a screen of that size."""
    dots = bytearray(width * height)
    for row, line in enumerate(lines):
        for column, char in enumerate(line):
            for y in range(GLYPH_ROWS):
                at = (row * GLYPH_ROWS + y) * width + column * cell
                dots[at : at + 8] = GLYPHS[char][y * 8 : y * 8 + 8]
    pixels = b"".join(bytes([grey] * 3 if dot == ord("1") else [0] * 3) for dot in dots)
    return b"P6\n%d %d\n255\n" % (width, height) + pixels


def read(ppm: bytes, font: Font = FONT) -> list[str]:
    return text_of(parse_ppm(ppm), font)


@settings(deadline=None)
@given(st.lists(st.text(PRINTABLE, max_size=10), max_size=3), st.sampled_from([0xAA, 0xFF]))
def test_what_is_drawn_is_read(lines: list[str], grey: int) -> None:
    shown = read(drawn(lines, 80, 48, grey=grey))
    assert shown == [line.rstrip() for line in lines] + [""] * (3 - len(lines))


def test_text_mode_has_a_blank_dot_between_its_cells() -> None:
    assert read(drawn(["Choice [1]: x"], 720, 400, cell=9))[0] == "Choice [1]: x"
    assert len(read(drawn([], 720, 400, cell=9))) == 25


def test_one_wrong_dot_is_no_character() -> None:
    ppm = bytearray(drawn(["AA"], 80, 16))
    ppm[-1 - 3 * (80 - 8) - 1] = 0xFF  # the last row of the first cell, in green
    assert read(bytes(ppm))[0] == UNKNOWN + "A"


def test_dark_colours_are_the_background() -> None:
    assert read(drawn(["A"], 80, 16, grey=0x40)) == [""]


@pytest.mark.parametrize(
    "ppm",
    [b"", b"P5\n1 1\n255\n\0", b"P6\n2 2\n65535\n" + bytes(24), b"P6\n2 2\n255\n" + bytes(11)],
)
def test_what_is_no_whole_picture_is_refused(ppm: bytes) -> None:
    with pytest.raises(ValueError, match="picture"):
        parse_ppm(ppm)


def test_a_picture_may_end_in_bytes_that_look_like_blanks() -> None:
    assert parse_ppm(b"P6\n1 1\n255\n\n\n\n") == Picture(1, 1, b"0")


def test_a_font_must_be_there_and_the_only_one() -> None:
    with pytest.raises(LabError, match="0 fonts"):
        font_in(bytes(9000), "here")
    with pytest.raises(LabError, match="2 fonts"):
        font_in(table(1) + table(2), "here")
    assert font_in(table() + bytes(7) + table(), "here") == FONT


def test_a_kernel_is_unpacked_by_the_header_of_the_boot_protocol() -> None:
    packed = lzma.compress(b"kernel" + table())
    vmlinuz = bytearray(4 * 512 + 100) + packed
    vmlinuz[0x1F1] = 3
    struct.pack_into("<II", vmlinuz, 0x248, 100, len(packed))
    assert kernel_image(bytes(vmlinuz)) == b"kernel" + table()
    vmlinuz[4 * 512 + 100] ^= 0xFF
    with pytest.raises(LabError, match="not packed by xz"):
        kernel_image(bytes(vmlinuz))


def test_text_is_typed_by_the_keys_of_a_us_keyboard() -> None:
    assert key_codes("Go-1\n") == [["shift", "g"], ["o"], ["minus"], ["1"], ["ret"]]
    with pytest.raises(ValueError, match="no key is known"):
        key_codes("\u00fc")
