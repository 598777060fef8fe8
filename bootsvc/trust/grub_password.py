"""The password of GRUB's superuser: PBKDF2 with SHA-512, as ``grub-mkpasswd-pbkdf2`` prints it.

GRUB knows no scrypt. Whoever reads the ESP can try passwords against this hash sooner than against
the console's; but who can read the ESP holds the disk anyway (``THREATS.md``). Pure.
"""

from __future__ import annotations

import re

from bootsvc.errors import PasswordError
from bootsvc.trust.password import refusal_of

ITERATIONS = 10_000
"""What grub-mkpasswd-pbkdf2 takes; GRUB checks with its own slow code before any kernel runs."""

SALT_SIZE = 64
HASH_SIZE = 64

_FORM = re.compile(r"grub\.pbkdf2\.sha512\.[1-9][0-9]{3,6}\.(?:[0-9A-F]{2}){8,64}\.[0-9A-F]{128}")


def hash_password(password: str, salt: bytes) -> str:
    """The form in which GRUB stores ``password``.

    Args:
        salt: `SALT_SIZE` random bytes, never used before.

    Raises:
        PasswordError: ``password`` cannot be one.
    """
    from hashlib import pbkdf2_hmac  # not in the initramfs, which stores no passwords

    if reason := refusal_of(password):
        raise PasswordError(reason)
    digest = pbkdf2_hmac("sha512", password.encode("ascii"), salt, ITERATIONS, HASH_SIZE)
    return f"grub.pbkdf2.sha512.{ITERATIONS}.{salt.hex().upper()}.{digest.hex().upper()}"


def check_stored(stored: str) -> str:
    """Return ``stored``, fit to stand in GRUB's configuration.

    Raises:
        PasswordError: it is not what grub-mkpasswd-pbkdf2 prints.
    """
    if not _FORM.fullmatch(stored):
        raise PasswordError(
            "GRUB's password has the form grub.pbkdf2.sha512.ITERATIONS.SALT.HASH",
            hint="make one with: bootsvc password",
        )
    return stored
