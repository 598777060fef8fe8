"""What comes over a network: a server's answers, a lease; and addresses that were typed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeVar
from unittest.mock import patch

from bootsvc.boot import http_file
from bootsvc.boot.connection import Patience
from bootsvc.boot.http_file import HttpFile
from bootsvc.errors import AddressError
from bootsvc.formats.addresses import parse_lease, parse_network
from bootsvc.formats.url import Url, parse_url, redirected
from bootsvc.storage.image_area import CopyCounts
from bootsvc.units import KIB, MIB

Parsed = TypeVar("Parsed")

SERVER = Url("http", "server", 80, "/images/a.bimg")
LARGEST = 8 * MIB
LONGEST_READ = 256 * KIB


class _Answering:
    """A connection to a server that says the same to every request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def sendall(self, data: bytes) -> None:
        assert data.count(b"\r\n\r\n") == 1

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._answer)

    def close(self) -> None:
        pass


class _Nobody:
    """A watch that is not looked at."""

    def say(self, text: str) -> None:
        assert text.isprintable()

    def begin(self, work: str, total: int) -> None:
        pass

    def tick(self, count: int) -> None:
        pass

    def end(self, counts: CopyCounts | None = None) -> None:
        pass

    def wait(self, what: str, limit_s: float | None, then: str) -> Callable[[], None]:
        raise AssertionError(f"{what}, {limit_s}, {then}")


def server_answer(data: bytes) -> None:
    """Whatever a server says: the bytes that were asked for, or an error in plain words."""
    try:
        with (
            patch.object(http_file, "connect", lambda *_: _Answering(data)),
            HttpFile(SERVER, LARGEST, _Nobody(), Patience(tries=1)) as file,
        ):
            assert 0 < file.size <= LARGEST
            length = min(file.size, LONGEST_READ)
            assert len(file.read_at(file.size - length, length)) == length
            assert len(file.read_at(0, length)) == length
    except Exception as exc:
        _check_plain(str(exc))
        raise


def address(data: bytes) -> None:
    """A text as the address of a server, as a redirect, as a network, and as a lease."""
    text = data.decode("utf-8", errors="replace")
    url = _taken(parse_url, text)
    if url is not None:
        assert parse_url(str(url)) == url
    target = _taken(lambda one: redirected(SERVER, one), text)
    if target is not None:
        assert "\r" not in target.target
        assert " " not in target.target
    network = _taken(parse_network, text)
    if network is not None:
        assert parse_network(str(network)) == network
    lease = _taken(lambda one: parse_lease(one, "eth0"), text)
    if lease is not None:
        assert parse_network(str(lease)) == lease


def _taken(parse: Callable[[str], Parsed], text: str) -> Parsed | None:
    try:
        return parse(text)
    except AddressError as exc:
        _check_plain(str(exc))
        return None


def _check_plain(text: str) -> None:
    """What a stranger sent must not reach a terminal as it is."""
    assert text.isprintable()


def answers() -> tuple[bytes, ...]:
    """Sound answers: a part, a whole file, a chunked part, a redirect, a refusal."""
    part = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-8/9\r\n"
    return (
        part + b"Content-Length: 9\r\n\r\n123456789",
        b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n123456789",
        part + b"Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
    )


def addresses() -> tuple[bytes, ...]:
    """Sound texts of each kind."""
    return (
        b"http://10.0.2.2:8000/images/a.bimg?x=1",
        b"https://[fe80::1]/a",
        b"dhcp,interface=eth1",
        b"10.0.0.7/24,gateway=10.0.0.1,dns=10.0.0.1+9.9.9.9",
        b"ip=10.0.2.15\nmask=24\nrouter=10.0.2.2\ndns=10.0.2.3\n",
    )
