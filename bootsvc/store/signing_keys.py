"""The publisher's keys: a folder that is not part of the store.

root.key       says which keys may sign what; kept offline
targets.key    signs what is published; kept offline, or where versions are made
online.key     vouches every day that nothing newer was published; on the server
root.json      root metadata, the beginning of all trust: machines get it, too
newest.json    the highest versions seen; see ``newest``

The keys have the format of ``bootsvc key``. More of them (``root-2.key``) may lie beside the first.
A folder may hold only those that its place needs; whoever publishes needs targets and online.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, T

from bootsvc.errors import StorageError, ToolError, WrongKeyError
from bootsvc.image.keys import KEY_SUFFIX, load_signing_key, new_key_pair
from bootsvc.storage.files import replace_file
from bootsvc.transfer.layout import LARGEST, ROOT, SNAPSHOT, TARGETS_ROLE, TIMESTAMP

ONLINE = "online"

KEY_OF = {ROOT: ROOT, TARGETS_ROLE: TARGETS_ROLE, SNAPSHOT: ONLINE, TIMESTAMP: ONLINE}
"""Which key signs each kind of metadata."""

KEY_NAMES = (ROOT, TARGETS_ROLE, ONLINE)

_ROOT_FILE = "root.json"


@dataclass(frozen=True)
class SigningKeys:
    """The secret keys in a folder: each with its name, ``root`` or ``root-2``."""

    folder: Path
    signers: tuple[tuple[str, CryptoSigner], ...]

    def named(self, key_name: str) -> list[CryptoSigner]:
        """Those whose file is called ``key_name``, or ``key_name-...``."""
        return [one for name, one in self.signers if name.partition("-")[0] == key_name]

    def sign(self, signed: T, role: str, roots: Iterable[Root]) -> bytes:
        """``signed`` as a file, with the signatures that each of ``roots`` wants for ``role``.

        Raises:
            WrongKeyError: keys for that are missing here.
        """
        signers: dict[str, CryptoSigner] = {}
        for root in roots:
            own = self._wanted_by(root, role)
            if not self.can_sign(root, role):
                raise WrongKeyError(
                    f"{self.folder}: {len(own)} keys that may sign this store's {role} metadata,"
                    f" {root.roles[role].threshold} needed",
                    hint=f"put this store's {KEY_OF[role]}{KEY_SUFFIX} there, or do it where it is",
                )
            signers |= own
        metadata = Metadata(signed)
        for signer in signers.values():
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def can_sign(self, root: Root, role: str) -> bool:
        """Whether there are as many keys here as ``root`` wants for ``role``."""
        return len(self._wanted_by(root, role)) >= root.roles[role].threshold

    def _wanted_by(self, root: Root, role: str) -> dict[str, CryptoSigner]:
        keyids = root.roles[role].keyids
        own = {one.public_key.keyid: one for _, one in self.signers}
        return {keyid: one for keyid, one in own.items() if keyid in keyids}


def load_keys(folder: Path) -> SigningKeys:
    """The secret keys in ``folder``.

    Raises:
        WrongKeyError: there is no such folder.
        StorageError, FormatError: a key cannot be read, or is none.
        ToolError: the library that signs is too old.
    """
    if not folder.is_dir():
        raise WrongKeyError(
            f"{folder}: there is no such folder of keys",
            hint="bootsvc store init makes it; it is the one given with --keys",
        )
    return SigningKeys(
        folder,
        tuple(
            (path.name.removesuffix(KEY_SUFFIX), _signer_from(path))
            for path in sorted(folder.glob(f"*{KEY_SUFFIX}"))
        ),
    )


def make_missing_keys(folder: Path) -> SigningKeys:
    """The secret keys in ``folder``, with a new one for each of ``KEY_NAMES`` that has none."""
    names = {one.name.removesuffix(KEY_SUFFIX) for one in folder.glob(f"*{KEY_SUFFIX}")}
    for name in KEY_NAMES:
        if not any(one.partition("-")[0] == name for one in names):
            new_key_pair(folder / name)
    return load_keys(folder)


def has_root_file(folder: Path) -> bool:
    """Whether the keys in ``folder`` belong to a store already."""
    return (folder / _ROOT_FILE).exists()


def read_root_file(folder: Path) -> bytes:
    """The root metadata that the publisher trusts. Raises WrongKeyError where there is none."""
    path = folder / _ROOT_FILE
    try:
        with path.open("rb") as file:
            return file.read(LARGEST[ROOT] + 1)
    except OSError as exc:
        raise WrongKeyError(
            f"{path}: cannot be read: {exc.strerror}",
            hint="bootsvc store init makes it; copy it beside the keys wherever they are used",
        ) from exc


def write_root_file(folder: Path, root: bytes) -> None:
    """Keep the root metadata that the publisher trusts from now on.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / _ROOT_FILE
    try:
        replace_file(path, root)
    except OSError as exc:
        raise StorageError(f"{path}: cannot be written: {exc.strerror}") from exc


def _signer_from(path: Path) -> CryptoSigner:
    seed = load_signing_key(path).seed
    try:
        return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))
    except UnsupportedLibraryError as exc:
        raise ToolError(
            "the library cryptography is too old to sign with", hint="pip install 'bootsvc[store]'"
        ) from exc
