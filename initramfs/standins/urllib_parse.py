"""Stand-in for urllib.parse in the initramfs: pathlib imports it for ``Path.as_uri`` alone, and
http.client for requests that name their server, as those to a proxy do.

The real module compiles the grammar of addresses and imports ipaddress.
"""


def quote_from_bytes(*_: object) -> str:
    """Refuse: there are no file: addresses at boot."""
    raise NotImplementedError("urllib.parse is not in the initramfs")


def urlsplit(*_: object) -> object:
    """Refuse: there is no proxy at boot."""
    raise NotImplementedError("urllib.parse is not in the initramfs")
