"""Ed25519 keys: which are trusted, which are retired (DESIGN 9).

A public key file is one line of 64 hexadecimal digits; a line ``retired`` after it retires the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from bootsvc.errors import FormatError, RetiredKeyError, SignatureError
from bootsvc.formats.footer import Signature

SIGNATURE_CONTEXT = b"bootsvc manifest 1\n"
"""Stands before the signed bytes, so that a signature fits nothing but a manifest."""


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key (32 bytes) with the name of the file it came from."""

    name: str
    key: bytes
    is_retired: bool = False

    @property
    def key_id(self) -> bytes:
        """8 bytes that name the key in a footer."""
        return hashlib.sha256(self.key).digest()[:8]


def parse_public_key(name: str, text: str) -> PublicKey:
    """The key in a public key file's text.

    Raises:
        FormatError: not 64 hexadecimal digits, optionally followed by ``retired``.
    """
    words = text.split()
    is_retired = words[1:] == ["retired"]
    if len(words) == 1 + is_retired and len(words[0]) == 64:
        try:
            return PublicKey(name, bytes.fromhex(words[0]), is_retired)
        except ValueError:
            pass
    raise FormatError(
        f"public key {name}: not 64 hexadecimal digits",
        hint="make keys with: bootsvc key new NAME",
    )


def signing_key_of(
    message: bytes,
    signatures: Iterable[Signature],
    keys: Iterable[PublicKey],
    *,
    allow_retired: bool,
) -> PublicKey:
    """The trusted key that signed ``message``.

    Args:
        allow_retired: a retired key still counts (what lies in an area already may be started;
            DESIGN 4: keys guard installation, not existence).

    Raises:
        RetiredKeyError: only a retired key signed it.
        SignatureError: no trusted key signed it.
    """
    # Retired ones last, so that a key listed twice counts as retired.
    by_id = {key.key_id: key for key in sorted(keys, key=lambda key: key.is_retired)}
    retired: PublicKey | None = None
    for one in signatures:
        key = by_id.get(one.key_id)
        if key is None or not _is_signed_by(key.key, one.signature, message):
            continue
        if not key.is_retired or allow_retired:
            return key
        retired = key
    if retired is not None:
        raise RetiredKeyError(
            f"signed by {retired.name}, which is retired", hint="sign the image with a current key"
        )
    raise SignatureError(
        f"no signature by any of the {len(by_id)} trusted keys",
        hint="sign the image with a key whose public half is built into the initramfs",
    )


def _is_signed_by(key: bytes, signature: bytes, message: bytes) -> bool:
    # Imported here: a healthy start checks no signature, and libsodium costs time to load.
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import CryptoError

    try:
        crypto_sign_open(signature + SIGNATURE_CONTEXT + message, key)
    except (CryptoError, ValueError):
        return False
    return True
