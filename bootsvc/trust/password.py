"""The console's password: scrypt (RFC 7914) by libsodium, which the initramfs carries anyway. Pure.

The stored form is one line, ``scrypt$n$r$p$salt$hash`` with salt and hash in hexadecimal digits. A
check with what ``hash_password`` makes takes 32 MiB of memory and 0.13 s on a processor of 2020.

A password is 8 to 128 printable ASCII characters: every serial line and every keyboard that GRUB
knows can send them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bootsvc.errors import PasswordError

N, R, P = 1 << 15, 8, 1
"""What new passwords are stored with: scrypt's cost, block size and parallelism."""

MAX_MEMORY = 64 << 20
"""Bytes: a stored password that asks for more is refused; a small machine has 128 MiB in all."""

MIN_N = 1 << 14
MAX_P = 4
SALT_SIZE = 16
HASH_SIZE = 32
MIN_LENGTH = 8
MAX_LENGTH = 128

NOBODY = "nobody"
"""Stored instead of a password: the console opens to nobody at all."""

_FORM = re.compile(
    r"scrypt\$([0-9]{1,12})\$([0-9]{1,12})\$([0-9]{1,12})\$([0-9a-f]{32})\$([0-9a-f]{64})"
)


@dataclass(frozen=True)
class Stored:
    """The parts of a stored password."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes


def refusal_of(password: str) -> str:
    """Why ``password`` cannot be one, as a sentence; empty where it can."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters, not {len(password)}"
    if not (password.isascii() and password.isprintable()):
        return "a password has printable ASCII characters only: a serial line sends no others"
    return ""


def hash_password(password: str, salt: bytes) -> str:
    """The stored form of ``password``.

    Args:
        salt: `SALT_SIZE` random bytes, never used before.

    Raises:
        PasswordError: ``password`` cannot be one, or scrypt is missing here.
    """
    if reason := refusal_of(password):
        raise PasswordError(reason)
    digest = _scrypt(password, Stored(N, R, P, salt, bytes(HASH_SIZE)))
    return f"scrypt${N}${R}${P}${salt.hex()}${digest.hex()}"


def parse_stored(stored: str) -> Stored:
    """The parts of a stored password.

    Raises:
        PasswordError: not of the form above, or numbers that are too weak or ask for too much.
    """
    found = _FORM.fullmatch(stored)
    if not found:
        raise PasswordError(
            "a stored password has the form scrypt$n$r$p$salt$hash",
            hint="make one with: bootsvc password",
        )
    n, r, p = (int(number) for number in found.groups()[:3])
    salt, digest = (bytes.fromhex(part) for part in found.groups()[3:])
    is_weak = n < MIN_N or r < R
    if is_weak or n & (n - 1) or 128 * n * r > MAX_MEMORY or not 1 <= p <= MAX_P:
        raise PasswordError(
            f"a stored password with n={n}, r={r}, p={p} is too weak or asks for too much",
            hint="make one with: bootsvc password",
        )
    return Stored(n, r, p, salt, digest)


def check(password: str, stored: str) -> bool:
    """Whether ``password`` is the one that was stored; the comparison takes the same time for all.

    Raises:
        PasswordError: ``stored`` is malformed, or scrypt is missing here: nobody may be let in.
    """
    if stored == NOBODY:
        return False
    parts = parse_stored(stored)
    if refusal_of(password):
        return False
    digest = _scrypt(password, parts)
    from nacl.bindings import sodium_memcmp  # is there: _scrypt has used libsodium

    return bool(sodium_memcmp(digest, parts.digest))


def _scrypt(password: str, stored: Stored) -> bytes:
    # Imported here: an open console and an unattended start never need it.
    try:
        from nacl.bindings import crypto_pwhash_scryptsalsa208sha256_ll as scrypt
        from nacl.exceptions import UnavailableError
    except ImportError as exc:
        raise _missing() from exc
    try:
        salt, n, r, p = stored.salt, stored.n, stored.r, stored.p
        return bytes(scrypt(password.encode("ascii"), salt, n, r, p, HASH_SIZE, 2 * MAX_MEMORY))
    except UnavailableError as exc:
        raise _missing() from exc


def _missing() -> PasswordError:
    return PasswordError(
        "libsodium's scrypt is missing: no password can be checked",
        hint="build the initramfs on a machine with Debian's libsodium",
    )
