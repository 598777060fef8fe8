"""Stand-in for hashlib in the initramfs: SHA-256 alone, by OpenSSL where there is much to hash.

The real module loads libcrypto, the initramfs' largest library, as soon as it is imported. What
a healthy start hashes before its decision, the partition table's facts and a manifest, is under
4 KiB: CPython's own code does that sooner than libcrypto is loaded. An image's blocks and boot
files are worth it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BULK_BYTES = 4096
"""From this length on, and for a digest that is fed piece by piece, OpenSSL's code is used."""

_bulk_sha256: "Any" = None


def sha256(data: "Any" = b"") -> "Any":
    """A SHA-256 object that has taken in ``data``, as the real ``hashlib.sha256`` returns it."""
    if 0 < len(data) < BULK_BYTES:
        return _own_sha256()(data)
    global _bulk_sha256  # noqa: PLW0603 - found once: this is called for every block of an image
    if _bulk_sha256 is None:
        try:
            from _hashlib import openssl_sha256 as _bulk_sha256
        except ImportError:  # built with --hash builtin
            _bulk_sha256 = _own_sha256()
    return _bulk_sha256(data)


def _own_sha256() -> "Any":
    try:
        from _sha256 import sha256 as own  # type: ignore[import-not-found]
    except ImportError:  # its name since Python 3.12
        from _sha2 import sha256 as own  # type: ignore[import-not-found]
    return own
