"""Bytes of a terminal or a serial line -> keys. Pure: time is an argument.

What is no key is dropped: rubbish of a line that is not connected, UTF-8, the late answers of a
terminal, sequences that mean nothing here. CR, LF and any row of them that arrives at once are one
Enter, so that a line that doubles characters does not answer the next question as well.
"""

from __future__ import annotations

from enum import Enum

DOUBLED_S = 0.05
"""Line ends closer than this are one; a person needs twice as long, a held key comes at 0.03 s and
is one Enter until it is let go."""

ESCAPE_S = 0.2
"""After this long a lone ESC is the key, and no beginning of a sequence."""

_LONGEST_SEQUENCE = 24


class Key(Enum):
    """A key that is no printable character."""

    ENTER = "Enter"
    BACK = "Esc"
    BREAK = "Ctrl-C"
    RUB_OUT = "Backspace"
    RUB_LINE = "Ctrl-U"
    REDRAW = "Ctrl-L"
    UP = "up"
    DOWN = "down"
    PAGE_UP = "page up"
    PAGE_DOWN = "page down"
    HOME = "home"
    END = "end"


_CONTROLS = {
    0x03: Key.BREAK,
    0x04: Key.BREAK,  # Ctrl-D: a terminal's "no more"
    0x08: Key.RUB_OUT,
    0x7F: Key.RUB_OUT,
    0x15: Key.RUB_LINE,
    0x0C: Key.REDRAW,
    0x10: Key.UP,  # Ctrl-P and Ctrl-N, where there are no arrows
    0x0E: Key.DOWN,
}
_LINE_ENDS = (0x0D, 0x0A)
_ESC = 0x1B
_FINALS = {"A": Key.UP, "B": Key.DOWN, "H": Key.HOME, "F": Key.END}
_NUMBERED = {"1": Key.HOME, "4": Key.END, "5": Key.PAGE_UP, "6": Key.PAGE_DOWN, "7": Key.HOME}


class Keys:
    """The keys of one line; remembers a sequence that has not ended, and the last line end."""

    def __init__(self) -> None:
        self._sequence = ""  # what came after ESC, ESC included; "" outside of one
        self._began_s = 0.0
        self._line_end_s = float("-inf")

    def feed(self, data: bytes, now_s: float) -> list[Key | str]:
        """The keys in ``data``, which arrived at ``now_s``: printable characters as themselves."""
        keys = self.tick(now_s)
        for byte in data:
            keys += self._take(byte, now_s)
        return keys

    def tick(self, now_s: float) -> list[Key | str]:
        """The key that is one only because nothing followed: Esc."""
        if not self._sequence or now_s - self._began_s < ESCAPE_S:
            return []
        is_alone = self._sequence == "\x1b"
        self._sequence = ""
        return [Key.BACK] if is_alone else []

    def _take(self, byte: int, now_s: float) -> list[Key | str]:
        if byte == _ESC:
            # ESC ESC is an impatient person, or Alt and a key: the first one counts as nothing.
            self._sequence, self._began_s = "\x1b", now_s
            return []
        if self._sequence:
            return self._continue(byte)
        if byte in _LINE_ENDS:
            is_another = now_s - self._line_end_s < DOUBLED_S
            self._line_end_s = now_s
            return [] if is_another else [Key.ENTER]
        if byte not in _CONTROLS and not 0x20 <= byte < 0x7F:
            return []  # telnet sends CR NUL
        self._line_end_s = float("-inf")
        return [_CONTROLS.get(byte) or chr(byte)]

    def _continue(self, byte: int) -> list[Key | str]:
        """One more byte of a sequence: ESC [ digits final, ESC O final, ESC and a character."""
        char = chr(byte)
        self._sequence += char
        if len(self._sequence) == 2:
            if char not in "[O":
                self._sequence = ""
            return []
        is_open = char in "0123456789;?<=>" and len(self._sequence) < _LONGEST_SEQUENCE
        if is_open:
            return []
        sequence, self._sequence = self._sequence, ""
        return _key_of(sequence)


def _key_of(sequence: str) -> list[Key | str]:
    """The key of a whole sequence; none for an answer of the terminal, or one without meaning."""
    middle, final = sequence[2:-1], sequence[-1]
    key = _NUMBERED.get(middle) if final == "~" else None
    if key is None and not middle.startswith("?") and final in _FINALS:
        key = _FINALS[final]
    return [key] if key else []
