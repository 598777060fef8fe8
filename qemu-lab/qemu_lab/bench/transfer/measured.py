"""Running a peer's program: seconds and peak memory; the web server that it fetches from; files."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bootsvc.units import KIB
from qemu_lab.errors import ExpectationError, LabError


class PeerError(LabError):
    """A peer's program failed or made another image than the one wanted; its last words follow."""


@dataclass(frozen=True)
class Ran:
    """One run of a program.

    Attributes:
        seconds: from its start until its files were on the disk.
        peak_bytes: the most memory that it or one of its children had at a time.
        output: all that it said.
    """

    seconds: float
    peak_bytes: int
    output: str


def timed(
    command: Sequence[str | Path],
    target: Path | None = None,
    *,
    log: Path,
    cwd: Path | None = None,
) -> Ran:
    """Run a program to its end and flush *target*.

    Raises:
        PeerError: it ended with an error.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    # A child counts the memory that its parent had before exec; GNU time, between them, has little.
    usage = log.with_suffix(".usage")
    began = time.perf_counter()
    with log.open("wb") as stream:
        done = subprocess.run(
            ["time", "--quiet", "--format=%M", f"--output={usage}", *command],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if target is not None and target.exists():
        flush(target)
    seconds = time.perf_counter() - began
    output = log.read_text(encoding="utf-8", errors="replace")
    if done.returncode != 0:
        tail = "\n  ".join(output.replace("\r", "\n").strip().splitlines()[-8:])
        name = Path(str(command[0])).name
        raise PeerError(f"{name} ended with code {done.returncode} ({log}):\n  {tail}")
    peak_kib = int(usage.read_text(encoding="ascii").split()[-1])
    return Ran(seconds, peak_kib * KIB, output)


def flush(path: Path) -> None:
    """Have the disk take everything of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def dd_seconds(source: Path, target: Path) -> float:
    """One copy of *source* by dd, direct on both sides, flushed: the measure of every time."""
    command = ["dd", f"if={source}", f"of={target}", "bs=4M", "iflag=direct", "oflag=direct"]
    done = subprocess.run(
        [*command, "conv=fsync"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return float(done.stderr.rpartition("copied, ")[2].split()[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Traffic:
    """What a web server sent and was asked, from its log.

    Attributes:
        sent: bytes of all answers, their headers too.
        requests: how many.
    """

    sent: int = 0
    requests: int = 0


@dataclass
class WebServer:
    """nginx on this machine's loopback address, serving one folder.

    Attributes:
        root: the folder.
        scratch: folder for its own files.
        port: that it listens on.
    """

    root: Path
    scratch: Path
    port: int = field(default_factory=_free_port)

    @property
    def url(self) -> str:
        """Address of the folder, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def counting(self) -> Iterator[Traffic]:
        """Serve; what was sent stands in the result afterwards.

        Raises:
            ExpectationError: nginx does not answer.
        """
        log = self.scratch / "access.log"
        log.unlink(missing_ok=True)
        config = self.scratch / "nginx.conf"
        config.write_text(_CONFIG.format(root=self.root, scratch=self.scratch, port=self.port))
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        command = [program or "nginx", "-c", str(config), "-p", str(self.scratch)]
        process = subprocess.Popen([*command, "-e", str(self.scratch / "error.log")])
        traffic = Traffic()
        try:
            self._wait(process)
            yield traffic
        finally:
            # An orderly end: requests are answered to their end and logged.
            process.send_signal(signal.SIGQUIT)
            process.wait(30)
        for line in log.read_text(encoding="utf-8").splitlines():
            traffic.sent += int(line.split()[0])
            traffic.requests += 1

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(100):
            if process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise ExpectationError(f"nginx does not answer on port {self.port}: {self.scratch}")


# sendfile as it comes: a server must not be what is measured. The user: files of root are served.
_CONFIG = """\
daemon off;
user root;
worker_processes 1;
pid {scratch}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    log_format bytes '$bytes_sent $status $request';
    access_log {scratch}/access.log bytes;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    sendfile on;
    max_ranges 10000;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The bytes of a file, not read before they are looked at."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        view = memoryview(pages)
        try:
            yield view
        finally:
            view.release()


def equal(first: Path, second: Path) -> bool:
    """Whether two files have the same bytes."""
    return subprocess.run(["cmp", "-s", first, second], check=False).returncode == 0


def version_of(package: str) -> str:
    """Version of a Debian package, "missing" if it is not installed."""
    command = ["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", package]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    status, _, version = said.partition(" ")
    return version if status == "installed" else "missing"
