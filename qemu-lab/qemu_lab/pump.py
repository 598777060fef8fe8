"""Reads a socket for as long as it lives, so that the guest never stalls and times are true.

A console that is only read while somebody waits on it would stamp its lines with the moment of
the wait, and a guest that fills the socket meanwhile would stand still.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import suppress

from qemu_lab.deadline import Deadline

_CHUNK = 65536


class Pump:
    """A daemon thread that hands every byte of a socket to `sink`, then calls `at_end` once."""

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        sink: Callable[[bytes], None],
        at_end: Callable[[], None],
    ) -> None:
        self._socket = sock
        self._sink = sink
        self._at_end = at_end
        self._idle = threading.Condition()
        self._busy = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                try:
                    readable = self._socket.recv(_CHUNK, socket.MSG_PEEK)
                except OSError:
                    break
                if not readable:
                    break
                # Busy is set before the bytes leave the socket: settle() never sees a state in
                # which they are neither in the socket nor being worked on.
                with self._idle:
                    self._busy = True
                self._sink(self._socket.recv(len(readable)))
                with self._idle:
                    self._busy = False
                    self._idle.notify_all()
        finally:
            with self._idle:
                self._busy = False
                self._ended = True
                self._idle.notify_all()
            self._at_end()

    def settle(self, deadline: Deadline) -> None:
        """Returns when everything sent so far was handed to the sink.

        Meant for a paused machine: one that keeps talking may keep it waiting until `deadline`.
        """
        with self._idle:
            while not self._ended and (self._busy or self._pending()) and not deadline.expired:
                self._idle.wait(min(0.05, deadline.remaining))

    def _pending(self) -> int:
        buffer = fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, struct.pack("i", 0))
        count: int = struct.unpack("i", buffer)[0]
        return count

    def close(self) -> None:
        """Ends the connection and waits until the last bytes were handed over."""
        with suppress(OSError):  # the other end may have gone first
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._socket.close()
