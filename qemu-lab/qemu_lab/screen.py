"""A machine's own screen and keyboard: what a person in front of it sees and types.

The screen is read from outside, as a picture (QMP ``screendump``), and turned into text by the
glyphs of the fonts that it is drawn with: the graphics card's own in text mode, the kernel's on a
framebuffer. A cell counts as a character only if all its dots fit. Keys go through QEMU's emulated
keyboard, so that the guest's driver, its keymap and its terminal are part of what is tested.
"""

from __future__ import annotations

import lzma
import re
import struct
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from qemu_lab.deadline import Deadline
from qemu_lab.errors import DeadlineError, LabError
from qemu_lab.vm import VM

CARD_ROM = Path("/usr/share/seabios/vgabios-stdvga.bin")
"""The BIOS of QEMU's VGA card (Debian package seabios); its text mode is drawn with its font."""

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""A cell that shows no character of the fonts; the cursor makes one of a blank."""

LOOK_S = 0.5
"""Between two looks at a screen."""

GLYPH_ROWS = 16
_DOTS = 8
_TEXT_MODE = (720, 400)
"""80 x 25 cells of 9 dots, the last of them blank."""
_PPM_HEAD = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")
_PRINTABLE = range(0x20, 0x7F)
_LETTER_A = bytes.fromhex("000010386cc6c6fec6c6c6c600000000")
_LETTER_B = bytes.fromhex("0000fc6666667c66666666fc00000000")
_DOT_LEVEL = 0x60
_AS_DOT = bytes(0x31 if level > _DOT_LEVEL else 0x30 for level in range(256))
"""Brightness of a pixel -> "1" where it belongs to a character in grey or white, else "0"."""

_CODES = {
    " ": "spc", "-": "minus", ".": "dot", "/": "slash", "\n": "ret", "\x1b": "esc",
    "\b": "backspace",
}  # fmt: skip
_SHIFTED = {"?": "slash", ":": "semicolon", "_": "minus", "+": "equal"}


@dataclass(frozen=True)
class Picture:
    """What a screen shows.

    Attributes:
        width, height: in pixels.
        dots: one byte for each pixel, row by row: "1" where it is grey or white, else "0".
    """

    width: int
    height: int
    dots: bytes


Font = dict[bytes, str]
"""The dots of a cell, 16 rows of 8 as in ``Picture.dots`` -> its character."""


def parse_ppm(data: bytes) -> Picture:
    """The picture in a PPM file (P6, 8 bits a colour) as QEMU writes it.

    Raises:
        ValueError: it is none, or not whole.
    """
    head = _PPM_HEAD.match(data)
    if head is None:
        raise ValueError("no picture in PPM format")
    width, height = int(head[1]), int(head[2])
    pixels = data[head.end() :]
    if len(pixels) != 3 * width * height:
        raise ValueError(f"a picture of {width} x {height} has not {len(pixels)} bytes")
    return Picture(width, height, pixels[1::3].translate(_AS_DOT))


def font_in(data: bytes, where: str) -> Font:
    """The printable ASCII characters of the 8 x 16 font that stands somewhere in ``data``.

    Raises:
        LabError: none does, or several; ``where`` says in what.
    """
    tables = []
    at = data.find(_LETTER_A + _LETTER_B)
    while at >= 0:
        begin = at - ord("A") * GLYPH_ROWS
        tables.append(data[begin : begin + 256 * GLYPH_ROWS])
        at = data.find(_LETTER_A + _LETTER_B, at + 1)
    if len(set(tables)) != 1:
        raise LabError(f"{where}: holds {len(set(tables))} fonts of 8 x 16 dots, wanted one")
    glyphs = {code: tables[0][code * GLYPH_ROWS :][:GLYPH_ROWS] for code in _PRINTABLE}
    return {
        b"".join(b"%08d" % int(f"{row:b}") for row in glyph): chr(code)
        for code, glyph in glyphs.items()
    }


def kernel_image(vmlinuz: bytes) -> bytes:
    """What a bzImage unpacks to, found by the boot protocol's header (Documentation/x86/boot.rst).

    Raises:
        LabError: it is not packed by xz, as Debian's generic kernel is.
    """
    setup_sectors = vmlinuz[0x1F1]
    offset, size = struct.unpack_from("<II", vmlinuz, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(vmlinuz[begin : begin + size])
    except lzma.LZMAError as exc:
        raise LabError(f"this kernel is not packed by xz: {exc}") from exc


@cache
def fonts(vmlinuz: Path) -> Font:
    """The characters of the card's font and of the kernel's; ``vmlinuz``: see ``kernel_image``."""
    card = font_in(CARD_ROM.read_bytes(), str(CARD_ROM))
    return card | font_in(kernel_image(vmlinuz.read_bytes()), str(vmlinuz))


def text_of(picture: Picture, font: Font) -> list[str]:
    """The lines on a screen, each without the blanks at its end; ``UNKNOWN`` for what is none."""
    cell = _DOTS + 1 if (picture.width, picture.height) == _TEXT_MODE else _DOTS
    lines = []
    for top in range(0, picture.height - GLYPH_ROWS + 1, GLYPH_ROWS):
        rows = [picture.dots[y * picture.width :] for y in range(top, top + GLYPH_ROWS)]
        rows = [row[: picture.width] for row in rows]
        cells = (
            b"".join(row[left : left + _DOTS] for row in rows)
            for left in range(0, picture.width - _DOTS + 1, cell)
        )
        lines.append("".join(font.get(one, UNKNOWN) for one in cells).rstrip())
    return lines


def key_codes(text: str) -> list[list[str]]:
    """The keys of a US keyboard, by QEMU's names, that type ``text``; those of one list together.

    Raises:
        ValueError: a character that is not among those known here.
    """
    keys = []
    for char in text:
        if char in _SHIFTED:
            keys.append(["shift", _SHIFTED[char]])
        elif char in _CODES:
            keys.append([_CODES[char]])
        elif char.isascii() and char.isalnum():
            keys.append(["shift", char.lower()] if char.isupper() else [char])
        else:
            raise ValueError(f"no key is known for {char!r}")
    return keys


class Screen:
    """The screen and the keyboard of a machine that has them (``Machine.screen``)."""

    def __init__(self, vm: VM, font: Font) -> None:
        self._vm = vm
        self._font = font

    def lines(self) -> list[str]:
        """What is to be read now, from the top."""
        with tempfile.TemporaryDirectory(prefix="qemu-lab-screen-") as folder:
            file = Path(folder) / "screen.ppm"
            self._vm.qmp("screendump", filename=str(file))
            picture = parse_ppm(file.read_bytes())
        return text_of(picture, self._font)

    def wait_for(self, text: str, timeout: Deadline | float) -> list[str]:
        """Wait until one line of the screen holds ``text``; all its lines.

        Raises:
            DeadlineError: it never did; the message shows what was there instead.
            BadOutputError, LostVMError: see `Console.wait_for`.
        """
        deadline = Deadline.of(timeout)
        while True:
            lines = self.lines()
            if any(text in line for line in lines):
                return lines
            self._vm.console.check(f"waited for {text!r} on the screen")
            if deadline.expired:
                shown = "\n".join(line for line in lines if line)
                raise DeadlineError(
                    f"waited {deadline.seconds:.1f} s for {text!r} on the screen in vain; it"
                    f" shows:\n{shown}"
                )
            time.sleep(LOOK_S)

    def press(self, *keys: str) -> None:
        """Press keys together, by QEMU's names: ``press("ctrl", "c")``."""
        self._vm.qmp("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def type(self, text: str) -> None:
        """Type ``text``, a newline for Enter; QEMU lets a person's time pass between the keys."""
        for keys in key_codes(text):
            self.press(*keys)
