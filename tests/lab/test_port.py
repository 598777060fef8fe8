"""The result port: its protocol, the host's side, and the guest's side under real shells."""

from __future__ import annotations

import hashlib
import os
import pty
import socket
import subprocess
import threading
import tty
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

import qemu_lab
from qemu_lab.errors import DeadlineError, ExpectationError, LostVMError
from qemu_lab.port import Port, Reply, ReplyReader, parse_hello
from qemu_lab.stages import Bad

RESPONDER = Path(qemu_lab.__file__).parent / "guest" / "responder.sh"


def test_a_hello_is_a_dict_of_its_words() -> None:
    assert parse_hello("hello version=1 area=primary odd") == {
        "version": "1",
        "area": "primary",
        "odd": "",
    }
    assert parse_hello("1 begin") is None
    assert parse_hello("") is None


def test_an_answer_is_read_with_its_payload_and_status() -> None:
    reader = ReplyReader()
    for line in ["3 begin", " out", "  indented", " ", " 3 end 0", "3 end 7"]:
        reader.feed(line)
    assert reader.finished == {3: (7, ("out", " indented", "", "3 end 0"))}
    assert reader.noise == []


def test_a_new_hello_drops_the_answer_that_was_open() -> None:
    reader = ReplyReader()
    for line in ["3 begin", " out", "", "hello version=2", "3 end 0"]:
        reader.feed(line)
    assert reader.finished == {}
    assert reader.hellos == [{"version": "2"}]
    assert reader.noise == ["3 end 0"]


def test_a_reply_that_failed_shows_its_output_when_success_is_required() -> None:
    assert Reply("run true", 0, ()).require().ok
    with pytest.raises(ExpectationError, match=r"(?s)run false.*status 1.*why"):
        Reply("run false", 1, ("why",)).require()


def _nothing_wrong(_what: str, _expecting: Collection[Bad]) -> None:
    pass


class _FakeGuest:
    """The guest's end of a port: answers each request line by what `answer` returns."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        ours, self.end = socket.socketpair()
        self.port = Port(_nothing_wrong, lambda _: None)
        self.port.attach(ours)
        self._answer = answer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self.end.makefile("rw", encoding="utf-8") as file:
            for line in file:
                file.write(self._answer(line.rstrip("\n")))
                file.flush()

    def close(self) -> None:
        self.port.detach()
        self._thread.join(5)
        self.end.close()


@pytest.fixture
def fake() -> Iterator[Callable[[Callable[[str], str]], Port]]:
    guests: list[_FakeGuest] = []

    def make(answer: Callable[[str], str]) -> Port:
        guests.append(_FakeGuest(answer))
        return guests[-1].port

    yield make
    for guest in guests:
        guest.close()


MakePort = Callable[[Callable[[str], str]], Port]


def test_an_answer_to_an_older_request_is_not_taken_for_this_one(fake: MakePort) -> None:
    def answer(line: str) -> str:
        number = int(line.split(maxsplit=1)[0])
        if number == 1:
            return ""  # busy
        return f"1 begin\n late\n1 end 0\n{number} begin\n now\n{number} end 0\n"

    port = fake(answer)
    with pytest.raises(DeadlineError, match="version"):
        port.ask("version", 0.1)
    assert port.ask("version", 5).text == "now"


def test_a_guest_that_starts_anew_instead_of_answering_is_a_finding(fake: MakePort) -> None:
    port = fake(lambda line: f"{line[0]} begin\n\nhello version={line[0]}\n")
    with pytest.raises(DeadlineError):
        port.ask("version", 0.2)  # the first hello only says that the guest is up now
    assert port.wait_hello(5) == {"version": "1"}
    with pytest.raises(ExpectationError, match="started anew"):
        port.ask("version", 5)
    assert port.wait_hello(5) == {"version": "2"}


def test_a_request_may_come_before_the_hello(fake: MakePort) -> None:
    port = fake(lambda _: "\nhello version=1\n1 begin\n 1\n1 end 0\n")
    assert port.ask("version", 5).text == "1"
    assert port.wait_hello(5) == {"version": "1"}


def test_a_wait_ends_when_the_machine_is_lost() -> None:
    def lost(what: str, _: Collection[Bad]) -> None:
        raise LostVMError(f"{what}: gone")

    ours, end = socket.socketpair()
    port = Port(lost, lambda _: None)
    port.attach(ours)
    with pytest.raises(LostVMError, match="hello: gone"):
        port.wait_hello(60)
    port.detach()
    end.close()
    with pytest.raises(LostVMError, match="not running"):
        port.ask("version")


@pytest.mark.parametrize("request_line", ["", "  ", "run a\nb"])
def test_a_request_is_one_line(fake: MakePort, request_line: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        fake(lambda _: "").ask(request_line)


# ---- the guest's side --------------------------------------------------------------------------

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=SHELLS)
def responder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Port]:
    """responder.sh under a shell of the guests, on a pseudo-terminal instead of a port."""
    shell = SHELLS[request.param]
    master, slave = pty.openpty()
    tty.setraw(slave)
    name = tmp_path / "sys/class/virtio-ports/vport1p1/name"
    name.parent.mkdir(parents=True)
    name.write_text("org.bootsvc.lab\n")
    other = tmp_path / "sys/class/virtio-ports/vport0p1/name"
    other.parent.mkdir(parents=True)
    other.write_text("org.example.other\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/vport1p1").symlink_to(os.ttyname(slave))
    (tmp_path / "run/bootsvc").mkdir(parents=True)
    (tmp_path / "run/bootsvc/handover.env").write_text(
        "BOOTSVC_AREA='primary'\nBOOTSVC_TRIAL='1'\nBOOTSVC_ROOT='/dev/vda4'\n"
    )
    (tmp_path / "os-release").write_text('ID=probe\nIMAGE_VERSION="4.2"\n')
    process = subprocess.Popen(
        [*shell, str(RESPONDER)],
        env={
            "PATH": os.environ["PATH"],
            "LAB_SYSFS": str(tmp_path / "sys"),
            "LAB_DEV": str(tmp_path / "dev"),
            "LAB_RUN": str(tmp_path / "run"),
            "LAB_OS_RELEASE": str(tmp_path / "os-release"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def relay(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
        while not stop.is_set():
            try:
                data = read(4096)
                if not data:
                    break
                write(data)
            except OSError:
                break

    relays = [
        threading.Thread(target=relay, args=(lambda n: os.read(master, n), theirs.sendall)),
        threading.Thread(target=relay, args=(theirs.recv, lambda data: os.write(master, data))),
    ]
    for thread in relays:
        thread.start()
    port = Port(_nothing_wrong, lambda _: None)
    port.attach(ours)
    yield port
    stop.set()
    process.kill()
    process.wait()
    port.detach()
    os.close(slave)
    for thread in relays:
        thread.join(5)
    os.close(master)
    theirs.close()


def test_the_responder_says_hello_with_what_the_updater_left(responder: Port) -> None:
    assert responder.wait_hello(10) == {"version": "4.2", "area": "primary", "trial": "1"}


def test_the_responder_runs_commands_and_returns_output_and_status(responder: Port) -> None:
    assert responder.ask("version", 10).text == "4.2"
    reply = responder.ask("run echo one; echo '  two'; echo err >&2; printf '*'; exit 3", 10)
    assert reply.lines == ("one", "  two", "err", "*")
    assert reply.status == 3
    assert responder.ask("run true", 10) == Reply("run true", 0, ())
    assert responder.run('for i in 1 2; do echo "$i * \\\\ 5 end 0"; done', 10).splitlines() == [
        "1 * \\ 5 end 0",
        "2 * \\ 5 end 0",
    ]


def test_the_responder_survives_commands_that_end_it_or_read_its_input(responder: Port) -> None:
    assert responder.ask("run exit 9", 10).status == 9
    assert responder.ask("run cat", 10) == Reply("run cat", 0, ())
    assert responder.ask("run kill $$", 10).status == 143
    assert responder.ask("nonsense", 10).status == 127
    assert responder.ask("version", 10).ok


def test_a_process_that_a_command_leaves_behind_does_not_hold_its_answer(responder: Port) -> None:
    reply = responder.ask("run sleep 20 >/dev/null 2>&1 & echo started", 10)
    assert reply.text == "started"


def test_the_responder_hashes_byte_ranges(responder: Port, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1024
    file = tmp_path / "with space"
    file.write_bytes(data)

    def expect(part: bytes) -> str:
        return hashlib.sha256(part).hexdigest()

    assert responder.ask(f"sha256 '{file}'", 10).text == expect(data)
    assert responder.ask(f"sha256 '{file}' 513", 10).text == expect(data[513:])
    assert responder.ask(f"sha256 '{file}' 513 100000", 10).text == expect(data[513:100513])
    assert not responder.ask("sha256 /nowhere", 10).ok
