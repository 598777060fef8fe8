"""The lab's image server does badly what it is told to, and nothing else."""

from __future__ import annotations

import http.client

from qemu_lab.image_server import Faults, ImageServer

CONTENT = bytes(range(250))


def asked(server: ImageServer, path: str, first: int, last: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", f"/{path}", headers={"Range": f"bytes={first}-{last}"})
    body = connection.getresponse().read()
    connection.close()
    return body


def test_faults_concern_what_they_name_as_often_as_they_say() -> None:
    with ImageServer({"packs/a": CONTENT, "other": CONTENT}) as server:
        for _ in range(2):
            server.faults = Faults(other_bytes=(range(100, 101),), only="packs/", times=1)
            assert asked(server, "other", 0, 249) == CONTENT
            assert asked(server, "packs/a", 0, 99) == CONTENT[:100]
            assert asked(server, "packs/a", 50, 149) != CONTENT[50:150]
            assert asked(server, "packs/a", 50, 149) == CONTENT[50:150]
