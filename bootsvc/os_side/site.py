"""What this machine accepts: the trusted keys and the settings of the running OS."""

from __future__ import annotations

from pathlib import Path

from bootsvc.errors import StorageError
from bootsvc.sequence.checks import Site
from bootsvc.settings import DEFAULT_PATH, KEYS_DIR, load
from bootsvc.trust.keys import PublicKey, parse_public_key

_HINT = f"put the publisher's NAME.pub into {KEYS_DIR}, or give --keys PATH"


def load_site(keys: Path = KEYS_DIR, settings: Path = DEFAULT_PATH) -> Site:
    """Keys and machine type of this machine.

    Raises:
        StorageError, FormatError: see ``load_public_keys``.
        SettingsError: the settings file has a mistake; it is named.
    """
    return Site(load_public_keys(keys), load(settings).compatible)


def load_public_keys(path: Path = KEYS_DIR) -> tuple[PublicKey, ...]:
    """The public keys in the folder ``path`` (its *.pub files), or in the file ``path``.

    Raises:
        StorageError: it cannot be read, or there is no key in it.
        FormatError: a file is not a public key.
    """
    try:
        files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
        keys = tuple(
            parse_public_key(file.stem, file.read_text(encoding="ascii", errors="replace"))
            for file in files
        )
    except OSError as exc:
        raise StorageError(
            f"{path}: trusted keys cannot be read: {exc.strerror}", hint=_HINT
        ) from exc
    if not keys:
        raise StorageError(f"{path}: no trusted key (*.pub) there", hint=_HINT)
    return keys
