"""A real S3 server, in a process of its own on loopback: moto's."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server with no bucket yet."""
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        else:
            raise AssertionError(f"moto's server ended: {said}")
        # It logs every request: a pipe that nobody empties would stop it.
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        yield found[0]
    finally:
        process.terminate()
        process.wait(timeout=60)
        drain.join(timeout=60)
        process.stdout.close()


def make_bucket(server: str, bucket: str) -> None:
    """Make an empty bucket."""
    request = urllib.request.Request(f"{server}/{bucket}", method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=60):  # noqa: S310
        pass
