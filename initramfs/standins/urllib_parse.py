"""Stand-in for urllib.parse in the initramfs: pathlib imports it for ``Path.as_uri`` alone.

The real module compiles the grammar of addresses and imports ipaddress.
"""


def quote_from_bytes(*_: object) -> str:
    """Refuse: there are no file: addresses at boot."""
    raise NotImplementedError("urllib.parse is not in the initramfs")
