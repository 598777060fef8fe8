"""What the DHCP client's script leaves for the updater."""

import os
import subprocess
from pathlib import Path

import pytest

from bootsvc.formats.addresses import Address, parse_lease
from initramfs.contents import HERE

SCRIPT = HERE / "udhcpc.sh"
GIVEN = {"ip": "10.0.2.15", "mask": "24", "router": "10.0.2.2 10.0.2.9", "dns": "10.0.2.3"}


def call(event: str, lease: Path, given: dict[str, str] = GIVEN) -> None:
    """Run the script as udhcpc does."""
    environment = {**os.environ, "BOOTSVC_LEASE": str(lease), **given}
    subprocess.run(["busybox", "sh", SCRIPT, event], check=True, env=environment)


@pytest.mark.parametrize("event", ["bound", "renew"])
def test_a_lease_is_left_whole(tmp_path: Path, event: str) -> None:
    lease = tmp_path / "lease-eth0"
    call(event, lease)
    address = parse_lease(lease.read_text(), "eth0")
    assert address == Address("10.0.2.15", 24, "10.0.2.2", ("10.0.2.3",), "eth0")
    assert list(tmp_path.iterdir()) == [lease]


@pytest.mark.parametrize("event", ["deconfig", "nak", "leasefail"])
def test_nothing_is_left_where_nothing_was_given(tmp_path: Path, event: str) -> None:
    call(event, tmp_path / "lease-eth0")
    assert list(tmp_path.iterdir()) == []


def test_what_a_server_sends_is_text_and_nothing_else(tmp_path: Path) -> None:
    lease = tmp_path / "lease-eth0"
    call("bound", lease, {**GIVEN, "router": "$(touch x) `touch x` %s \\n"})
    assert "router=$(touch x) `touch x` %s \\n" in lease.read_text()
    assert list(tmp_path.iterdir()) == [lease]
