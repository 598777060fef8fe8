"""The setting ``network`` and leases: what they say, and that nothing else gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootsvc.errors import AddressError
from bootsvc.formats.addresses import Address, Dhcp, parse_lease, parse_network

FULL = "192.168.1.20/24,gateway=192.168.1.1,dns=192.168.1.1+9.9.9.9,interface=eth1"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dhcp", Dhcp()),
        (" dhcp,interface=enp3s0 ", Dhcp("enp3s0")),
        ("10.0.0.7/8", Address("10.0.0.7", 8)),
        (FULL, Address("192.168.1.20", 24, "192.168.1.1", ("192.168.1.1", "9.9.9.9"), "eth1")),
    ],
)
def test_a_network_is_read_and_written_alike(text: str, found: Dhcp | Address) -> None:
    assert parse_network(text) == found
    assert parse_network(str(found)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no IPv4 address"),
        ("dhpc", "no IPv4 address"),
        ("10.0.0.7", "length of its network is missing"),
        ("10.0.0.7/33", "length of its network is missing"),
        ("10.0.0.07/8", "no IPv4 address"),
        ("10.0.0.256/8", "no IPv4 address"),
        ("10.0.0/8", "no IPv4 address"),
        ("10.0.0.7/8,gateway=x", "gateway 'x'"),
        ("10.0.0.7/8,dns=1.1.1.1+2.2.2.2+3.3.3.3+4.4.4.4", "up to 3"),
        ("10.0.0.7/8,gatway=10.0.0.1", "'gatway=10.0.0.1' is not understood"),
        ("10.0.0.7/8,dns=1.1.1.1,dns=2.2.2.2", "not understood"),
        ("dhcp,gateway=10.0.0.1", "the server says gateway"),
        ("dhcp,interface=eth0;reboot", "no interface"),
    ],
)
def test_a_network_that_is_written_wrongly_names_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(AddressError, match=words):
        parse_network(text)


def test_a_lease_is_an_address() -> None:
    lease = "ip=10.0.2.15\nmask=24\nrouter=10.0.2.2 10.0.2.9\ndns=10.0.2.3 x 1.1.1.1\n"
    address = Address("10.0.2.15", 24, "10.0.2.2", ("10.0.2.3", "1.1.1.1"), "eth0")
    assert parse_lease(lease, "eth0") == address


@pytest.mark.parametrize("lease", ["", "ip=10.0.2.15\n", "mask=24\n", "ip=$(reboot)\nmask=24\n"])
def test_a_lease_without_an_address_is_refused(lease: str) -> None:
    with pytest.raises(AddressError, match="lease on eth0"):
        parse_lease(lease, "eth0")


@given(st.text(max_size=80))
def test_any_text_is_a_network_or_refused_as_one(text: str) -> None:
    for parse in (parse_network, lambda one: parse_lease(one, "eth0")):
        try:
            found = parse(text)
        except AddressError:
            continue
        assert parse_network(str(found)) == found
