"""The site's trusted keys and settings, as files of the running OS."""

from __future__ import annotations

from pathlib import Path

from bootsvc.errors import StorageError
from bootsvc.trust.keys import PublicKey, parse_public_key

KEYS_DIR = Path("/etc/bootsvc/keys")
SETTINGS_FILE = Path("/etc/bootsvc/bootsvc.toml")


def load_public_keys(path: Path) -> tuple[PublicKey, ...]:
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
            f"{path}: trusted keys cannot be read: {exc.strerror}",
            hint="put the publisher's NAME.pub into /etc/bootsvc/keys, or give --keys PATH",
        ) from exc
    if not keys:
        raise StorageError(
            f"{path}: no trusted key (*.pub) there",
            hint="put the publisher's NAME.pub into /etc/bootsvc/keys, or give --keys PATH",
        )
    return keys
