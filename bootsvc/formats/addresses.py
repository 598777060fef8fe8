"""How this machine gets its address on a wired network: as text, as values, from a lease. Pure.

    dhcp                                                          ask whoever answers
    dhcp,interface=eth1                                           ask on this interface only
    192.168.1.20/24                                               a fixed address
    192.168.1.20/24,gateway=192.168.1.1,dns=192.168.1.1+9.9.9.9   with the way out, and names

IPv4: an address by IPv6 the kernel takes by itself where a router announces one.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootsvc.errors import AddressError

MAX_NAME_SERVERS = 3
"""What the C library's resolver asks."""

_HINT = "write dhcp, or for example 192.168.1.20/24,gateway=192.168.1.1,dns=192.168.1.1"
_MAX_INTERFACE_LENGTH = 15


@dataclass(frozen=True)
class Dhcp:
    """An address is asked for; ``interface`` "": on each one that has a link."""

    interface: str = ""

    def __str__(self) -> str:
        return f"dhcp,interface={self.interface}" if self.interface else "dhcp"


@dataclass(frozen=True)
class Address:
    """A fixed address.

    Attributes:
        ip: dotted IPv4 address; ``prefix``: bits of its network, 1 to 32.
        gateway: the way out of that network, "" where there is none.
        dns: name servers, in the order in which they are asked.
        interface: "": the first that has a link, and on which the gateway answers.
    """

    ip: str
    prefix: int
    gateway: str = ""
    dns: tuple[str, ...] = ()
    interface: str = ""

    def __str__(self) -> str:
        words = [f"{self.ip}/{self.prefix}"]
        words += [f"gateway={self.gateway}"] if self.gateway else []
        words += [f"dns={'+'.join(self.dns)}"] if self.dns else []
        words += [f"interface={self.interface}"] if self.interface else []
        return ",".join(words)


def parse_network(text: str) -> Dhcp | Address:
    """What the setting ``network`` asks for.

    Raises:
        AddressError: it cannot be understood; the word that is wrong is named.
    """
    first, *words = text.strip().split(",")
    options: dict[str, str] = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or name in options or name not in ("gateway", "dns", "interface"):
            raise AddressError(f"network {text!r}: {word!r} is not understood", hint=_HINT)
        options[name] = value
    interface = options.pop("interface", "")
    if interface and not _is_interface(interface):
        raise AddressError(f"network {text!r}: {interface!r} is no interface", hint=_HINT)
    if first == "dhcp":
        if options:
            raise AddressError(
                f"network {text!r}: with dhcp, the server says {' and '.join(options)}", hint=_HINT
            )
        return Dhcp(interface)
    ip, _, prefix = first.partition("/")
    dns = tuple(filter(None, options.get("dns", "").split("+")))
    return _checked(
        Address(ip, _number(prefix), options.get("gateway", ""), dns, interface),
        f"network {text!r}",
    )


def parse_lease(text: str, interface: str) -> Address:
    """The address in a lease, as ``initramfs/udhcpc.sh`` writes it: ``name=value`` lines.

    Whoever answered first sent these values: nothing but numbers with dots gets through.

    Raises:
        AddressError: they make no address.
    """
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    servers = [one for one in values.get("dns", "").split() if _is_ipv4(one)]
    gateways = [one for one in values.get("router", "").split() if _is_ipv4(one)]
    address = Address(
        values.get("ip", ""),
        _number(values.get("mask", "")),
        gateways[0] if gateways else "",
        tuple(servers[:MAX_NAME_SERVERS]),
        interface,
    )
    return _checked(address, f"lease on {interface}")


def _checked(address: Address, where: str) -> Address:
    if not _is_ipv4(address.ip):
        raise AddressError(f"{where}: {address.ip!r} is no IPv4 address", hint=_HINT)
    if not 1 <= address.prefix <= 32:
        raise AddressError(
            f"{where}: the length of its network is missing",
            hint="write it behind the address: /24 for 255.255.255.0",
        )
    if address.gateway and not _is_ipv4(address.gateway):
        raise AddressError(f"{where}: gateway {address.gateway!r} is no IPv4 address")
    if len(address.dns) > MAX_NAME_SERVERS or not all(map(_is_ipv4, address.dns)):
        raise AddressError(
            f"{where}: dns takes up to {MAX_NAME_SERVERS} IPv4 addresses, joined by +"
        )
    return address


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= 3 else 0


def _is_ipv4(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(map(_is_octet, parts))


def _is_octet(text: str) -> bool:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    return is_number and text == str(int(text)) and int(text) < 256


def _is_interface(text: str) -> bool:
    return len(text) <= _MAX_INTERFACE_LENGTH and all(
        char.isascii() and (char.isalnum() or char in "-_.") for char in text
    )
