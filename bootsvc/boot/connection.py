"""A TCP connection that never waits without a word, and never for ever.

Each wait is cut into short steps, so that the watchdog is fed, a person sees what is waited for,
and work that was broken off ends at once. TLS is there where the initramfs was built with
``--https``; it hides what is fetched from others on the line, and is not what makes an image
believed.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootsvc.boot.watch import STEP_S, Watch
from bootsvc.errors import AddressError, ServerError
from bootsvc.formats.url import Url
from bootsvc.units import KIB

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CA_FILE = Path("/etc/bootsvc/ca.pem")
"""Certificates of the authorities that servers are checked against, as built in."""


@dataclass(frozen=True)
class Patience:
    """How long a server is given.

    Attributes:
        connect_s: to take up a connection: three times the kernel asks within it.
        silence_s: to send the next byte: a disk that spins up, a proxy that fetches for itself.
        tries: in a row without a single byte, until the fetch is given up: with the pauses between
            them over a minute, so that a server or a switch may restart meanwhile.
        longest_pause_s: between two tries; the first pause is a second, each next twice as long.
    """

    connect_s: float = 15.0
    silence_s: float = 30.0
    tries: int = 6
    longest_pause_s: float = 16.0

    def pause_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(2.0 ** (failures - 1), self.longest_pause_s)


class Connection:
    """A connected socket, in the words that ``http.client`` uses of one.

    As with a socket, what ``makefile`` gave can be read to its end after ``close``.
    """

    def __init__(self, sock: socket.socket, host: str, patience: Patience, watch: Watch) -> None:
        self._sock = sock
        self._host = host
        self._patience = patience
        self._watch = watch
        self._files = 0
        self._is_closed = False

    def sendall(self, data: bytes) -> None:
        """Send a request, which fits into what the kernel takes at once."""
        self._sock.settimeout(self._patience.silence_s)
        self._sock.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        """What the server sends. Reading raises TimeoutError where nothing comes for too long."""
        self._sock.settimeout(STEP_S)
        self._files += 1
        return io.BufferedReader(_Incoming(self), 64 * KIB)

    def close(self) -> None:
        """Give it back as soon as nobody reads from it any more."""
        self._is_closed = True
        if not self._files:
            self._sock.close()

    def file_closed(self) -> None:
        """One of the files that ``makefile`` gave is read no more."""
        self._files -= 1
        if self._is_closed:
            self.close()

    def receive(self, buffer: WriteableBuffer) -> int:
        """Fill ``buffer`` with what comes next; 0 bytes where the server has hung up."""
        looked: Callable[[], None] | None = None
        silence_s = self._patience.silence_s
        deadline = time.monotonic() + silence_s
        while True:
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"nothing came for {silence_s:g} s") from None
                if looked is None:
                    what = f"{self._host} to send more"
                    looked = self._watch.wait(what, silence_s, "it is asked anew")
                looked()


class _Incoming(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._connection.receive(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._connection.file_closed()


def connect(url: Url, patience: Patience, watch: Watch) -> Connection:
    """A connection to the server of ``url``.

    Raises:
        OSError: it cannot be made now; trying again may help.
        AddressError: nobody knows the server's name.
        ServerError: HTTPS is asked for, and this updater has none, or the server is not believed.
    """
    problem: OSError | None = None
    for family, address in _addresses_of(url):
        try:
            sock = _connected(family, address, url, patience, watch)
        except OSError as exc:
            problem = exc
        else:
            if url.scheme == "https":
                sock = _with_tls(sock, url, patience)
            return Connection(sock, url.host, patience, watch)
    raise problem or OSError(f"{url.host} has no address")


def _addresses_of(url: Url) -> list[tuple[int, tuple[object, ...]]]:
    try:
        # As bytes: a name as text would pass through an encoding that the initramfs lacks.
        found = socket.getaddrinfo(url.host.encode(), url.port, type=socket.SOCK_STREAM)
    except socket.gaierror as exc:
        if exc.errno == socket.EAI_NONAME:
            raise AddressError(
                f"{url.host}: no such name",
                hint="is it spelt right, and are the network's name servers? an IP address needs"
                " none",
            ) from exc
        raise OSError(f"{url.host}: the name cannot be looked up: {exc.strerror}") from exc
    return [(family, address) for family, _, _, _, address in found]


def _connected(
    family: int, address: tuple[object, ...], url: Url, patience: Patience, watch: Watch
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        began = sock.connect_ex(address)
        if began == errno.EINPROGRESS:
            _await_answer(sock, url, patience, watch)
            began = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        _check(began, url)
    except BaseException:
        sock.close()
        raise
    return sock


def _await_answer(sock: socket.socket, url: Url, patience: Patience, watch: Watch) -> None:
    where = f"{url.host} port {url.port}"
    looked = watch.wait(f"{where} to answer", patience.connect_s, "it is tried again")
    deadline = time.monotonic() + patience.connect_s
    while not select.select([], [sock], [], STEP_S)[1]:
        looked()
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{where}: no answer within {patience.connect_s:g} s")


def _check(error: int, url: Url) -> None:
    if error:
        raise OSError(error, f"{url.host} port {url.port}: {os.strerror(error)}")


def _with_tls(sock: socket.socket, url: Url, patience: Patience) -> socket.socket:
    try:
        import ssl
    except ImportError as exc:
        sock.close()
        raise ServerError(
            "this updater was built without HTTPS",
            hint="use http:// (an image is believed by its signature alone), or build the"
            " initramfs with --https",
        ) from exc
    sock.settimeout(patience.silence_s)
    try:
        context = ssl.create_default_context(cafile=str(CA_FILE) if CA_FILE.exists() else None)
        # As bytes, for the reason above.
        return context.wrap_socket(sock, server_hostname=url.host.encode())
    except ssl.SSLCertVerificationError as exc:
        sock.close()
        raise ServerError(
            f"{url.host}: its certificate is not believed: {exc.verify_message}",
            hint="is the machine's date right? was the initramfs built with the right --ca?",
        ) from exc
    except OSError:
        sock.close()
        raise
