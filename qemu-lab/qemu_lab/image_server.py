"""An HTTP server that gives images to machines under test, well or badly, as it is told.

A guest with user-mode network reaches it at 10.0.2.2; everything else on this machine at 127.0.0.1.
What it does can be changed while it serves: ``server.faults = Faults(rate=100_000)``.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

GUEST_SEES = "10.0.2.2"
"""This machine's address in QEMU's user-mode network."""

_BLOCK = 4096
_PIECE = 64 * 1024
_NAP_S = 0.02


@dataclass(frozen=True)
class Faults:
    """What a server does badly; a fault-free one gives ranges and keeps connections open.

    Attributes:
        no_ranges: every answer is the whole file (as ``python3 -m http.server`` does).
        hang_up: each connection ends after its answer (HTTP/1.0).
        rate: bytes a second of each answer, 0 = no limit.
        stall_after: bytes of an answer after which nothing more comes; the connection stays.
        break_after: bytes of an answer after which the connection is cut.
        half: the file ends near its middle, after a whole block, and the server says so.
        claims: bytes that the file is said to have beyond those that it has.
        other_bytes: ranges of the file that are sent inverted.
        other_range: an answer begins so many bytes behind what was asked for.
        status: every answer is this status, nothing else.
        redirect: every answer sends to this place; "{path}" in it is the path asked for.
        packed: answers claim to be compressed.
        no_length: whole files are sent in chunks, their length unsaid.
        only: it concerns paths that begin with this; all else is answered well.
        times: so many answers are bad, then all is well; 0 = all of them. Only those count that
            ``only`` and ``other_bytes`` concern.
    """

    no_ranges: bool = False
    hang_up: bool = False
    rate: int = 0
    stall_after: int | None = None
    break_after: int | None = None
    half: bool = False
    claims: int = 0
    other_bytes: tuple[range, ...] = ()
    other_range: int = 0
    status: int = 0
    redirect: str = ""
    packed: bool = False
    no_length: bool = False
    only: str = ""
    times: int = 0

    def concern(self, asked: Asked) -> bool:
        """Whether the answer to a request would be bad."""
        last = asked.last if asked.last is not None else sys.maxsize
        return asked.path.startswith(self.only) and (
            not self.other_bytes
            or any(one.start <= last and asked.first < one.stop for one in self.other_bytes)
        )


@dataclass
class Asked:
    """One request: bytes ``first`` to ``last`` (None: the whole file); ``sent``: of the body."""

    path: str
    first: int
    last: int | None
    host: str
    sent: int = 0


class FolderFiles(Mapping[str, Path]):
    """The files below a folder as they are when they are asked for, for ``ImageServer``."""

    def __init__(self, folder: Path) -> None:
        """``folder`` may be filled later."""
        self._folder = folder

    def __getitem__(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise KeyError(name)
        return path

    def __iter__(self) -> Iterator[str]:
        return (
            str(path.relative_to(self._folder))
            for path in self._folder.rglob("*")
            if path.is_file()
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass
class ImageServer:
    """Serves ``files`` (path without slash -> content or file) on a port of its own.

    Attributes:
        asked: every request so far.
        faults: what it does badly from now on.
    """

    files: Mapping[str, bytes | Path]
    faults: Faults = field(default_factory=Faults)
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._counting = threading.Lock()
        self._counted, self._bad_answers = self.faults, 0
        self._stopped = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _QuietServer(("127.0.0.1", self.port), handler)
        self.port = int(self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_NAP_S,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Vanish: whoever is being served is cut off, nobody is answered any more."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Where ``path`` is served."""
        return f"http://{host}:{self.port}/{path}"

    @property
    def sent(self) -> int:
        """Bytes of files sent so far."""
        return sum(one.sent for one in self.asked)

    @property
    def is_stopped(self) -> bool:
        """Whether it has vanished."""
        return self._stopped.is_set()

    def faults_for(self, asked: Asked) -> Faults:
        """What the answer to a request does badly."""
        faults = self.faults
        if not faults.concern(asked):
            return Faults()
        with self._counting:
            if faults is not self._counted:
                self._counted, self._bad_answers = faults, 0
            self._bad_answers += 1
            return Faults() if 0 < faults.times < self._bad_answers else faults

    def content(self, path: str) -> bytes | None:
        """The file at ``path``, None where there is none."""
        found = self.files.get(path)
        return found.read_bytes() if isinstance(found, Path) else found


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news."""


class _Handler(BaseHTTPRequestHandler):
    owner: ImageServer
    protocol_version = "HTTP/1.1"
    timeout = 0.2

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Wait for a request in short steps, so that the server can be stopped meanwhile."""
        while not self.owner.is_stopped:
            with suppress(TimeoutError):
                if not self.connection.recv(1, socket.MSG_PEEK):
                    break
                super().handle_one_request()
                return
        self.close_connection = True

    def do_GET(self) -> None:
        """Give a file, or part of it."""
        path = self.path.partition("?")[0].lstrip("/")
        content = self.owner.content(path)
        first, last = self._range()
        asked = Asked(path, first, last, self.headers.get("Host", ""))
        faults = self.owner.faults_for(asked)
        self.owner.asked.append(asked)
        self.close_connection = faults.hang_up
        if faults.redirect:
            self._answer(302, {"Location": faults.redirect.format(path=path)})
        elif faults.status:
            self._answer(faults.status, {})
        elif content is None:
            self._answer(404, {})
        else:
            if faults.half:
                content = content[: len(content) // 2 // _BLOCK * _BLOCK]
            self._give(content, asked, faults)

    def _give(self, whole: bytes, asked: Asked, faults: Faults) -> None:
        content = memoryview(_with_other_bytes(whole, faults.other_bytes))
        claimed = len(content) + faults.claims
        headers = {"Content-Encoding": "gzip"} if faults.packed else {}
        if asked.last is None or faults.no_ranges:
            if faults.no_length:
                self._answer(200, {"Connection": "close"}, length=None)
                self.close_connection = True
            else:
                self._answer(200, headers, length=claimed)
            self._send(content, asked, faults)
            self.close_connection |= claimed > len(content)
            return
        first, last = (one + faults.other_range for one in (asked.first, asked.last))
        last = min(last, claimed - 1)
        if first > last:
            self._answer(416, {"Content-Range": f"bytes */{claimed}"})
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{claimed}"
        self._answer(206, headers, length=last + 1 - first)
        self._send(content[first : last + 1], asked, faults)
        self.close_connection |= last >= len(content)  # what was promised is not there

    def _answer(self, status: int, headers: Mapping[str, str], length: int | None = 0) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, body: memoryview, asked: Asked, faults: Faults) -> None:
        began = time.monotonic()
        self.connection.settimeout(5.0)
        with suppress(OSError):
            while asked.sent < len(body) and not self.owner.is_stopped:
                if faults.break_after is not None and asked.sent >= faults.break_after:
                    break
                stalls = faults.stall_after is not None and asked.sent >= faults.stall_after
                if stalls and self._client_is_gone():
                    break
                if stalls or (
                    faults.rate and asked.sent > (time.monotonic() - began) * faults.rate
                ):
                    time.sleep(_NAP_S)
                    continue
                piece = body[asked.sent : asked.sent + self._piece(asked, faults)]
                self.wfile.write(piece)
                asked.sent += len(piece)
        self.connection.settimeout(self.timeout)
        if asked.sent < len(body):
            self.close_connection = True

    def _client_is_gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _piece(self, asked: Asked, faults: Faults) -> int:
        stops = [one - asked.sent for one in (faults.stall_after, faults.break_after) if one]
        piece = max(faults.rate // 20, 1) if faults.rate else _PIECE
        return max(min(piece, *stops, _PIECE), 1)

    def _range(self) -> tuple[int, int | None]:
        words = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        return (int(words[0]), int(words[2])) if words[2] else (0, None)


def _with_other_bytes(content: bytes, where: tuple[range, ...]) -> bytes:
    if not where:
        return content
    changed = bytearray(content)
    for part in where:
        changed[part.start : part.stop] = bytes(
            255 - one for one in changed[part.start : part.stop]
        )
    return bytes(changed)
