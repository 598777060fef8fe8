"""Addresses of images on HTTP servers. Pure.

Only what a fetch needs: ``scheme://host[:port]/target``. The grammar is narrow on purpose: what a
person mistypes at a console is refused with a word on how it is written, and nothing that a server
sends in a redirect can slip a line end or a blank into a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootsvc.errors import AddressError

PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 2000
"""Bytes of an address; longer ones are refused by many a server as well."""

_HINT = "write for example http://192.168.1.10/images/kiosk-2.bimg"
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")


@dataclass(frozen=True)
class Url:
    """One address.

    Attributes:
        scheme: http or https.
        host: name or IP address, lower case, without the brackets of IPv6.
        target: path and query, as they are sent; begins with a slash.
    """

    scheme: str
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"


def is_url(text: str) -> bool:
    """Whether ``text`` begins as an address on a network does."""
    return "://" in text[:16]


def parse_url(text: str) -> Url:
    """The address in ``text``; what follows a ``#`` is left out.

    Raises:
        AddressError: not an address of this kind.
    """
    if len(text) > MAX_LENGTH or not (text.isascii() and text.isprintable()) or " " in text:
        raise AddressError(
            f"{text[:80]!r} is no address: plain ASCII without blanks, at most {MAX_LENGTH}"
            " characters",
            hint="write a blank as %20, and a name with other letters in its xn-- form",
        )
    scheme, found, rest = text.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in PORTS:
        raise AddressError(f"{text!r} does not begin with http:// or https://", hint=_HINT)
    rest = rest.partition("#")[0]
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    host, port = _host_and_port(rest[:end], text)
    target = rest[end:]
    return Url(
        scheme, host, port or PORTS[scheme], target if target.startswith("/") else f"/{target}"
    )


def redirected(base: Url, location: str) -> Url:
    """Where ``location``, in an answer from ``base``, leads: in full, or relative to it.

    Raises:
        AddressError: it leads nowhere that can be fetched.
    """
    if "://" in location.partition("?")[0]:
        return parse_url(location)
    origin = str(base).removesuffix(base.target)
    if location.startswith("//"):
        return parse_url(f"{base.scheme}:{location}")
    if location.startswith("/"):
        return parse_url(f"{origin}{location}")
    folder = base.target.partition("?")[0].rpartition("/")[0]
    return parse_url(f"{origin}{folder}/{location}")


def _host_and_port(place: str, text: str) -> tuple[str, int]:
    if "@" in place:
        raise AddressError(
            f"{text.partition('://')[0]}://...@...: names and passwords in addresses are not used",
            hint="images are signed: serve them without a password",
        )
    host, bracket, port = place.rpartition("]")
    if bracket:
        host, port = host.removeprefix("["), port.removeprefix(":")
        is_host = bool(host) and all(char in "0123456789abcdefABCDEF:." for char in host)
    else:
        host, _, port = place.partition(":")
        is_host = bool(host) and all(char in _HOST_CHARACTERS for char in host.lower())
    if not is_host:
        raise AddressError(f"{text!r} names no host", hint=_HINT)
    if port and not (port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise AddressError(f"{text!r}: {port!r} is no port", hint="a number from 1 to 65535")
    return host.lower(), int(port or 0)
