"""Key pairs that sign images: NAME.key stays with the publisher, machines trust NAME.pub.

NAME.key   64 hexadecimal digits: the Ed25519 seed; mode 0600
NAME.pub   64 hexadecimal digits: the public key, as ``trust.keys`` reads it
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from bootsvc.errors import FormatError, StorageError
from bootsvc.formats.footer import Signature
from bootsvc.trust.keys import SIGNATURE_CONTEXT, PublicKey, parse_public_key

KEY_SUFFIX = ".key"
PUBLIC_SUFFIX = ".pub"


@dataclass(frozen=True)
class SigningKey:
    """A secret key: its name, its 32-byte seed (never shown), and its public half."""

    name: str
    public: PublicKey
    seed: bytes = field(repr=False)

    def sign(self, manifest_bytes: bytes) -> Signature:
        """The signature of a manifest's bytes; the same bytes always give the same signature."""
        from nacl.signing import SigningKey as Signer

        signed = Signer(self.seed).sign(SIGNATURE_CONTEXT + manifest_bytes)
        return Signature(self.public.key_id, bytes(signed.signature))


def signing_key_from(name: str, seed: bytes) -> SigningKey:
    """The key pair that grows from ``seed`` (32 bytes)."""
    from nacl.signing import SigningKey as Signer

    return SigningKey(name, PublicKey(name, bytes(Signer(seed).verify_key)), seed)


def new_key_pair(base: Path) -> SigningKey:
    """Draw a key pair and write ``base``.key and ``base``.pub, neither of which may exist yet.

    Raises:
        StorageError: a file exists already (a key is never overwritten), or cannot be written.
    """
    name = base.name.removesuffix(KEY_SUFFIX)
    secret, public = base.with_name(name + KEY_SUFFIX), base.with_name(name + PUBLIC_SUFFIX)
    for path in (secret, public):
        if path.exists():
            raise StorageError(
                f"{path} exists already; keys are never overwritten", hint="choose another name"
            )
    key = signing_key_from(name, os.urandom(32))
    try:
        secret.parent.mkdir(parents=True, exist_ok=True)
        _write_new(secret, key.seed.hex(), 0o600)
        _write_new(public, key.public.key.hex(), 0o644)
    except OSError as exc:
        raise StorageError(f"{base}: the key pair cannot be written: {exc.strerror}") from exc
    return key


def load_signing_key(path: Path) -> SigningKey:
    """The secret key in the file ``path``.

    Raises:
        StorageError: it cannot be read.
        FormatError: it is not a secret key.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
        seed = bytes.fromhex(text)
    except OSError as exc:
        raise StorageError(
            f"{path}: the key cannot be read: {exc.strerror}",
            hint="make keys with: bootsvc key new NAME",
        ) from exc
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise FormatError(
            f"{path}: not a secret key (64 hexadecimal digits)",
            hint="give the NAME.key file that bootsvc key new made",
        )
    key = signing_key_from(path.name.removesuffix(KEY_SUFFIX), seed)
    _check_not_public_half(path, key)
    return key


def _check_not_public_half(path: Path, key: SigningKey) -> None:
    """Both halves are 64 digits: the pair's own public file tells a mix-up from a key."""
    public = path.with_suffix(PUBLIC_SUFFIX)
    if not public.is_file():
        return
    text = public.read_text(encoding="ascii", errors="replace")
    if parse_public_key(public.name, text).key != key.public.key:
        raise FormatError(
            f"{path}: does not belong to the public key {public}",
            hint="give the NAME.key file that bootsvc key new made",
        )


def _write_new(path: Path, text: str, mode: int) -> None:
    # The mode is set while the file is made: a secret is never readable by others for a moment.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        os.fchmod(fd, mode)
        file.write(text + "\n")
        file.flush()
        os.fsync(fd)
