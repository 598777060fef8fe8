"""A person (or a bad line) at a pseudo-terminal, and the console's own end of it."""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from pathlib import Path

SECONDS = 20.0
PAUSE_S = 0.06
"""Before anything is typed: nobody answers faster, and line ends that do are taken for one."""


class Typist:
    """Sits at the outer end of a pseudo-terminal and answers, if told so, like a VT100.

    Attributes:
        path: the inner end, to be opened by the console.
        text: all that was shown so far.
    """

    def __init__(self, *, size: tuple[int, int] | None = None) -> None:
        """``size``: columns and rows of a VT100; None: a terminal that answers nothing."""
        self._outer, self._inner = os.openpty()
        tty.setraw(self._outer)
        self.path = Path(os.ttyname(self._inner))
        self.text = ""
        self.read_up_to = 0
        self._size = size
        self._answered = 0
        self._changed = threading.Condition()
        self._is_over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._is_over:
            if not select.select([self._outer], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._outer, 4096)
            except OSError:  # the inner end is closed at the moment
                time.sleep(0.01)
                continue
            with self._changed:
                self.text += data.decode("latin-1")
                self._changed.notify_all()
            if self._size and self.text.count("\x1b[6n") > self._answered:
                self._answered += 1
                os.write(self._outer, b"\x1b[%d;%dR" % (self._size[1], self._size[0]))

    def types(self, data: str | bytes) -> None:
        time.sleep(PAUSE_S)
        os.write(self._outer, data.encode() if isinstance(data, str) else data)

    def sees(self, words: str) -> str:
        """Wait for ``words`` after what was seen before; the text up to and with them."""
        deadline = time.monotonic() + SECONDS
        with self._changed:
            while (at := self.text.find(words, self.read_up_to)) < 0:
                left = deadline - time.monotonic()
                assert left > 0, f"{words!r} did not come; {self.text[self.read_up_to :]!r}"
                self._changed.wait(left)
            seen = self.text[self.read_up_to : at + len(words)]
            self.read_up_to = at + len(words)
            return seen

    def close(self) -> None:
        self._is_over = True
        self._reader.join()
        os.close(self._outer)
        os.close(self._inner)
