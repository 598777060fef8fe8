"""What a product was made from, so that it is made again only when that changed.

A key is the SHA-256 of everything that goes in: text, bytes and files by their content. Beside
each product lies ``<product>.key``; the product is fresh if that file holds the key.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Input = str | bytes | Path


def key_of(inputs: Iterable[Input]) -> str:
    """The key of *inputs* in their order: texts, bytes, files (content) and directories.

    A directory counts by the relative names, modes and contents of its files.
    """
    digest = hashlib.sha256()
    for item in inputs:
        _add(digest, item)
    return digest.hexdigest()


def is_fresh(product: Path, key: str) -> bool:
    """Whether *product* was made from exactly what *key* stands for."""
    note = note_of(product)
    return product.is_file() and note.is_file() and note.read_text(encoding="ascii") == key


def mark(product: Path, key: str) -> None:
    """Remember that *product* was made from what *key* stands for."""
    note_of(product).write_text(key, encoding="ascii")


@contextmanager
def locked(product: Path) -> Iterator[None]:
    """Only one process at a time makes *product*; the others wait and then find it fresh."""
    product.parent.mkdir(parents=True, exist_ok=True)
    with product.with_name(f".{product.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def note_of(product: Path) -> Path:
    """The file that holds the key of *product*."""
    return product.with_name(product.name + ".key")


def _add(digest: hashlib._Hash, item: Input) -> None:
    if isinstance(item, Path):
        if item.is_dir():
            for path in sorted(item.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    mode = "x" if path.stat().st_mode & 0o100 else "-"
                    _add(digest, f"{path.relative_to(item)} {mode}")
                    _add(digest, path.read_bytes())
            return
        item = item.read_bytes()
    data = item.encode() if isinstance(item, str) else item
    # The length first: otherwise two items could be moved into each other unseen.
    digest.update(len(data).to_bytes(8, "big") + data)
