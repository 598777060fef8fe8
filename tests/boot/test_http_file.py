"""A file on a server is read like a disk, whatever the server does; every failure has its words."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import pytest

from bootsvc.boot.connection import Patience
from bootsvc.boot.http_file import HttpFile
from bootsvc.errors import (
    AddressError,
    BootsvcError,
    ConnectionLostError,
    ImageTooLargeError,
    OutOfBoundsError,
    ServerError,
)
from bootsvc.formats.url import parse_url
from bootsvc.units import KIB, MIB
from qemu_lab.image_server import Faults, ImageServer
from tests.boot.watching import BrokenOffError, Watching
from tests.images import random_blocks

CONTENT = random_blocks(200, seed=4)
SIZE = len(CONTENT)
SOON = Patience(connect_s=2.0, silence_s=2.0, tries=3, longest_pause_s=0.05)
AT_ONCE = replace(SOON, silence_s=0.4)
"""For servers that are going to be silent."""


def named(value: object) -> str:
    """Faults by what they change, anything else by its own words."""
    if not isinstance(value, Faults):
        return getattr(value, "__name__", str(value))
    return ", ".join(f"{key}={one}" for key, one in asdict(value).items() if one not in (0, "", ()))


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with ImageServer({"a.bimg": CONTENT, "empty": b""}) as serving:
        yield serving


def opened(server: ImageServer, watch: Watching | None = None, path: str = "a.bimg") -> HttpFile:
    patience = SOON if server.faults.stall_after is None else AT_ONCE
    return HttpFile(parse_url(server.url(path)), MIB, watch or Watching(), patience)


def test_any_bytes_are_read_like_those_of_a_disk(server: ImageServer) -> None:
    with opened(server) as file:
        assert file.size == SIZE
        for at, length in ((0, 1), (SIZE - 5, 5), (4096, 300_000), (0, SIZE), (17, 0)):
            assert file.read_at(at, length) == CONTENT[at : at + length]
        for at, length in ((-1, 1), (SIZE, 1), (0, SIZE + 1)):
            with pytest.raises(OutOfBoundsError):
                file.read_at(at, length)
        with pytest.raises(OutOfBoundsError):
            file.write_at(0, b"x")


def test_reading_on_and_on_takes_few_requests_and_no_byte_twice(server: ImageServer) -> None:
    with opened(server) as file:
        before = server.sent
        read = b"".join(file.read_at(at, 8 * KIB) for at in range(0, SIZE, 8 * KIB))
    assert read == CONTENT
    assert len(server.asked) <= 3
    assert server.sent - before <= SIZE


def test_what_will_be_read_first_is_asked_for_first_and_nothing_else(server: ImageServer) -> None:
    first = range(99_000, 104_000)
    with HttpFile(parse_url(server.url("a.bimg")), MIB, Watching(), first=first) as file:
        assert file.read_at(99_000, 5000) == CONTENT[99_000:104_000]
    assert [(one.first, one.last) for one in server.asked] == [(99_000, 103_999)]


def test_a_file_that_ends_before_what_is_read_first_is_named(server: ImageServer) -> None:
    beyond = range(SIZE, SIZE + 1)
    with pytest.raises(ServerError, match=f"the file has no byte {SIZE}"):
        HttpFile(parse_url(server.url("a.bimg")), MIB, Watching(), first=beyond)


def test_single_blocks_are_asked_for_alone_on_one_connection(server: ImageServer) -> None:
    with opened(server) as file:
        for at in (700 * KIB, 4 * KIB, 350 * KIB):
            assert file.read_at(at, 4096) == CONTENT[at : at + 4096]
    assert server.sent == 4 * 4096


@pytest.mark.parametrize(
    "faults",
    [
        Faults(hang_up=True),
        Faults(break_after=50_000),
        Faults(break_after=50_000, hang_up=True),
        Faults(stall_after=100_000, times=2),
        Faults(status=503, times=2),
        Faults(status=429, times=1),
        Faults(no_ranges=True),
        Faults(no_ranges=True, hang_up=True),
        Faults(no_ranges=True, break_after=300_000, times=2),
        Faults(rate=8_000_000),
    ],
    ids=named,
)
def test_a_bad_server_still_gives_every_byte(server: ImageServer, faults: Faults) -> None:
    server.faults = faults
    with opened(server) as file:
        read = b"".join(file.read_at(at, 64 * KIB) for at in range(0, SIZE, 64 * KIB)[:12])
        assert read == CONTENT[: len(read)]
        assert file.read_at(SIZE - 4096, 4096) == CONTENT[-4096:]
        assert file.read_at(4096, 4096) == CONTENT[4096:8192]


def test_a_broken_connection_goes_on_at_the_next_byte(server: ImageServer) -> None:
    server.faults = Faults(break_after=100_000)
    with opened(server) as file:
        assert file.read_at(0, SIZE) == CONTENT
    firsts = [one.first for one in server.asked[1:]]
    assert firsts == sorted(set(firsts))
    assert server.sent <= SIZE + 4096


def test_a_server_without_ranges_is_read_twice_and_no_more(server: ImageServer) -> None:
    server.faults = Faults(no_ranges=True)
    watch = Watching()
    with opened(server, watch) as file:
        assert file.read_at(SIZE - 4096, 4096) == CONTENT[-4096:]
        assert file.read_at(SIZE - 60_000, 4096) == CONTENT[SIZE - 60_000 : SIZE - 60_000 + 4096]
        for at in range(0, SIZE // 2, 64 * KIB):
            assert file.read_at(at, 4096) == CONTENT[at : at + 4096]
    assert len(server.asked) == 2
    assert "gives no ranges" in watch.said[0]
    assert watch.done["find footer"] == SIZE


@pytest.mark.parametrize(
    ("faults", "error", "words"),
    [
        (Faults(stall_after=0), ConnectionLostError, r"nothing came for 0.4 s; given up at"),
        (
            Faults(break_after=0),
            ConnectionLostError,
            r"promised \d+ bytes and hung up; given up at",
        ),
        (Faults(status=503), ConnectionLostError, "503 Service Unavailable; given up"),
        (Faults(status=404), ServerError, "404 Not Found"),
        (Faults(status=403), ServerError, "403 Forbidden"),
        (Faults(status=401), ServerError, "401 Unauthorized"),
        (Faults(status=204), ServerError, "204 No Content"),
        (Faults(redirect="/{path}"), ServerError, "redirected more than 5 times"),
        (Faults(redirect="file:///etc/passwd"), AddressError, "does not begin with http"),
        (Faults(redirect="http://host/\x1b[2J"), AddressError, "ASCII"),
        (Faults(packed=True, no_ranges=True), ServerError, "packed"),
        (Faults(no_ranges=True, no_length=True), ServerError, "how long the file is"),
        (Faults(other_range=4096), ServerError, "were asked for, the server sends"),
    ],
    ids=named,
)
def test_a_server_that_is_of_no_use_is_given_up_in_words(
    server: ImageServer, faults: Faults, error: type[BootsvcError], words: str
) -> None:
    server.faults = faults
    with pytest.raises(error, match=words) as caught, opened(server) as file:
        file.read_at(0, SIZE)
    assert "a.bimg" in str(caught.value) or error is AddressError
    assert str(caught.value).isprintable()


def test_a_half_file_ends_where_it_ends(server: ImageServer) -> None:
    server.faults = Faults(half=True)
    with opened(server) as file:
        assert file.size == SIZE // 2
        server.faults = Faults()
        with pytest.raises(ServerError, match="another file by now: it had"):
            file.read_at(0, file.size)


@pytest.mark.parametrize("is_whole", [False, True])
def test_bytes_that_were_promised_and_are_not_there_are_missed(
    server: ImageServer, is_whole: bool
) -> None:
    server.faults = Faults(claims=10_000, no_ranges=is_whole)
    with (
        pytest.raises(ConnectionLostError, match=f"hung up; given up at byte {SIZE}"),
        opened(server) as file,
    ):
        file.read_at(0, SIZE + 10_000)


def test_an_empty_file_is_none(server: ImageServer) -> None:
    with pytest.raises(ServerError, match="empty"):
        opened(server, path="empty")
    server.faults = Faults(no_ranges=True)
    with pytest.raises(ServerError, match="empty"):
        opened(server, path="empty")


def test_a_file_that_fits_no_area_is_refused_before_it_is_read(server: ImageServer) -> None:
    for faults in (Faults(), Faults(no_ranges=True)):
        server.faults = faults
        with pytest.raises(ImageTooLargeError, match=f"{SIZE} bytes, the largest"):
            HttpFile(parse_url(server.url("a.bimg")), SIZE - 1, Watching(), SOON)
    assert len(server.asked) == 2


def test_a_server_that_vanishes_is_given_up_after_its_tries(server: ImageServer) -> None:
    watch = Watching()
    with opened(server, watch) as file:
        file.read_at(0, 4096)
        server.stop()
        with pytest.raises(ConnectionLostError, match="given up at byte 400000 after 3 tries"):
            file.read_at(400_000, 4096)
    assert sum("tried again" in one for one in watch.said) == 2
    assert ("the server", 0.05, "try 3 of 3") in watch.waits


def test_a_server_that_comes_back_is_used_again(server: ImageServer) -> None:
    with opened(server) as file:
        file.read_at(0, 4096)
        server.stop()
        with ImageServer(server.files, port=server.port):
            assert file.read_at(400_000, 4096) == CONTENT[400_000:404_096]


def test_a_redirect_is_followed_and_remembered(server: ImageServer) -> None:
    with ImageServer({}, Faults(redirect=server.url("{path}"))) as first:
        with opened(first) as file:
            assert file.read_at(0, SIZE) == CONTENT
            assert file.read_at(8192, 4096) == CONTENT[8192:12288]
        assert len(first.asked) == 1
    assert server.asked[0].host == f"127.0.0.1:{server.port}"


def test_the_same_name_with_other_content_is_noticed(server: ImageServer) -> None:
    with opened(server) as file:
        file.read_at(0, 4096)
        server.files = {"a.bimg": CONTENT + bytes(4096)}
        with pytest.raises(ServerError, match="another file by now"):
            file.read_at(400_000, 4096)


def test_nobody_at_that_address_is_said_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ConnectionLostError, match=f"127.0.0.1 port {port}: .*refused"):
            HttpFile(parse_url(f"http://127.0.0.1:{port}/a"), MIB, Watching(), SOON)


def test_a_name_that_nobody_knows_is_not_tried_again() -> None:
    watch = Watching()
    with pytest.raises((AddressError, ConnectionLostError), match=r"no-such-host\.invalid"):
        HttpFile(parse_url("http://no-such-host.invalid/a"), MIB, watch, SOON)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\n" * 300])
def test_something_else_than_a_web_server_is_given_up(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        all_answered = answers_each(listening, answer, times=SOON.tries)
        with pytest.raises(ConnectionLostError, match=r"hung up|no answer in HTTP|reset"):
            HttpFile(parse_url(f"http://127.0.0.1:{port}/a"), MIB, Watching(), SOON)
        all_answered()


def answers_each(listening: socket.socket, answer: bytes, times: int) -> Callable[[], None]:
    """Answer so many connections; gives what waits for the last of them."""

    def answer_all() -> None:
        for _ in range(times):
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    thread = threading.Thread(target=answer_all)
    thread.start()
    return thread.join


def test_a_silent_server_is_waited_for_in_short_steps_that_can_be_broken_off(
    server: ImageServer,
) -> None:
    watch = Watching()
    with opened(server, watch) as file:
        server.faults = Faults(stall_after=1)
        watch.breaks_off_after = watch.ticks + watch.looks + 2
        began = time.monotonic()
        with pytest.raises(BrokenOffError):
            file.read_at(400_000, 200_000)
    assert time.monotonic() - began < SOON.silence_s + 0.3
    assert ("127.0.0.1 to send more", SOON.silence_s, "it is asked anew") in watch.waits


def test_pauses_grow_and_end_at_the_longest() -> None:
    patience = Patience()
    assert [patience.pause_s(failures) for failures in range(1, 7)] == [1, 2, 4, 8, 16, 16]


def test_https_without_its_module_is_refused_with_the_way_out(
    server: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ssl", None)
    url = replace(parse_url(server.url("a.bimg")), scheme="https")
    with pytest.raises(ServerError, match="built without HTTPS") as caught:
        HttpFile(url, MIB, Watching(), SOON)
    assert "--https" in caught.value.hint
