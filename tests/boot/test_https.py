"""HTTPS: what a believed server gives is read, any other is refused with the way out."""

from __future__ import annotations

import functools
import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootsvc.boot import connection
from bootsvc.boot.connection import Patience
from bootsvc.boot.http_file import HttpFile
from bootsvc.errors import ConnectionLostError, ServerError
from bootsvc.formats.url import parse_url
from bootsvc.units import MIB
from tests.boot.watching import Watching
from tests.images import random_blocks

CONTENT = random_blocks(60, seed=8)
SOON = Patience(connect_s=2.0, silence_s=2.0, tries=2, longest_pause_s=0.05)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """What ``python3 -m http.server`` serves with: it knows no ranges."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of a server at 127.0.0.1, signed by itself."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=lab", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, "-keyout", file.with_suffix(".key"), "-out", file],
        check=True,
        capture_output=True,
    )
    return file


@pytest.fixture
def port(certificate: Path, tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a.bimg").write_bytes(CONTENT)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def opened(port: int, scheme: str = "https") -> HttpFile:
    return HttpFile(parse_url(f"{scheme}://127.0.0.1:{port}/a.bimg"), MIB, Watching(), SOON)


def test_a_file_is_read_from_a_server_that_is_believed(
    port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CA_FILE", certificate)
    with opened(port) as file:
        assert file.read_at(0, len(CONTENT)) == CONTENT
        assert file.read_at(4096, 4096) == CONTENT[4096:8192]


def test_a_server_that_is_not_believed_is_refused_with_what_may_be_wrong(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CA_FILE", tmp_path / "none.pem")
    with pytest.raises(ServerError, match="certificate is not believed: self-signed") as caught:
        opened(port)
    assert "date" in caught.value.hint
    assert "--ca" in caught.value.hint


def test_a_server_without_tls_is_no_https_server(
    port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CA_FILE", certificate)
    with pytest.raises(ConnectionLostError, match="given up at its beginning after 2 tries"):
        opened(port, scheme="http")
