"""A file on an HTTP server, read by ranges as if it were a disk.

What is read is not believed here: ``download`` compares every block with its signed digest. Here
the server is made to keep its word: about the length, about the range that it sends, about sending
at all. A connection that breaks or falls silent is made anew and goes on at the next byte. A server
that knows no ranges is read from the beginning, each time that something before is wanted.
"""

from __future__ import annotations

import http.client
import io
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from bootsvc import __version__
from bootsvc.boot.connection import Patience, connect
from bootsvc.boot.watch import STEP_S, Watch
from bootsvc.errors import (
    ConnectionLostError,
    ImageTooLargeError,
    NotOnServerError,
    OutOfBoundsError,
    ServerError,
)
from bootsvc.formats.url import Url, redirected
from bootsvc.storage.image_area import no_tick
from bootsvc.units import BLOCK_SIZE, KIB, MIB

PIECE_SIZE = 64 * KIB
"""Bytes taken from a connection at once: on a slow line each is a sign of life."""

AHEAD = 16 * MIB
"""Bytes asked for by one request while a file is read on and on, unless said otherwise."""

SKIPPED_AT_MOST = 256 * KIB
"""Bytes that are rather read and thrown away than asked around by another request."""

MAX_REDIRECTS = 5

_REDIRECTS = (301, 302, 303, 307, 308)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_NOT_THERE = (403, 404)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_HINTS = {
    401: "images are signed: serve them without a password",
    403: "may the server read the file, and give it to anybody?",
    404: "is the address spelt right?",
}


class HttpFile:
    """The bytes behind an address; a ``Device`` that cannot be written.

    Attributes:
        name: the address as it was asked for.
    """

    def __init__(
        self,
        url: Url,
        largest: int,
        watch: Watch,
        patience: Patience | None = None,
        *,
        ahead: int = AHEAD,
        needs_ranges: bool = False,
        first: range = range(BLOCK_SIZE),
        on_bytes: Callable[[int], None] = no_tick,
    ) -> None:
        """Ask the server for the file's size, and for the bytes that will be read first.

        Args:
            largest: bytes that a file may have at most.
            ahead: bytes asked for beyond what is read, while the file is read on and on.
            needs_ranges: a server that gives none is refused: too much would be read again and
                again.
            first: the bytes that will be read first.
            on_bytes: told the bytes of each piece as it arrives; may hold the next one up.

        Raises:
            ImageTooLargeError: it is larger.
            NetworkError: see ``read_at``.
        """
        self.name = str(url)
        self.sector_size = BLOCK_SIZE
        self.size = 0
        self._url = self._current = url
        self._watch = watch
        self._patience = patience or Patience()
        self._ahead = ahead
        self._needs_ranges = needs_ranges
        self._on_bytes = on_bytes
        self._connection: http.client.HTTPConnection | None = None
        self._connected_to: tuple[str, str, int] | None = None
        self._response: http.client.HTTPResponse | None = None
        self._answer: _Answer | None = None
        self._read_to = -1
        self._tail = b""
        self._has_ranges = True
        try:
            self._open(largest, first)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; a later read would call again."""
        self._answer = None
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def read_at(
        self, offset: int, length: int, on_piece: Callable[[bytes], None] | None = None
    ) -> bytes:
        """Exactly ``length`` bytes from ``offset``.

        Args:
            on_piece: given each piece as it arrives.

        Raises:
            ConnectionLostError: no byte came however often it was tried; ``Patience`` says how
                often and how long.
            ServerError: the server refuses, redirects in circles, or the file is another by now.
            AddressError: the name of the server, or of one that it sends us to, is of no use.
            OutOfBoundsError: the file ends before.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OutOfBoundsError(
                f"{self.name}: {length} bytes at {offset} lie outside its {self.size} bytes"
            )
        tail_at = self.size - len(self._tail)
        if self._tail and offset >= tail_at:
            return self._tail[offset - tail_at : offset - tail_at + length]
        read, at, failures = io.BytesIO(), offset, 0
        while at < offset + length:
            try:
                piece = self._answer_at(at, offset + length).read(offset + length - at)
            except (OSError, http.client.HTTPException, _TryAgainError) as exc:
                failures += 1
                self._try_again(failures, f"byte {at}", exc)
                continue
            read.write(piece)
            at += len(piece)
            failures = 0
            if on_piece is not None:
                on_piece(piece)
            self._on_bytes(len(piece))
            self._watch.tick(0)
        self._read_to = at
        return read.getvalue()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Refuse: a server's file is not ours."""
        raise OutOfBoundsError(f"{self.name}: {len(data)} bytes at {offset} cannot be written")

    def flush(self) -> None:
        """Nothing was written."""

    # --- the first answer ---------------------------------------------------------------------

    def _open(self, largest: int, first: range) -> None:
        failures = 0
        while not self.size:
            try:
                self._answer = self._ask(first.start, first.stop)
            except (OSError, http.client.HTTPException, _TryAgainError) as exc:
                failures += 1
                self._try_again(
                    failures, f"byte {first.start}" if first.start else "its beginning", exc
                )
        if self.size > largest:
            raise ImageTooLargeError(
                f"{self.name}: {self.size} bytes, the largest image that fits has {largest}",
                hint="is it the right file? make a smaller image, or a disk with larger areas",
            )
        if not self._has_ranges:
            self._read_tail()

    def _read_tail(self) -> None:
        """Keep the end of the file, where an image's footer stands (its tree has less than one byte
        for each 64 of the image), so that the whole is not read three times."""
        tail_at = self.size - min(self.size, self.size // 64 + 32 * BLOCK_SIZE)
        if tail_at:
            self._watch.say(
                f"{self.name}: the server gives no ranges, so the file is read twice: for its"
                " footer, then for its content"
            )
        tail = bytearray()
        self._watch.begin("find footer", self.size)
        try:
            for at in range(0, self.size, PIECE_SIZE):
                data = self.read_at(at, min(PIECE_SIZE, self.size - at))
                tail += data[max(tail_at - at, 0) :]
                self._watch.tick(len(data))
        finally:
            self._watch.end()
        self._tail = bytes(tail)

    # --- answers ------------------------------------------------------------------------------

    def _answer_at(self, at: int, end: int) -> _Answer:
        """An answer whose next byte is the one at ``at``."""
        answer = self._answer
        if answer is not None and at in answer.within_reach(not self._has_ranges):
            answer.skip_to(at, self._watch)
            return answer
        if answer is not None and answer.at < answer.end:
            self.close()  # what is left of it would have to be read first
        if at == self._read_to:
            end = max(end, at + self._ahead)
        self._answer = self._ask(at, min(end, self.size))
        self._answer.skip_to(at, self._watch)
        return self._answer

    def _ask(self, first: int, end: int) -> _Answer:
        """Ask for bytes ``first`` to ``end``, wherever the server sends us."""
        asked = [self._current]
        while True:
            response = self._request(asked[-1], first, end)
            if response.status not in _REDIRECTS:
                break
            location = response.getheader("Location") or ""
            self.close()
            if len(asked) > MAX_REDIRECTS:
                chain = " -> ".join(str(one) for one in asked[-3:])
                raise ServerError(
                    f"{self.name}: redirected more than {MAX_REDIRECTS} times: ... {chain}",
                    hint="the server sends its clients in circles; ask for the file's own address",
                )
            asked.append(redirected(asked[-1], location))
        self._current = asked[-1]
        return self._checked(response, first, end)

    def _request(self, url: Url, first: int, end: int) -> http.client.HTTPResponse:
        connection = self._connection_for(url)
        host = str(url).removeprefix(f"{url.scheme}://").removesuffix(url.target)
        headers = {
            "Host": host,
            "User-Agent": f"bootsvc/{__version__}",
            "Range": f"bytes={first}-{end - 1}",
        }
        connection.request("GET", url.target, headers=headers)
        self._response = connection.getresponse()
        return self._response

    def _connection_for(self, url: Url) -> http.client.HTTPConnection:
        place = (url.scheme, url.host, url.port)
        open_still = self._connection is not None and self._connection.sock is not None
        # Behind the last byte that was read of a chunked answer there is more of it.
        is_clean = self._response is None or not self._response.chunked
        if self._connection and open_still and is_clean and self._connected_to == place:
            return self._connection
        self.close()
        self._connection = http.client.HTTPConnection(url.host, url.port)
        self._connection.sock = connect(url, self._patience, self._watch)
        self._connected_to = place
        return self._connection

    def _checked(self, response: http.client.HTTPResponse, first: int, end: int) -> _Answer:
        status = response.status
        if status in _TRY_AGAIN:
            raise _TryAgainError(f"the server answers {status} {_plain(response.reason)}")
        if response.getheader("Content-Encoding", "identity") != "identity":
            raise ServerError(
                f"{self.name}: the server sends it packed, which nobody asked for",
                hint="switch compression off for this file",
            )
        if status == 206:
            return self._checked_part(response, first, end)
        if status == 200:
            return self._checked_whole(response)
        if status == 416:
            if self.size:
                raise self._changed(f"it has no byte {first} any more")
            raise self._short(first) if first else self._empty()
        kind = NotOnServerError if status in _NOT_THERE else ServerError
        raise kind(
            f"{self.name}: the server answers {status} {_plain(response.reason)}",
            hint=_HINTS.get(status, ""),
        )

    def _checked_part(self, response: http.client.HTTPResponse, first: int, end: int) -> _Answer:
        text = response.getheader("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(text)
        if found is None:
            raise ServerError(
                f"{self.name}: the server sends a part and does not say which ({_plain(text)!r})",
                hint="use another server; python3 -m http.server will do",
            )
        start, last, size = (int(one) for one in found.groups())
        if start != first or not start <= last < max(min(end, size), start + 1):
            raise ServerError(
                f"{self.name}: bytes {first} to {end - 1} were asked for, the server sends"
                f" {_plain(text)!r}",
                hint="use another server, or none between (a proxy?)",
            )
        if response.length not in (None, last + 1 - start):
            raise ServerError(
                f"{self.name}: the server sends {_plain(text)!r} and calls that {response.length}"
                " bytes",
                hint="use another server, or none between (a proxy?)",
            )
        self._check_size(size)
        return _Answer(response, start, last + 1)

    def _checked_whole(self, response: http.client.HTTPResponse) -> _Answer:
        if response.length is None:
            raise ServerError(
                f"{self.name}: the server neither gives ranges nor says how long the file is",
                hint="use another server; python3 -m http.server will do",
            )
        self._check_size(response.length)
        if self._needs_ranges and self.size > BLOCK_SIZE:
            raise ServerError(
                f"{self.name}: the server gives no ranges of files",
                hint="use another one: nginx, Apache, Caddy and every object store do",
            )
        self._has_ranges = False
        return _Answer(response, 0, self.size)

    def _check_size(self, size: int) -> None:
        if not size:
            raise self._empty()
        if self.size not in (0, size):
            raise self._changed(f"it had {self.size} bytes, now {size}")
        self.size = size

    def _short(self, first: int) -> ServerError:
        return ServerError(
            f"{self.name}: the file has no byte {first}", hint="was it copied to the server whole?"
        )

    def _empty(self) -> ServerError:
        return ServerError(f"{self.name}: the file is empty", hint=_HINTS[404])

    def _changed(self, how: str) -> ServerError:
        return ServerError(
            f"{self.name}: another file by now: {how}",
            hint="begin again; replace an image on a server under a new name",
        )

    # --- failures -----------------------------------------------------------------------------

    def _try_again(self, failures: int, where: str, error: Exception) -> None:
        """Hang up, wait a while and return; the next read connects anew, to the first address."""
        self.close()
        self._current = self._url
        why = _words(error)
        if failures >= self._patience.tries:
            raise ConnectionLostError(
                f"{self.name}: {why}; given up at {where} after {failures} tries",
                hint="look at the server and the cable; what has arrived is not fetched again",
            ) from error
        pause_s = self._patience.pause_s(failures)
        self._watch.say(f"{self.name}: {why} at {where}; tried again")
        then = f"try {failures + 1} of {self._patience.tries}"
        looked = self._watch.wait("the server", pause_s, then)
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, STEP_S))
            looked()


class _TryAgainError(Exception):
    """An answer that may be another one in a moment."""


class _Answer:
    """A response whose body holds the bytes ``at`` to ``end`` of the file."""

    def __init__(self, response: http.client.HTTPResponse, at: int, end: int) -> None:
        self._response = response
        self.at = at
        self.end = end

    def within_reach(self, is_only_way: bool) -> range:
        """The bytes that are better read from here than asked for anew."""
        return range(self.at, self.end if is_only_way else min(self.end, self.at + SKIPPED_AT_MOST))

    def read(self, count: int) -> bytes:
        """Some bytes, at least one and at most ``count``. Raises _TryAgainError where it ends."""
        piece = self._response.read1(min(count, PIECE_SIZE, self.end - self.at))
        if not piece:
            raise _TryAgainError(f"the server promised {self.end} bytes and hung up")
        self.at += len(piece)
        if self.at == self.end:
            self._response.close()  # the connection is free for the next request
        return piece

    def skip_to(self, at: int, watch: Watch) -> None:
        """Throw away what stands before ``at``."""
        while self.at < at:
            self.read(at - self.at)
            watch.tick(0)


def _words(error: Exception) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "the server hung up"
    if isinstance(error, http.client.HTTPException):
        return f"no answer in HTTP ({type(error).__name__})"
    return _plain(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _plain(text: str) -> str:
    """What a server wrote, fit for a terminal."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text[:80])
